//! A record in the making: [`Draft`].

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    clock::Timestamp,
    random::unique,
    record::{Record, version::Version},
};

/// The fields of a record, to be set at will.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) version: Version,
    pub(super) created_at: Timestamp,
    pub(super) user: Option<String>,
    pub(super) data: Map<String, Value>,
    /// Beside those above.
    pub(super) others: Map<String, Value>,
}

impl Draft {
    /// The first version of a session with a random id.
    pub(super) fn first() -> Self {
        let writer = unique();
        Self {
            version: Version::first(writer),
            created_at: super::times::now(),
            user: None,
            data: Map::from_iter([("writer".to_owned(), json!(writer))]),
            others: Map::new(),
        }
    }

    pub(super) fn of_user(user: &str) -> Self {
        Self::first().with_user(user)
    }

    pub(super) fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    pub(super) fn with_version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    pub(super) fn with_data(mut self, key: &str, value: Value) -> Self {
        self.data.insert(key.to_owned(), value);
        self
    }

    /// As the marker of a session that has ended.
    pub(super) fn moved(mut self) -> Self {
        self.data.clear();
        let moved_at = json!(self.created_at.as_millis());
        self.others.insert("moved_at".to_owned(), moved_at);
        self
    }

    /// The same session after another write.
    pub(super) fn next(&self) -> Self {
        let writer = unique();
        let next = self.clone().after(&self.record());
        next.with_version(self.version.next(writer))
            .with_data("writer", json!(writer))
    }

    /// With `former` as the write before it, which a record remembers.
    pub(super) fn after(mut self, former: &Record) -> Self {
        let writers = [former.version().writer].into_iter();
        let writers = writers.chain(former.recent().iter().copied()).take(16);
        let writers: Vec<String> = writers.map(|writer| format!("{writer:016x}")).collect();
        self.others.insert("recent".to_owned(), json!(writers));
        self
    }

    pub(super) fn record(&self) -> Arc<Record> {
        let mut fields = self.others.clone();
        fields.insert("format".into(), json!(1));
        fields.insert("version".into(), json!(self.version.to_string()));
        fields.insert("verifier".into(), json!("Ab-_".repeat(10) + "AbA"));
        fields.insert("created_at".into(), json!(self.created_at.as_millis()));
        fields.insert("data".into(), json!(self.data));
        if let Some(user) = &self.user {
            fields.insert("user".into(), json!(user));
        }
        let bytes = Value::Object(fields).to_string();
        let record = Record::from_bytes(bytes.as_bytes());
        Arc::new(record.expect("a draft has every field"))
    }
}
