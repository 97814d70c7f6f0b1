//! What strangers may send, and what handlers may try to keep: nothing of it breaks anything.

use std::collections::HashMap;

use axum::{Router, body::Body, routing::get};
use cloakroom::{Error, ErrorKind, Key, Session, SessionLayer, SessionStore, Transport};
use futures::executor::block_on;
use http::{HeaderValue, Request, StatusCode, header};
use proptest::{collection::vec, prelude::*, sample::select};
use serde::{Serialize, Serializer, ser};
use tokio::sync::Barrier;

use crate::support::{
    Browser, Client, FaultyStore, Reply, StoreCall,
    carried::{carried, every_transport},
    token::{NEVER_ISSUED, is_well_formed, join, split},
};

const NAME: &str = "__Host-id";

/// Its store is asked for nothing but requests.
fn layer(store: &FaultyStore) -> SessionLayer {
    SessionLayer::new(store.clone()).reap_every(None)
}

fn app(store: &FaultyStore) -> Router {
    app_over(store, &Transport::Cookie)
}

/// As [`app`], with tokens that travel so.
fn app_over(store: &FaultyStore, transport: &Transport) -> Router {
    let who = async |session: Session| {
        let name: Result<Option<String>, Error> = session.get("name");
        name.map(|name| name.unwrap_or_else(|| "nobody".to_owned()))
    };
    let app = Router::new()
        .route("/who", get(who))
        .route(
            "/be",
            get(async |session: Session| session.insert("name", "ann")),
        )
        .layer(layer(store).transport(transport.clone()));
    carried(app, transport)
}

async fn ask(app: &Router, path: &str, cookies: &[Vec<u8>]) -> Reply {
    let mut request = Request::get(path);
    for cookie in cookies {
        let value = HeaderValue::from_bytes(cookie).unwrap();
        request = request.header(header::COOKIE, value);
    }
    let browser = Browser::new(app.clone());
    browser.send(request.body(Body::empty()).unwrap()).await
}

fn issued(reply: &Reply) -> Option<String> {
    let cookies = reply.set_cookies();
    let (_, value) = cookies.first()?.split(';').next()?.split_once('=')?;
    Some(value.to_owned())
}

#[tokio::test]
async fn two_hundred_cookies_cost_at_most_three_look_ups() {
    let store = FaultyStore::in_memory();
    let app = app(&store);
    let pairs: Vec<_> = (0..200)
        .map(|n| format!("{NAME}={}", join(NEVER_ISSUED, [n; 16])))
        .collect();
    let together = vec![pairs.join("; ").into_bytes()];
    let apart: Vec<_> = pairs.iter().map(|pair| pair.clone().into_bytes()).collect();
    for cookies in [together, apart] {
        let reply = ask(&app, "/who", &cookies).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.body, "nobody");
        let calls = store.calls();
        let loads = calls
            .iter()
            .filter(|call| **call == StoreCall::Load)
            .count();
        assert_eq!(loads, 3);
        assert!(calls.len() <= 6, "{calls:?}");
    }
}

#[tokio::test]
async fn a_session_is_found_among_two_hundred_cookies_of_others() {
    let store = FaultyStore::in_memory();
    let app = app(&store);
    let ann = issued(&ask(&app, "/be", &[]).await).unwrap();
    let mut pairs: Vec<_> = (0..200).map(|n| format!("cookie{n}=value{n}")).collect();
    pairs.insert(150, format!("{NAME}={ann}"));
    let reply = ask(&app, "/who", &[pairs.join("; ").into_bytes()]).await;
    assert_eq!(reply.body, "ann");
}

#[tokio::test]
async fn values_of_64_kib_are_passed_over() {
    let store = FaultyStore::in_memory();
    let app = app(&store);
    let ann = issued(&ask(&app, "/be", &[]).await).unwrap();
    store.calls();
    let huge = "A".repeat(64 * 1024);
    for alone in [
        format!("{NAME}={huge}"),
        format!("{NAME}={ann}{huge}"),
        format!("{huge}={ann}"),
        ";".repeat(64 * 1024),
        "=".repeat(64 * 1024),
        format!("{NAME}=").repeat(6000),
    ] {
        let reply = ask(&app, "/who", &[alone.into_bytes()]).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.body, "nobody");
        assert_eq!(store.calls(), []);
    }
    let beside = format!("{NAME}={huge}; {huge}=1; {NAME}={ann}; x={huge}");
    assert_eq!(ask(&app, "/who", &[beside.into_bytes()]).await.body, "ann");
}

/// Any byte that may stand in a header's value.
fn value_byte() -> impl Strategy<Value = u8> {
    prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8]
}

/// Pieces of which a Cookie header that nearly means something is made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"__Host-id=".to_vec()),
        Just(b"__Host-id".to_vec()),
        Just(b"; ".to_vec()),
        Just(b"=".to_vec()),
        vec(value_byte(), 0..50),
        "[A-Za-z0-9_-]{42}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn t2_no_cookie_header_panics_gives_a_5xx_or_reaches_the_store(
        transport in select(every_transport().to_vec()),
        headers in vec(
            prop_oneof![
                vec(value_byte(), 0..300),
                vec(piece(), 0..12).prop_map(|pieces| pieces.concat()),
                vec(value_byte(), 0..80).prop_map(|value| [b"__Host-id=", &value[..]].concat()),
            ],
            0..4,
        ),
    ) {
        let store = FaultyStore::in_memory();
        let app = app_over(&store, &transport);
        let read = block_on(ask(&app, "/who", &headers));
        prop_assert_eq!(read.status, StatusCode::OK);
        prop_assert_eq!(read.body, "nobody");
        prop_assert_eq!(store.calls(), []);
        let written = block_on(ask(&app, "/be", &headers));
        prop_assert_eq!(written.status, StatusCode::OK);
        prop_assert_eq!(store.calls(), [StoreCall::Create]);
    }

    #[test]
    fn t1_whatever_has_the_length_of_a_token_is_not_adopted(
        transport in select(every_transport().to_vec()),
        value in "[A-Za-z0-9_-]{43}",
    ) {
        let store = FaultyStore::in_memory();
        let app = app_over(&store, &transport);
        let cookie = [format!("{NAME}={value}").into_bytes()];
        let read = block_on(ask(&app, "/who", &cookie));
        prop_assert_eq!(read.body, "nobody");
        prop_assert_eq!(store.calls().is_empty(), !is_well_formed(&value));
        let written = issued(&block_on(ask(&app, "/be", &cookie))).unwrap();
        prop_assert_eq!(store.inner().len(), 1);
        if is_well_formed(&value) {
            prop_assert_ne!(split(&written).0, split(&value).0);
        }
    }

    #[test]
    fn t1_a_token_with_any_character_changed_opens_nothing(
        transport in select(every_transport().to_vec()),
        changes in vec((0..43_usize, value_byte()), 1..4),
    ) {
        let store = FaultyStore::in_memory();
        let app = app_over(&store, &transport);
        let token = issued(&block_on(ask(&app, "/be", &[]))).unwrap();
        let mut mutant = token.clone().into_bytes();
        for (place, byte) in changes {
            mutant[place] = byte;
        }
        prop_assume!(mutant != token.as_bytes());
        let cookie = [[format!("{NAME}=").as_bytes(), &mutant].concat()];
        let read = block_on(ask(&app, "/who", &cookie));
        prop_assert_eq!(read.status, StatusCode::OK);
        prop_assert_eq!(read.body, "nobody");
        prop_assert!(read.headers.get(header::SET_COOKIE).is_none());
        let written = issued(&block_on(ask(&app, "/be", &cookie))).unwrap();
        prop_assert_ne!(split(&written).0, split(&token).0);
        prop_assert_eq!(store.inner().len(), 2);
        if let Some(mutant) = str::from_utf8(&mutant).ok().filter(|text| is_well_formed(text)) {
            prop_assert_ne!(split(&written).0, split(mutant).0);
        }
        let cookie = [format!("{NAME}={token}").into_bytes()];
        prop_assert_eq!(block_on(ask(&app, "/who", &cookie)).body, "ann");
    }
}

/// Refuses to be serialized, and says what it is.
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("stubborn"))
    }
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn a_value_that_does_not_serialize_is_refused_and_changes_nothing() {
    let store = FaultyStore::in_memory();
    let ann = Client::new(layer(&store));
    let by_point = HashMap::from([((1, 2), "here")]);
    let refuse = |session: &Session| {
        let refused = Some(ErrorKind::Serialize);
        assert_eq!(kind(session.insert("map", &by_point)), refused);
        assert_eq!(kind(session.insert("map", by_point.clone())), refused);
        assert_eq!(kind(session.insert("kept", Stubborn)), refused);
        assert_eq!(
            kind(session.insert(Key::<Stubborn>::new("kept"), &Stubborn)),
            refused
        );
        let update = |_: Option<HashMap<String, Fussy>>| HashMap::from([(String::new(), Fussy)]);
        assert_eq!(kind(session.update("map", update)), refused);
        let update = move |old| Ok::<_, ()>(Some(update(old)));
        assert_eq!(kind(session.try_update("map", update)), refused);
    };
    // A new session stays unstored.
    let (_, response) = ann
        .ask(async |session| {
            refuse(&session);
            assert!(session.is_empty());
            assert!(!session.is_modified());
        })
        .await;
    assert!(!response.headers().contains_key(header::SET_COOKIE));
    assert_eq!(store.calls(), []);
    ann.visit(async |session| session.insert("kept", 1))
        .await
        .unwrap();
    store.calls();
    ann.visit(async |session| {
        refuse(&session);
        assert_eq!(session.keys(), ["kept"]);
        assert_eq!(session.get::<u32>("kept").unwrap(), Some(1));
        assert!(!session.is_modified());
    })
    .await;
    assert_eq!(store.calls(), [StoreCall::Load]);
}

/// Reads from anything, and does not serialize.
#[derive(serde::Deserialize)]
struct Fussy;

impl Serialize for Fussy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Stubborn.serialize(serializer)
    }
}

#[tokio::test]
async fn data_beyond_max_data_bytes_is_refused_and_changes_nothing() {
    const MAX: usize = 100;
    let store = FaultyStore::in_memory();
    let layer = layer(&store).max_data_bytes(MAX);
    let ann = Client::new(layer);
    let text = |length: usize| "x".repeat(length);
    // A key of one byte, and two quotation marks.
    let most = MAX - 3;
    ann.visit(async |session| {
        assert_eq!(
            kind(session.insert("a", text(most + 1))),
            Some(ErrorKind::TooLarge)
        );
        assert!(session.is_empty());
        assert!(!session.is_modified());
    })
    .await;
    assert_eq!(store.calls(), [], "a refused value begins no session");
    ann.visit(async |session| {
        session.insert("a", text(most)).unwrap();
        assert_eq!(kind(session.insert("b", 1)), Some(ErrorKind::TooLarge));
        assert_eq!(
            kind(session.insert("a", text(most + 1))),
            Some(ErrorKind::TooLarge)
        );
        let longer = |old: Option<String>| old.unwrap_or_default() + "x";
        assert_eq!(kind(session.update("a", longer)), Some(ErrorKind::TooLarge));
        let longer = move |old| Ok::<_, ()>(Some(longer(old)));
        assert_eq!(
            kind(session.try_update("a", longer)),
            Some(ErrorKind::TooLarge)
        );
        assert_eq!(session.get::<String>("a").unwrap(), Some(text(most)));
        assert_eq!(session.keys(), ["a"]);
    })
    .await;
    ann.visit(async |session| {
        assert_eq!(session.get::<String>("a").unwrap(), Some(text(most)));
        // Room that is made is room.
        session.insert("a", text(most - 2)).unwrap();
        session.insert("b", 1).unwrap();
        assert_eq!(kind(session.insert("b", 11)), Some(ErrorKind::TooLarge));
        assert!(session.remove("a"));
        session.insert("b", 11).unwrap();
        session.clear();
        session.insert("c", text(most)).unwrap();
    })
    .await;
    let keys = ann.visit(async |session| session.keys()).await;
    assert_eq!(keys, ["c"]);
}

#[tokio::test]
async fn a_session_that_is_too_large_for_the_limit_of_today_can_still_shrink() {
    let store = FaultyStore::in_memory();
    let ann = Client::new(layer(&store));
    ann.visit(async |session| {
        session.insert("a", "x".repeat(500)).unwrap();
        session.insert("b", "x".repeat(500)).unwrap();
    })
    .await;
    let cookie = ann.cookie().unwrap();
    let tight = layer(&store).max_data_bytes(100);
    let again = Client::with_cookie(tight, cookie);
    again
        .visit(async |session| {
            assert_eq!(kind(session.insert("c", 1)), Some(ErrorKind::TooLarge));
            session.insert("a", "y".repeat(400)).unwrap();
            assert!(session.remove("b"));
        })
        .await;
    let (length, keys) = again
        .visit(async |session| {
            let a: Option<String> = session.get("a").unwrap();
            (a.unwrap().len(), session.keys())
        })
        .await;
    assert_eq!((length, keys), (400, vec!["a".to_owned()]));
}

#[tokio::test]
async fn data_that_is_too_large_after_a_merge_is_not_saved_and_answered_with_503() {
    let store = FaultyStore::in_memory();
    let layer = layer(&store).max_data_bytes(100);
    let ann = Client::new(layer);
    ann.visit(async |session| session.insert("here", true))
        .await
        .unwrap();
    let barrier = Barrier::new(2);
    let write = async |key: &'static str| {
        let write = async |session: Session| {
            barrier.wait().await;
            session.insert(key, "x".repeat(60))
        };
        let (inserted, response) = ann.ask(write).await;
        inserted.unwrap();
        response
    };
    let (one, two) = tokio::join!(write("one"), write("two"));
    let mut statuses = [one.status(), two.status()];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]);
    let kept = if one.status() == StatusCode::OK {
        "one"
    } else {
        "two"
    };
    let keys = ann.visit(async |session| session.keys()).await;
    assert_eq!(keys, ["here", kept]);
}

#[tokio::test]
async fn a_value_of_another_type_is_an_error_and_stays() {
    const TEXT: Key<String> = Key::new("n");
    let store = FaultyStore::in_memory();
    let ann = Client::new(layer(&store));
    ann.visit(async |session| session.insert("n", 5))
        .await
        .unwrap();
    store.calls();
    ann.visit(async |session| {
        let wrong = Some(ErrorKind::Deserialize);
        assert_eq!(kind(session.get::<String>("n")), wrong);
        assert_eq!(kind(session.get(TEXT)), wrong);
        assert_eq!(kind(session.take::<String>("n")), wrong);
        assert_eq!(kind(session.take(TEXT)), wrong);
        assert_eq!(kind(session.claim::<String>("n").await), wrong);
        assert_eq!(kind(session.claim(TEXT).await), wrong);
        let shout = |text: Option<String>| text.unwrap_or_default() + "!";
        assert_eq!(kind(session.update("n", shout)), wrong);
        assert_eq!(kind(session.update(TEXT, shout)), wrong);
        let shout = move |text| Ok::<_, ()>(Some(shout(text)));
        assert_eq!(kind(session.try_update(TEXT, shout)), wrong);
        assert!(!session.is_modified());
        assert_eq!(session.get::<u32>("n").unwrap(), Some(5));
    })
    .await;
    assert_eq!(store.calls(), [StoreCall::Load]);
    // Pending values are no different.
    ann.visit(async |session| {
        session.insert("m", "text").unwrap();
        assert_eq!(kind(session.take::<u32>("m")), Some(ErrorKind::Deserialize));
        assert_eq!(
            kind(session.claim::<u32>("m").await),
            Some(ErrorKind::Deserialize)
        );
        assert_eq!(session.get::<String>("m").unwrap().as_deref(), Some("text"));
    })
    .await;
    let claimed = ann
        .visit(async |session| session.claim::<u32>("n").await)
        .await;
    assert_eq!(claimed.unwrap(), Some(5));
    let rest = ann.visit(async |session| session.keys()).await;
    assert_eq!(rest, ["m"]);
}

#[tokio::test]
async fn a_handler_that_passes_such_an_error_on_answers_500_and_gives_nothing_away() {
    let store = FaultyStore::in_memory();
    let app = Router::new()
        .route(
            "/be",
            get(async |session: Session| session.insert("name", "Rumpelstilzchen")),
        )
        .route(
            "/as-number",
            get(async |session: Session| {
                let number: Result<Option<u32>, Error> = session.get("name");
                number.map(|number| format!("{number:?}"))
            }),
        )
        .layer(layer(&store));
    let ann = Browser::new(app);
    ann.get("/be").await;
    let reply = ann.get("/as-number").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    insta::assert_snapshot!(reply.body, @"Something went wrong on our side.");
    let (id, _) = split(&ann.cookie(NAME).unwrap());
    assert!(store.inner().load(id).await.unwrap().is_some());
}
