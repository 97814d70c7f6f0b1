//! The encoding of a record: a JSON object, so that people can read it in the database and other programs
//! can use it.

use std::{collections::BTreeMap, str, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    clock::Timestamp,
    error::store::{StoreError, StoreErrorKind},
    record::{
        Login, Record,
        data::{self, Data},
        labels::Labels,
        lineage::{MoveKind, Origin, Successor},
        realm::Realm,
        secrets::{DatedVerifier, Renewal},
        stamp::Stamp,
        timeout::Timeout,
        token::{SessionId, Verifier},
        version::Version,
    },
};

/// The format that older nodes read. It is written unless a field of [`FORMAT_2`] is used.
const FORMAT_1: u64 = 1;
/// The format with fields that no node may ignore. A node that knows only format 1 rejects such a record.
const FORMAT_2: u64 = 2;

const NEVER: &str = "never";
const LOG_IN: &str = "log_in";

impl Record {
    /// Encodes the record as a JSON object with a format number. The [store
    /// contract](crate::store#the-encoding) describes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_onto(Vec::new())
    }

    /// Appends what [`to_bytes`](Self::to_bytes) returns.
    pub(crate) fn encode_onto(&self, mut out: Vec<u8>) -> Vec<u8> {
        out.reserve(192 + self.data().allocated());
        encode(self, out)
    }

    /// Decodes the bytes that [`to_bytes`](Self::to_bytes) returned.
    ///
    /// # Errors
    ///
    /// `Incompatible` for an unknown format number, `Corrupt` for anything else that is not a record. The
    /// errors do not repeat the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        decode(bytes)
    }
}

fn encode(record: &Record, out: Vec<u8>) -> Vec<u8> {
    let extras = record.extras();
    let mut object = Object::open(out);
    object.field("format", &format_of(record));
    object.field("version", &record.version().to_string());
    object.field("verifier", &record.verifier().encode());
    object.field("created_at", &record.created_at().as_millis());
    if let Some(realm) = record.realm().name() {
        object.field("realm", realm);
    }
    if let Some(transport) = record.transport() {
        object.field("transport", transport);
    }
    if let Some(login) = record.login() {
        object.field("user", &login.user);
        if !extras.is_imported {
            object.field("authenticated_at", &login.at.as_millis());
        }
    }
    object.timeout("idle_timeout", extras.idle);
    object.timeout("absolute_timeout", extras.absolute);
    if let Some(persistent) = extras.persistent {
        object.field("persistent", &persistent);
    }
    if let Some(confirmed_at) = extras.confirmed_at {
        object.field("confirmed_at", &confirmed_at.as_millis());
    }
    if let Some(stamp) = &extras.stamp {
        object.field("stamp", &stamp.encode());
    }
    if let Some(labels) = &extras.labels {
        object.field("labels", &**labels);
    }
    if let Some(ranked_at) = extras.ranked_at {
        object.field("ranked_at", &ranked_at.as_millis());
    }
    if let Some(begun_at) = extras.begun_at {
        object.field("begun_at", &begun_at.as_millis());
    }
    if extras.is_imported {
        object.field("imported", &true);
    }
    if let Some(ends_at) = extras.ends_at {
        object.field("ends_at", &ends_at.as_millis());
    }
    if let Some(moved_at) = extras.moved_at {
        object.field("moved_at", &moved_at.as_millis());
    }
    if let Some(to) = extras.successor {
        object.field("moved_to", &to.id.to_string());
        if to.kind == MoveKind::LogIn {
            object.field("moved_by", LOG_IN);
        }
    }
    if let Some(from) = extras.origin {
        object.field("moved_from", &from.id.to_string());
        if from.version != Origin::UNKNOWN_VERSION {
            object.field("from_version", &from.version.to_string());
        }
        if from.kind == MoveKind::LogIn {
            object.field("from_by", LOG_IN);
        }
    }
    if let Some(bar) = extras.bar {
        object.field("bar", &bar.to_string());
    }
    if let Some(renewal) = &extras.renewal {
        if let Some(issued_at) = renewal.issued_at {
            object.field("renewed_at", &issued_at.as_millis());
        }
        object.dated("pending", &renewal.pending);
        object.dated("former", &renewal.former);
        object.dated("joined", &renewal.joined);
    }
    if !record.recent().is_empty() {
        let recent: Vec<String> = record
            .recent()
            .iter()
            .map(|w| format!("{w:016x}"))
            .collect();
        object.field("recent", &recent);
    }
    object.name("data");
    let mut data = Object::open(object.out);
    for (key, value) in record.data().iter() {
        data.raw(key, value);
    }
    object = Object {
        out: data.close(),
        is_empty: false,
    };
    for (name, value) in &extras.unknown {
        object.raw(name, value.get().as_bytes());
    }
    object.close()
}

fn format_of(record: &Record) -> u64 {
    let extras = record.extras();
    let is_2 = !matches!(record.realm(), Realm::NONE | Realm::DEFAULT)
        || extras.transport.is_some()
        || extras.bar.is_some()
        || extras.is_imported
        || extras.ends_at.is_some()
        || extras.stamp.is_some()
        || extras.origin.is_some_and(|from| {
            from.version != Origin::UNKNOWN_VERSION || from.kind == MoveKind::LogIn
        })
        || extras
            .successor
            .is_some_and(|to| to.kind == MoveKind::LogIn)
        || extras
            .renewal
            .as_ref()
            .is_some_and(|renewal| !renewal.joined.is_empty());
    if is_2 { FORMAT_2 } else { FORMAT_1 }
}

/// A JSON object being written.
struct Object {
    out: Vec<u8>,
    is_empty: bool,
}

impl Object {
    fn open(mut out: Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            is_empty: true,
        }
    }

    fn name(&mut self, name: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.json(name);
        self.out.push(b':');
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.name(name);
        self.json(value);
    }

    fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(json);
    }

    fn timeout(&mut self, name: &str, timeout: Timeout) {
        match timeout {
            Timeout::Layer => {}
            Timeout::After(duration) => {
                self.field(
                    name,
                    &u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                );
            }
            Timeout::Never => self.field(name, NEVER),
        }
    }

    /// Writes pairs of a verifier and a time.
    fn dated(&mut self, name: &str, list: &[DatedVerifier]) {
        if !list.is_empty() {
            let pair = |dated: &DatedVerifier| (dated.verifier.encode(), dated.at.as_millis());
            self.field(name, &list.iter().map(pair).collect::<Vec<_>>());
        }
    }

    fn json<T: Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.out, value).expect("strings and numbers are JSON");
    }

    fn close(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }
}

fn decode(bytes: &[u8]) -> Result<Record, StoreError> {
    if bytes.len() > data::MAX_BYTES {
        return Err(corrupt("the record is larger than any this crate writes"));
    }
    let mut fields = Fields(
        serde_json::from_slice(bytes).map_err(|_| corrupt("the record is not a JSON object"))?,
    );
    match fields.required("format")? {
        FORMAT_1 | FORMAT_2 => {}
        format => {
            return Err(StoreError::new(
                StoreErrorKind::Incompatible,
                format!(
                    "the record is of format {format}, this version of cloakroom knows {FORMAT_1} and {FORMAT_2}"
                ),
            ));
        }
    }
    let version: String = fields.required("version")?;
    let version: Version = version.parse().map_err(|_| malformed("version"))?;
    let verifier: String = fields.required("verifier")?;
    let verifier = Verifier::decode(&verifier).ok_or_else(|| malformed("verifier"))?;
    let created_at = Timestamp::from_millis(fields.required("created_at")?);
    let realm = fields.realm()?;
    let transport = fields.optional("transport")?;
    let user: Option<Box<str>> = fields.optional("user")?;
    let authenticated_at: Option<u64> = fields.optional("authenticated_at")?;
    let login = user.map(|user| Login {
        user,
        at: authenticated_at.map_or(created_at, Timestamp::from_millis),
    });
    let idle = fields.timeout("idle_timeout")?;
    let absolute = fields.timeout("absolute_timeout")?;
    let persistent = fields.optional("persistent")?;
    let confirmed_at: Option<u64> = fields.optional("confirmed_at")?;
    let stamp = fields.stamp()?;
    let labels: Option<Labels> = fields.optional("labels")?;
    let ranked_at: Option<u64> = fields.optional("ranked_at")?;
    let begun_at: Option<u64> = fields.optional("begun_at")?;
    let is_imported: Option<bool> = fields.optional("imported")?;
    let ends_at: Option<u64> = fields.optional("ends_at")?;
    let moved_at: Option<u64> = fields.optional("moved_at")?;
    let successor = fields.successor()?;
    let origin = fields.origin()?;
    let bar = fields.id("bar")?;
    let renewal = fields.renewal()?;
    let recent: Vec<String> = fields.optional("recent")?.unwrap_or_default();
    let recent = recent
        .iter()
        .map(|writer| u64::from_str_radix(writer, 16))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| malformed("recent"))?;
    let values: BTreeMap<String, &RawValue> = fields.required("data")?;
    let data = Data::from_sorted(
        values
            .iter()
            .map(|(key, value)| (key.as_str(), value.get().as_bytes())),
    );
    let mut record = Record::new(verifier, version, created_at)
        .with_realm(realm)
        .with_data(data)
        .with_login(login)
        .with_recent(recent.into_iter());
    record.set_extras(|extras| {
        extras.idle = idle;
        extras.absolute = absolute;
        extras.persistent = persistent;
        extras.confirmed_at = confirmed_at.map(Timestamp::from_millis);
        extras.stamp = stamp.map(Box::new);
        extras.labels = labels.filter(|labels| !labels.is_empty()).map(Arc::new);
        extras.ranked_at = ranked_at.map(Timestamp::from_millis);
        extras.begun_at = begun_at.map(Timestamp::from_millis);
        extras.is_imported = is_imported.unwrap_or(false);
        extras.ends_at = ends_at.map(Timestamp::from_millis);
        extras.moved_at = moved_at.map(Timestamp::from_millis);
        extras.successor = successor;
        extras.origin = origin;
        extras.bar = bar;
        extras.renewal = renewal.map(Box::new);
        extras.transport = transport;
        extras.unknown = fields
            .0
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
    });
    Ok(record)
}

/// The fields that are not read yet.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    fn optional<T: Deserialize<'a>>(&mut self, name: &str) -> Result<Option<T>, StoreError> {
        self.0
            .remove(name)
            .map(|value| serde_json::from_str(value.get()).map_err(|_| malformed(name)))
            .transpose()
    }

    fn required<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T, StoreError> {
        self.optional(name)?.ok_or_else(|| malformed(name))
    }

    fn realm(&mut self) -> Result<Realm, StoreError> {
        let name: Option<String> = self.optional("realm")?;
        match name {
            None => Ok(Realm::NONE),
            Some(name) => Realm::named(&name).ok_or_else(|| malformed("realm")),
        }
    }

    fn renewal(&mut self) -> Result<Option<Renewal>, StoreError> {
        let renewed_at: Option<u64> = self.optional("renewed_at")?;
        let renewal = Renewal {
            issued_at: renewed_at.map(Timestamp::from_millis),
            pending: self.dated("pending")?,
            former: self.dated("former")?,
            joined: self.dated("joined")?,
        };
        let is_none = renewal.issued_at.is_none()
            && renewal.pending.is_empty()
            && renewal.former.is_empty()
            && renewal.joined.is_empty();
        Ok((!is_none).then_some(renewal))
    }

    fn dated(&mut self, name: &str) -> Result<Vec<DatedVerifier>, StoreError> {
        let pairs: Vec<(String, u64)> = self.optional(name)?.unwrap_or_default();
        let dated = pairs.into_iter().map(|(verifier, at)| {
            let verifier = Verifier::decode(&verifier).ok_or_else(|| malformed(name))?;
            let at = Timestamp::from_millis(at);
            Ok(DatedVerifier { verifier, at })
        });
        dated.collect()
    }

    fn stamp(&mut self) -> Result<Option<Stamp>, StoreError> {
        let stamp: Option<String> = self.optional("stamp")?;
        stamp
            .map(|stamp| Stamp::decode(&stamp).ok_or_else(|| malformed("stamp")))
            .transpose()
    }

    fn successor(&mut self) -> Result<Option<Successor>, StoreError> {
        let (id, kind) = (self.id("moved_to")?, self.kind("moved_by")?);
        Ok(id.map(|id| Successor { id, kind }))
    }

    fn origin(&mut self) -> Result<Option<Origin>, StoreError> {
        let (id, kind) = (self.id("moved_from")?, self.kind("from_by")?);
        let version: Option<String> = self.optional("from_version")?;
        let version = version.map(|version| version.parse().map_err(|_| malformed("from_version")));
        let version = version.transpose()?.unwrap_or(Origin::UNKNOWN_VERSION);
        Ok(id.map(|id| Origin { id, version, kind }))
    }

    fn kind(&mut self, name: &str) -> Result<MoveKind, StoreError> {
        match self.optional::<String>(name)?.as_deref() {
            None => Ok(MoveKind::Cycle),
            Some(LOG_IN) => Ok(MoveKind::LogIn),
            Some(_) => Err(malformed(name)),
        }
    }

    fn id(&mut self, name: &str) -> Result<Option<SessionId>, StoreError> {
        let id: Option<String> = self.optional(name)?;
        id.map(|id| id.parse().map_err(|_| malformed(name)))
            .transpose()
    }

    fn timeout(&mut self, name: &str) -> Result<Timeout, StoreError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Millis(u64),
            Word(String),
        }
        match self.optional(name)? {
            None => Ok(Timeout::Layer),
            Some(Either::Millis(millis)) => Ok(Timeout::After(Duration::from_millis(millis))),
            Some(Either::Word(word)) if word == NEVER => Ok(Timeout::Never),
            Some(Either::Word(_)) => Err(malformed(name)),
        }
    }
}

fn malformed(field: &str) -> StoreError {
    corrupt(&format!("the record's `{field}` is missing or malformed"))
}

/// The message names the field, not its content, which belongs to the visitor.
fn corrupt(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what.to_owned())
}
