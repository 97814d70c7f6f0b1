//! A rolling upgrade: what the layout before this one has written is read, and both layouts write on.
//!
//! `former_layout.json` was written by that layout: each entry has the record as it was stored, the cookies that browsers
//! held at that time, and what a request with one of them finds.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Activity, Record, Session, SessionId, SessionLayer, SessionStore, Timestamp,
    store::StoreErrorKind,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::{Client, FaultyStore, FixedClock, fixture::SECOND};

#[derive(Deserialize)]
struct Entry {
    name: String,
    id: String,
    /// The clock, in milliseconds.
    at: u64,
    last_seen_at: u64,
    expires_at: Option<u64>,
    record: String,
    cookies: Vec<Presented>,
    user: Option<String>,
    data: Map<String, Value>,
}

#[derive(Deserialize)]
struct Presented {
    cookie: String,
    opens: bool,
}

fn entries() -> Vec<Entry> {
    serde_json::from_str(include_str!("former_layout.json")).unwrap()
}

fn fields(record: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(record).unwrap()
}

/// A node of today over a store that holds what `entry` says.
struct Node {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
    id: SessionId,
}

impl Node {
    async fn over(entry: &Entry, record: &[u8]) -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        clock.set(Timestamp::from_millis(entry.at));
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .renew_every(Duration::from_secs(60 * 60))
            .reap_every(None);
        let id = entry.id.parse().unwrap();
        let record = Arc::new(Record::from_bytes(record).unwrap());
        let activity = Activity {
            last_seen_at: Timestamp::from_millis(entry.last_seen_at),
            expires_at: entry.expires_at.map(Timestamp::from_millis),
        };
        store.create(id, &record, activity).await.unwrap();
        let node = Self {
            store,
            clock,
            layer,
            id,
        };
        node.store.calls();
        node
    }

    fn client(&self, cookie: &str) -> Client {
        Client::with_cookie(self.layer.clone(), cookie.to_owned())
    }

    async fn stored(&self) -> Vec<u8> {
        let (record, _) = self.store.inner().load(self.id).await.unwrap().unwrap();
        record.to_bytes()
    }
}

fn contents(session: &Session) -> (Option<String>, Map<String, Value>) {
    let mut data = Map::new();
    for key in session.keys() {
        let value = session.get(key.clone()).unwrap();
        data.insert(key.to_string(), value.unwrap());
    }
    (session.user().map(|user| user.to_string()), data)
}

/// What a node of the former layout writes: it knows its own fields, and keeps those it does not know.
fn written_by_the_former_layout(record: &[u8]) -> Vec<u8> {
    let mut fields = fields(record);
    let counter: u64 = {
        let version = fields["version"].as_str().unwrap();
        version.split_once('-').unwrap().0.parse().unwrap()
    };
    fields["version"] = json!(format!("{}-00000000000000aa", counter + 1));
    fields.remove("moved_from");
    fields["data"]["former"] = json!("here");
    serde_json::to_vec(&fields).unwrap()
}

/// What the former layout requires of a record, or the reason why it leaves the record alone.
fn is_read_by_the_former_layout(record: &[u8]) -> Result<(), &'static str> {
    let fields = fields(record);
    if fields["format"] != json!(1) {
        return Err("a later format");
    }
    let is_time = |name: &str| fields.get(name).is_none_or(Value::is_u64);
    let is_timeout = |name: &str| is_time(name) || fields[name] == json!("never");
    for name in [
        "created_at",
        "authenticated_at",
        "moved_at",
        "ranked_at",
        "renewed_at",
    ] {
        assert!(is_time(name), "{name} in {fields:?}");
    }
    for name in ["idle_timeout", "absolute_timeout"] {
        assert!(is_timeout(name), "{name} in {fields:?}");
    }
    assert!(fields["created_at"].is_u64() && fields["version"].is_string());
    assert_eq!(fields["verifier"].as_str().map(str::len), Some(43));
    assert!(fields["data"].is_object());
    assert!(fields.get("persistent").is_none_or(Value::is_boolean));
    assert_eq!(
        fields.contains_key("user"),
        fields.contains_key("authenticated_at")
    );
    for name in ["pending", "former"] {
        for secret in fields
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let [verifier, at] = secret.as_array().unwrap().as_slice() else {
                panic!("{name} in {fields:?}");
            };
            assert!(verifier.is_string() && at.is_u64());
        }
    }
    Ok(())
}

#[test]
fn a_record_of_the_former_layout_is_written_back_as_it_was() {
    for entry in entries() {
        let record = Record::from_bytes(entry.record.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(record.to_bytes()).unwrap(),
            entry.record,
            "{}",
            entry.name
        );
    }
}

#[tokio::test]
async fn a_cookie_of_the_former_layout_opens_what_it_opened() {
    for entry in entries() {
        for presented in &entry.cookies {
            let node = Node::over(&entry, entry.record.as_bytes()).await;
            let client = node.client(&presented.cookie);
            let found = client.visit(async |session| contents(&session)).await;
            let expected = if presented.opens {
                (entry.user.clone(), entry.data.clone())
            } else {
                (None, Map::new())
            };
            assert_eq!(found, expected, "{}", entry.name);
        }
    }
}

#[tokio::test]
async fn what_is_written_on_top_keeps_every_field_of_the_former_layout() {
    for entry in entries() {
        for presented in entry.cookies.iter().filter(|presented| presented.opens) {
            let node = Node::over(&entry, entry.record.as_bytes()).await;
            node.clock.advance(SECOND);
            let client = node.client(&presented.cookie);
            client
                .visit(async |session| session.insert("new", true).unwrap())
                .await;
            let (before, after) = (
                fields(entry.record.as_bytes()),
                fields(&node.stored().await),
            );
            is_read_by_the_former_layout(&node.stored().await).unwrap();
            let mut data = entry.data.clone();
            data.insert("new".to_owned(), json!(true));
            assert_eq!(after["data"], Value::Object(data), "{}", entry.name);
            // A write may change these: which write it was, the secrets that its cookie has proved, and where a cycle came from.
            let may_change = [
                "version",
                "recent",
                "data",
                "verifier",
                "pending",
                "former",
                "renewed_at",
                "moved_from",
            ];
            for (name, value) in &before {
                if !may_change.contains(&name.as_str()) {
                    assert_eq!(after.get(name), Some(value), "{name} of {}", entry.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn nodes_of_both_layouts_write_in_turn_and_nothing_is_dropped() {
    for entry in entries() {
        for presented in entry.cookies.iter().filter(|presented| presented.opens) {
            let node = Node::over(&entry, entry.record.as_bytes()).await;
            let client = node.client(&presented.cookie);
            client
                .visit(async |session| session.insert("new", true).unwrap())
                .await;
            let written = node.stored().await;
            is_read_by_the_former_layout(&written).unwrap();
            let written = written_by_the_former_layout(&written);

            let node = Node::over(&entry, &written).await;
            let client = node.client(&client.cookie().unwrap());
            let (user, data) = client
                .visit(async |session| {
                    session.insert("newer", 1).unwrap();
                    contents(&session)
                })
                .await;
            assert_eq!(user, entry.user, "{}", entry.name);
            let mut expected = entry.data.clone();
            expected.extend([
                ("new".to_owned(), json!(true)),
                ("former".to_owned(), json!("here")),
                ("newer".to_owned(), json!(1)),
            ]);
            assert_eq!(data, expected, "{}", entry.name);
            let after = fields(&node.stored().await);
            let unknown = fields(entry.record.as_bytes()).get("x_later").cloned();
            assert_eq!(after.get("x_later").cloned(), unknown, "{}", entry.name);
        }
    }
}

#[tokio::test]
async fn a_log_in_or_a_destroy_of_today_leaves_nothing_of_the_former_session_open() {
    for entry in entries() {
        for presented in entry.cookies.iter().filter(|presented| presented.opens) {
            for destroys in [false, true] {
                let node = Node::over(&entry, entry.record.as_bytes()).await;
                let client = node.client(&presented.cookie);
                client
                    .visit(async |session| {
                        if destroys {
                            session.destroy();
                        } else {
                            session.log_in("zoe").unwrap();
                        }
                    })
                    .await;
                // The marker of a log-in is read by the former layout, or is of a format that it leaves alone.
                if let Some((record, _)) = node.store.inner().load(node.id).await.unwrap() {
                    assert!(record.is_moved(), "{}", entry.name);
                    let _ = is_read_by_the_former_layout(&record.to_bytes());
                }
                let old = node.client(&presented.cookie);
                let found = old.visit(async |session| contents(&session)).await;
                assert_eq!(found, (None, Map::new()), "{}", entry.name);
            }
        }
    }
}

#[test]
fn a_record_of_a_later_layout_is_refused_and_not_taken_for_a_damaged_one() {
    for entry in entries() {
        let mut later = fields(entry.record.as_bytes());
        later["format"] = json!(1_000);
        let refused = Record::from_bytes(&serde_json::to_vec(&later).unwrap()).unwrap_err();
        assert_eq!(
            refused.kind(),
            StoreErrorKind::Incompatible,
            "{}",
            entry.name
        );
    }
}
