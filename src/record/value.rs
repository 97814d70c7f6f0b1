//! A session's values as JSON text: [`read`] and [`write`].
//!
//! Errors name the key and the type. The messages of serde are not kept: they may repeat the value.

use std::any::type_name;

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, ErrorKind};

/// A value as JSON text.
pub(crate) type Json = Vec<u8>;

pub(crate) fn read<T: DeserializeOwned>(
    key: &str,
    value: Option<&[u8]>,
) -> Result<Option<T>, Error> {
    value
        .map(|value| {
            serde_json::from_slice(value).map_err(|_| {
                Error::new(
                    ErrorKind::Deserialize,
                    format!("the value of `{key}` is not a {}", type_name::<T>()),
                )
            })
        })
        .transpose()
}

pub(crate) fn write<V: Serialize>(key: &str, value: &V) -> Result<Json, Error> {
    serde_json::to_vec(value).map_err(|_| {
        Error::new(
            ErrorKind::Serialize,
            format!(
                "the {} for `{key}` does not serialize to JSON",
                type_name::<V>()
            ),
        )
    })
}
