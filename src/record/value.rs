//! A session's values as JSON text: [`read`], [`write`], and whether two [are the same](is_same).
//!
//! Errors name the key and the type. They do not keep the messages of serde, which may repeat the value.

use std::{any::type_name, collections::BTreeMap, io};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{
    ser::{Formatter, Serializer},
    value::RawValue,
};
use smallvec::SmallVec;

use crate::{
    error::{Error, ErrorKind},
    record::finite,
};

/// A value as JSON text. A short one needs no allocation.
pub(crate) type Json = SmallVec<[u8; SHORT]>;

/// A value of at most this many bytes, such as a number or a short string, is stored in place.
pub(crate) const SHORT: usize = 16;

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

/// # Errors
///
/// `Serialize` if the value cannot be written as JSON: it has a map whose keys are not strings, or a
/// number that is NaN or infinite, which would not read back.
pub(crate) fn write<V: Serialize>(key: &str, value: &V) -> Result<Json, Error> {
    let mut json = SmallVec::<[u8; 128]>::new();
    let mut has_null = false;
    let formatter = NoticeNull(&mut has_null);
    let written = value.serialize(&mut Serializer::with_formatter(&mut json, formatter));
    let is_json = written.is_ok() && (!has_null || finite::check(value).is_ok());
    is_json.then(|| Json::from_slice(&json)).ok_or_else(|| {
        Error::new(
            ErrorKind::Serialize,
            format!(
                "the {} for `{key}` does not serialize to JSON: numbers must be finite, and the keys of maps strings",
                type_name::<V>()
            ),
        )
    })
}

/// Formats like serde_json's compact formatter, and notes whether there is a `null`, which may stand for a number
/// that is not finite.
struct NoticeNull<'a>(&'a mut bool);

impl Formatter for NoticeNull<'_> {
    fn write_null<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        *self.0 = true;
        writer.write_all(b"null")
    }
}

/// Values that are nested deeper are compared as text, because serde_json does not parse them.
const MAX_DEPTH: u32 = 128;

/// Whether two texts are the same JSON value. White space and the order of an object's members do not count.
/// Numbers are compared as text: `1` and `1.0` differ, and every digit of a large number counts.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other || is_same_nested(one, other, MAX_DEPTH)
}

fn is_same_nested(one: &[u8], other: &[u8], depth: u32) -> bool {
    match (one, other, depth.checked_sub(1)) {
        ([b'{', ..], [b'{', ..], Some(depth)) => {
            let (Some(one), Some(other)) = (members(one), members(other)) else {
                return false;
            };
            one.len() == other.len()
                && one
                    .iter()
                    .zip(&other)
                    .all(|((name, value), (other, theirs))| {
                        name == other && is_same_text(value, theirs, depth)
                    })
        }
        ([b'[', ..], [b'[', ..], Some(depth)) => {
            let elements = |text| serde_json::from_slice::<Vec<&RawValue>>(text).ok();
            let (Some(one), Some(other)) = (elements(one), elements(other)) else {
                return false;
            };
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same_text(one, other, depth))
        }
        _ => false,
    }
}

fn is_same_text(one: &RawValue, other: &RawValue, depth: u32) -> bool {
    let (one, other) = (one.get().as_bytes(), other.get().as_bytes());
    one == other || is_same_nested(one, other, depth)
}

/// The members of an object, sorted by name. If a name stands twice, the last one counts.
fn members(text: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        is_same(one.as_bytes(), other.as_bytes())
    }

    #[test]
    fn the_order_of_an_objects_members_and_white_space_make_no_difference() {
        assert!(same(
            r#"{"a":1,"b":[{"c":1,"d":null}]}"#,
            r#"{"b":[{"d":null,"c":1}],"a":1}"#
        ));
        assert!(same(r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#));
        assert!(same("[1,2]", "[1, 2]"));
    }

    #[test]
    fn the_order_of_an_array_and_the_text_of_a_number_do() {
        assert!(!same("[1,2]", "[2,1]"));
        assert!(!same("1", "1.0"));
        assert!(!same(r#"{"a":1}"#, r#"{"a":1.0}"#));
        assert!(!same(r#"{"a":1}"#, r#"{"a":1,"b":1}"#));
        assert!(!same(r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#));
        assert!(!same("{}", "[]"));
        let (one, next) = (
            "[340282366920938463463374607431768211455]",
            "[340282366920938463463374607431768211454]",
        );
        assert!(!same(one, next));
    }

    #[test]
    fn values_nested_without_end_and_texts_that_are_no_json_are_compared_as_text() {
        let deep = |n: usize, end: &str| format!("{}{end}{}", "[".repeat(n), "]".repeat(n));
        assert!(same(&deep(100_000, ""), &deep(100_000, "")));
        assert!(!same(&deep(100_000, ""), &deep(100_000, " ")));
        assert!(same(&deep(100, ""), &deep(100, " ")));
        assert!(same("{oops", "{oops"));
        assert!(!same("{oops", "{oops "));
    }

    #[test]
    fn null_is_written_where_there_is_no_number_and_refused_where_one_is_not_finite() {
        assert_eq!(
            write("k", &(None::<f64>, Some(1.5), ())).unwrap()[..],
            b"[null,1.5,null]"[..]
        );
        let kind = |written: Result<Json, Error>| written.unwrap_err().kind();
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(kind(write("k", &number)), ErrorKind::Serialize);
            assert_eq!(kind(write("k", &Some(number as f32))), ErrorKind::Serialize);
            let nested = BTreeMap::from([("a", vec![Some((0, number))])]);
            assert_eq!(kind(write("k", &nested)), ErrorKind::Serialize);
        }
    }
}
