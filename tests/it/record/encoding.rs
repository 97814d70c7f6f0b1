use std::{error::Error as _, sync::Arc};

use cloakroom::{Record, SessionId, StoreError, Timestamp, Version, store::StoreErrorKind};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

const VERIFIER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// The least a record is.
fn least() -> Value {
    json!({
        "format": 1,
        "version": "1-0000000000000007",
        "verifier": VERIFIER,
        "created_at": 5,
        "data": {},
    })
}

fn full() -> Value {
    json!({
        "format": 1,
        "version": "18-00000000000000ff",
        "verifier": VERIFIER,
        "created_at": 1_767_225_600_000_u64,
        "user": "ann",
        "authenticated_at": 1_767_225_660_000_u64,
        "idle_timeout": 60_000,
        "absolute_timeout": "never",
        "persistent": true,
        "ranked_at": 1_767_225_660_001_u64,
        "moved_at": 1_767_225_720_000_u64,
        "moved_to": "67e55044-10b1-426f-9247-bb680e5fe0c8",
        "moved_from": "67e55044-10b1-426f-9247-bb680e5fe0c9",
        "recent": ["00000000000000fe", "0000000000000001"],
        "data": {"cart": [1, {"price": 2.5}], "name": "Ann"},
        "x_later": {"a": null},
    })
}

/// `record` with these fields set, or taken out where they are null.
fn with(mut record: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(record.as_object_mut().unwrap().remove(name)),
            _ => record[name] = value.clone(),
        }
    }
    record
}

fn read(record: &Value) -> Result<Record, StoreError> {
    Record::from_bytes(record.to_string().as_bytes())
}

/// What is written back, read as plain JSON.
fn rewritten(record: &Value) -> Value {
    serde_json::from_slice(&read(record).unwrap().to_bytes()).unwrap()
}

fn kind(record: &Value) -> StoreErrorKind {
    read(record).unwrap_err().kind()
}

#[test]
fn a_full_record_is_written_so_that_a_person_can_read_it() {
    let text = String::from_utf8(read(&full()).unwrap().to_bytes()).unwrap();
    insta::assert_snapshot!(text, @r#"{"format":1,"version":"18-00000000000000ff","verifier":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","created_at":1767225600000,"user":"ann","authenticated_at":1767225660000,"idle_timeout":60000,"absolute_timeout":"never","persistent":true,"ranked_at":1767225660001,"moved_at":1767225720000,"moved_to":"67e55044-10b1-426f-9247-bb680e5fe0c8","moved_from":"67e55044-10b1-426f-9247-bb680e5fe0c9","recent":["00000000000000fe","0000000000000001"],"data":{"cart":[1,{"price":2.5}],"name":"Ann"},"x_later":{"a":null}}"#);
}

#[test]
fn every_field_is_kept() {
    assert_eq!(rewritten(&full()), full());
    assert_eq!(rewritten(&least()), least());
    for field in [
        json!({"user": "ann", "authenticated_at": 6}),
        json!({"idle_timeout": "never"}),
        json!({"idle_timeout": 0}),
        json!({"absolute_timeout": 1}),
        json!({"persistent": false}),
        json!({"moved_at": 0}),
        json!({"recent": ["ffffffffffffffff"]}),
        json!({"renewed_at": 7}),
        json!({"pending": [[VERIFIER, 8], [VERIFIER, 9]], "former": [[VERIFIER, 0]]}),
        json!({"version": "18446744073709551615-ffffffffffffffff"}),
    ] {
        let record = with(least(), field);
        assert_eq!(rewritten(&record), record);
    }
}

/// A store that compares whole values encodes the record again that it has decoded.
#[test]
fn what_was_decoded_is_encoded_to_the_same_bytes() {
    const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let stamp = "A".repeat(64);
    let fields = [
        json!({"realm": "__Host-staff", "transport": "authorization"}),
        json!({"user": "ann", "authenticated_at": 6}),
        json!({"user": "\u{1F4F1} \"é\"", "imported": true, "ends_at": 9}),
        json!({"idle_timeout": 1, "absolute_timeout": "never", "persistent": false}),
        json!({"user": "", "authenticated_at": 6, "confirmed_at": 7, "ranked_at": 8}),
        json!({"user": "ann", "authenticated_at": 6, "stamp": stamp}),
        json!({"labels": {"a": "1", "device": "a phone, \u{1F4F1}"}}),
        json!({"begun_at": 3, "bar": ID}),
        json!({"moved_at": 7, "moved_to": ID}),
        json!({"moved_at": 7, "moved_to": ID, "moved_by": "log_in"}),
        json!({"moved_from": ID}),
        json!({"moved_from": ID, "from_version": "3-0000000000000004", "from_by": "log_in"}),
        json!({"renewed_at": 7, "pending": [[VERIFIER, 8]], "former": [[VERIFIER, 0]]}),
        json!({"joined": [[VERIFIER, 8], [VERIFIER, 9]]}),
        json!({"recent": ["ffffffffffffffff", "0000000000000000"]}),
        json!({"data": {"": null, "b": [1.5, -0.0, 1e300], "a": {"z": 1, "y": "line\n"}}}),
        json!({"a_later": {"b": 1, "a": [2.50]}, "z_later": null, "created_later": "x"}),
    ];
    // The time of an imported log-in is not known.
    let known = json!({ "authenticated_at": null });
    let all = with(fields.iter().cloned().fold(least(), with), known);
    for record in fields
        .into_iter()
        .map(|fields| with(least(), fields))
        .chain([all])
    {
        let written = read(&record).unwrap().to_bytes();
        let again = Record::from_bytes(&written).unwrap().to_bytes();
        assert_eq!(again, written);
        let mut kept: Value = serde_json::from_slice(&written).unwrap();
        kept["format"] = json!(1);
        assert_eq!(kept, record);
    }
}

#[test]
fn the_public_view_is_what_was_written() {
    let record = read(&full()).unwrap();
    assert_eq!(
        record.version(),
        Version {
            counter: 18,
            writer: 255
        }
    );
    assert_eq!(record.user(), Some("ann"));
    assert_eq!(record.created_at().as_millis(), 1_767_225_600_000);
    let authenticated_at = record.authenticated_at().unwrap();
    assert_eq!(authenticated_at.as_millis(), 1_767_225_660_000);
    assert!(record.is_moved());

    let record = read(&least()).unwrap();
    assert_eq!((record.user(), record.authenticated_at()), (None, None));
    assert!(!record.is_moved());
}

#[test]
fn a_user_without_a_log_in_time_logged_in_when_the_session_began() {
    let record = read(&with(least(), json!({"user": "ann"}))).unwrap();
    assert_eq!(record.authenticated_at(), Some(Timestamp::from_millis(5)));
}

#[test]
fn unknown_fields_are_written_back_to_the_letter() {
    let text = format!(
        r#"{{"zz":[1,  2.50,"\u00e9"],"format":1,"version":"1-7","verifier":"{VERIFIER}","created_at":0,"data":{{}},"":{{"deep":{{}}}}}}"#
    );
    let text = Record::from_bytes(text.as_bytes()).unwrap().to_bytes();
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with(r#","data":{},"":{"deep":{}},"zz":[1,  2.50,"\u00e9"]}"#));
}

#[test]
fn values_are_kept_to_the_letter() {
    let values = r#"{"big":123456789012345678901234567890,"float":1.10,"spaced":[ 1 ]}"#;
    let text = format!(
        r#"{{"format":1,"version":"1-7","verifier":"{VERIFIER}","created_at":0,"data":{values}}}"#
    );
    let written = Record::from_bytes(text.as_bytes()).unwrap().to_bytes();
    assert!(String::from_utf8(written).unwrap().contains(values));
}

#[test]
fn a_mebibyte_of_data_is_kept() {
    let record = with(least(), json!({"data": {"k": "x".repeat(1 << 20), "": ""}}));
    assert_eq!(rewritten(&record), record);
}

#[test]
fn times_end_with_the_year_9999() {
    let last = Timestamp::MAX.as_millis();
    for (written, read_back) in [(0, 0), (last, last), (last + 1, last), (u64::MAX, last)] {
        let record = with(
            least(),
            json!({
                "created_at": written, "user": "ann", "authenticated_at": written, "moved_at": written,
            }),
        );
        let back = rewritten(&record);
        for field in ["created_at", "authenticated_at", "moved_at"] {
            assert_eq!(back[field], json!(read_back));
        }
    }
}

#[test]
fn more_recent_writers_than_are_kept_are_cut() {
    let writers: Vec<String> = (0..40).map(|writer| format!("{writer:016x}")).collect();
    let back = rewritten(&with(least(), json!({"recent": writers})));
    assert_eq!(back["recent"], json!(writers[..16]));
}

#[test]
fn another_format_is_incompatible_and_anything_else_is_corrupt() {
    for format in [0_u64, 3, u64::MAX] {
        let record = with(least(), json!({"format": format}));
        assert_eq!(kind(&record), StoreErrorKind::Incompatible);
        // Of another format nothing else is known.
        assert_eq!(
            kind(&json!({"format": format})),
            StoreErrorKind::Incompatible
        );
    }
    for field in ["format", "version", "verifier", "created_at", "data"] {
        let record = with(least(), json!({field: null}));
        assert_eq!(kind(&record), StoreErrorKind::Corrupt, "without {field}");
    }
    for malformed in [
        json!({"format": "1"}),
        json!({"version": "1"}),
        json!({"version": "-7"}),
        json!({"version": "1-g"}),
        json!({"version": 1}),
        json!({"verifier": ""}),
        json!({"verifier": &VERIFIER[1..]}),
        json!({"verifier": format!("{VERIFIER}A")}),
        json!({"verifier": VERIFIER.replace('A', "=")}),
        json!({"created_at": -1}),
        json!({"created_at": 1.5}),
        json!({"user": 7}),
        json!({"authenticated_at": "yesterday"}),
        json!({"idle_timeout": "sometimes"}),
        json!({"idle_timeout": -1}),
        json!({"absolute_timeout": []}),
        json!({"persistent": 1}),
        json!({"ranked_at": "first"}),
        json!({"moved_at": true}),
        json!({"moved_to": "elsewhere"}),
        json!({"moved_to": 7}),
        json!({"moved_from": "elsewhere"}),
        json!({"renewed_at": "yesterday"}),
        json!({"pending": [["x", 1]]}),
        json!({"former": [[VERIFIER]]}),
        json!({"recent": [1]}),
        json!({"recent": ["x"]}),
        json!({"data": []}),
        json!({"data": "{}"}),
    ] {
        let record = with(least(), malformed.clone());
        assert_eq!(kind(&record), StoreErrorKind::Corrupt, "{malformed}");
    }
    for bytes in [&b""[..], b"null", b"[]", b"{", b"\xff", b"{} {}"] {
        let error = Record::from_bytes(bytes).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    }
}

#[test]
fn neither_errors_nor_records_show_what_is_stored() {
    const SECRET: &str = "swordfish";
    let malformed = [
        json!({"version": SECRET}),
        json!({"verifier": SECRET}),
        json!({"created_at": SECRET}),
        json!({"user": [SECRET]}),
        json!({"idle_timeout": SECRET}),
        json!({"recent": [SECRET]}),
        json!({"pending": [[SECRET, 1]]}),
        json!({"former": SECRET}),
        json!({"moved_to": SECRET}),
        json!({"data": SECRET}),
        json!({"format": SECRET}),
    ];
    for changes in malformed {
        let error = read(&with(full(), changes)).unwrap_err();
        let source = error.source().unwrap();
        let shown = format!("{error} {error:?} {source} {source:?}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let error = Record::from_bytes(SECRET.as_bytes()).unwrap_err();
    assert!(!format!("{error:?}").contains(SECRET));

    let changes = json!({"user": SECRET, "data": {SECRET: SECRET}, "x_later": SECRET});
    let record = Arc::new(read(&with(full(), changes)).unwrap());
    let shown = format!("{record:?}");
    assert!(!shown.contains(SECRET) && !shown.contains(VERIFIER));
}

#[test]
fn a_version_is_read_as_it_is_shown() {
    for (counter, writer, text) in [
        (0, 0, "0-0000000000000000"),
        (12, 0xab, "12-00000000000000ab"),
        (u64::MAX, u64::MAX, "18446744073709551615-ffffffffffffffff"),
    ] {
        let version = Version { counter, writer };
        assert_eq!(version.to_string(), text);
        assert_eq!(text.parse::<Version>().unwrap(), version);
    }
    for text in [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "a-1",
        "1-10000000000000000",
        "1-1-1",
        " 1-1",
    ] {
        assert!(text.parse::<Version>().is_err(), "{text}");
    }
}

#[test]
fn a_session_id_is_read_as_it_is_shown() {
    let text = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let id: SessionId = text.parse().unwrap();
    assert_eq!(id.to_string(), text);
    assert_eq!(format!("{id:?}"), format!("SessionId({text})"));
    assert_eq!(SessionId::from(Uuid::from(id)), id);
    assert_eq!(Uuid::from_bytes(*id.as_bytes()), Uuid::from(id));
    for text in [
        "",
        "67e55044",
        "67e55044-10b1-426f-9247-bb680e5fe0cg",
        "../etc/passwd",
    ] {
        assert!(text.parse::<SessionId>().is_err(), "{text}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

prop_compose! {
    fn record()(
        counter in any::<u64>(),
        writer in any::<u64>(),
        created_at in 0..=Timestamp::MAX.as_millis(),
        login in prop::option::of((any::<String>(), 0..=Timestamp::MAX.as_millis())),
        idle in prop::option::of(prop_oneof![any::<u64>().prop_map(Value::from), Just(json!("never"))]),
        persistent in any::<Option<bool>>(),
        [ranked_at, moved_at] in prop::array::uniform2(prop::option::of(0..=Timestamp::MAX.as_millis())),
        (moved_to, moved_from) in any::<(Option<u128>, Option<u128>)>(),
        recent in prop::collection::vec(any::<u64>(), 1..16),
        data in prop::collection::btree_map(any::<String>(), value(), 0..8),
        unknown in prop::collection::btree_map("x_[^\"]{0,6}", value(), 0..3),
    ) -> Value {
        let mut record = with(least(), json!({
            "version": format!("{counter}-{writer:016x}"),
            "created_at": created_at,
            "data": Map::from_iter(data),
            "recent": recent.iter().map(|writer| format!("{writer:016x}")).collect::<Vec<_>>(),
            "user": login.as_ref().map(|(user, _)| user),
            "authenticated_at": login.as_ref().map(|(_, at)| at),
            "idle_timeout": idle,
            "persistent": persistent,
            "ranked_at": ranked_at,
            "moved_at": moved_at,
            "moved_to": moved_to.map(|id| Uuid::from_u128(id).to_string()),
            "moved_from": moved_from.map(|id| Uuid::from_u128(id).to_string()),
        }));
        record.as_object_mut().unwrap().extend(unknown);
        record
    }
}

proptest! {
    #[test]
    fn any_record_is_written_as_it_was_read(record in record()) {
        prop_assert_eq!(rewritten(&record), record);
    }

    #[test]
    fn any_bytes_are_corrupt_or_a_record(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let error = Record::from_bytes(&bytes).unwrap_err();
        prop_assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    }

    #[test]
    fn a_mutated_record_is_refused_or_written_as_it_was_read(
        record in record(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut bytes = record.to_string().into_bytes();
        for (index, byte) in mutations {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        match Record::from_bytes(&bytes) {
            Ok(read) => {
                let written = read.to_bytes();
                let again = Record::from_bytes(&written).unwrap();
                prop_assert_eq!(again.to_bytes(), written);
            }
            Err(error) => prop_assert!(matches!(
                error.kind(),
                StoreErrorKind::Corrupt | StoreErrorKind::Incompatible
            )),
        }
    }
}
