//! Reading what Redis replies.

use std::{str, sync::Arc};

use ::redis::Value;

use super::{
    failure::{corrupt, unexpected},
    keys::UserHash,
};
use crate::{Activity, Record, StoreError, Timestamp, record::Kept};

pub(super) fn number(reply: &Value) -> Result<i64, StoreError> {
    match reply {
        Value::Int(number) => Ok(*number),
        other => Err(unexpected(other)),
    }
}

pub(super) fn items(reply: Value) -> Result<Vec<Value>, StoreError> {
    match reply {
        Value::Array(items) => Ok(items),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn bytes(reply: Value) -> Result<Option<Vec<u8>>, StoreError> {
    match reply {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        other => Err(unexpected(&other)),
    }
}

/// The fields that a session is loaded by: `r s e u`.
pub(super) struct Fields([Option<Vec<u8>>; 4]);

impl Fields {
    pub(super) const NAMES: [&'static str; 4] = ["r", "s", "e", "u"];

    pub(super) fn read(reply: Value) -> Result<Self, StoreError> {
        let fields = items(reply)?
            .into_iter()
            .map(bytes)
            .collect::<Result<Vec<_>, _>>()?;
        match fields.try_into() {
            Ok(fields) => Ok(Self(fields)),
            Err(_) => Err(unexpected(&Value::Nil)),
        }
    }

    pub(super) fn user(&self) -> Option<&UserHash> {
        self.0[3].as_ref()
    }

    pub(super) fn decode(self) -> Result<Option<Kept>, StoreError> {
        let [record, last_seen_at, expires_at, user] = self.0;
        if record.is_none() && last_seen_at.is_none() && expires_at.is_none() && user.is_none() {
            return Ok(None);
        }
        let record = record.ok_or_else(|| corrupt("the record is missing"))?;
        let record = Record::from_bytes(&record)?;
        let last_seen_at = last_seen_at.as_deref().and_then(time);
        let last_seen_at = last_seen_at.ok_or_else(|| corrupt("`s` is no time"))?;
        let expires_at = match expires_at.as_deref() {
            Some(b"") => None,
            Some(text) => Some(time(text).ok_or_else(|| corrupt("`e` is no time"))?),
            None => return Err(corrupt("`e` is missing")),
        };
        let activity = Activity {
            last_seen_at,
            expires_at,
        };
        Ok(Some((Arc::new(record), activity)))
    }
}

fn time(text: &[u8]) -> Option<Timestamp> {
    let millis = str::from_utf8(text).ok()?.parse().ok()?;
    Some(Timestamp::from_millis(millis))
}
