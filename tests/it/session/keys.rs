//! What may name a value, and what the accessors of a session do.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use axum::{Router, routing::get};
use cloakroom::{
    Error, ErrorKind, Key, KeyName, ReadKey, Session, SessionData, SessionHandle, SessionLayer,
    SessionValue, Timeout, WriteKey,
};
use futures::executor::block_on;
use http::StatusCode;
use proptest::{collection::vec, prelude::*};
use serde::{Deserialize, Serialize};

use crate::support::{Browser, Client, FaultyStore, FixedClock, StoreCall, session_cookie};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    items: Vec<String>,
}

impl Cart {
    fn of(item: &str) -> Self {
        Self {
            items: vec![item.to_owned()],
        }
    }
}

const CART: Key<Cart> = Key::new("cart");

fn visitor() -> Client {
    Client::new(SessionLayer::default())
}

#[tokio::test]
async fn every_string_names_a_value() {
    async fn all(session: Session) -> Result<(), Error> {
        let owned = || String::from("n");
        let by_reference = String::from("n");
        let borrowed = || Cow::Borrowed("n");
        let shared: Cow<'static, str> = Cow::Owned(owned());

        session.insert("n", 5)?;
        session.insert(owned(), 6)?;
        session.insert(&by_reference, 7)?;
        session.insert(borrowed(), 8)?;
        session.insert(shared.clone(), 9_u32)?;
        session.insert(by_reference.as_str(), 10)?;

        let n: Option<u32> = session.get("n")?;
        assert_eq!(n, Some(10));
        assert_eq!(session.get::<u32>("n")?, Some(10));
        assert_eq!(session.get::<u32>(owned())?, Some(10));
        assert_eq!(session.get::<u32>(&by_reference)?, Some(10));
        assert_eq!(session.get::<u64>(borrowed())?, Some(10));
        let n: u32 = session.get(shared.clone())?.unwrap_or_default();
        assert_eq!(n, 10);

        assert!(session.contains_key("n"));
        assert!(session.contains_key(owned()));
        assert!(session.contains_key(&by_reference));
        assert!(session.contains_key(borrowed()));

        let add = |n: Option<u32>| n.unwrap_or(0) + 1;
        assert_eq!(session.update("n", add)?, 11);
        assert_eq!(session.update(owned(), add)?, 12);
        assert_eq!(session.update(&by_reference, add)?, 13);
        assert_eq!(session.update(borrowed(), add)?, 14);

        let add = |n: Option<u32>| n.map(|n| Some(n + 1)).ok_or("none");
        assert_eq!(session.try_update("n", add)?, Ok(Some(15)));
        assert_eq!(session.try_update(owned(), add)?, Ok(Some(16)));
        assert_eq!(session.try_update(&by_reference, add)?, Ok(Some(17)));
        assert_eq!(session.try_update(borrowed(), add)?, Ok(Some(18)));
        assert_eq!(session.try_update("none", add)?, Err("none"));

        let n: Option<u32> = session.take("n")?;
        assert_eq!(n, Some(18));
        assert_eq!(session.take::<u32>(owned())?, None);
        assert_eq!(session.take::<u32>(&by_reference)?, None);
        assert_eq!(session.take::<u32>(borrowed())?, None);

        let n: Option<u32> = session.claim("n").await?;
        assert_eq!(n, None);
        assert_eq!(session.claim::<u32>(owned()).await?, None);
        assert_eq!(session.claim::<u32>(&by_reference).await?, None);
        assert_eq!(session.claim::<u32>(borrowed()).await?, None);

        session.insert("n", "text")?;
        assert!(session.remove("n"));
        assert!(!session.remove(owned()));
        assert!(!session.remove(&by_reference));
        assert!(!session.remove(borrowed()));
        assert!(!session.remove(shared));
        Ok(())
    }
    visitor().visit(all).await.unwrap();
}

#[tokio::test]
async fn a_typed_key_carries_the_type_of_its_value() {
    async fn all(session: Session) -> Result<(), Error> {
        const NUMBER: Key<u64> = Key::new("number");
        let cart = Cart::of("tea");

        session.insert(CART, &cart)?;
        session.insert(CART, cart.clone())?;
        // The number is a u64 without being told.
        session.insert(NUMBER, 5)?;

        let cart = session.get(CART)?.unwrap_or_default();
        assert_eq!(cart, Cart::of("tea"));
        assert_eq!(session.get(NUMBER)?, Some(5));
        assert!(session.contains_key(CART));

        let add = |cart: Option<Cart>| {
            let mut cart = cart.unwrap_or_default();
            cart.items.push("milk".to_owned());
            cart
        };
        assert_eq!(session.update(CART, add)?.items, ["tea", "milk"]);
        assert_eq!(session.update(NUMBER, |n| n.unwrap_or(0) + 1)?, 6);
        let half = |n: Option<u64>| match n {
            Some(n) if n % 2 == 0 => Ok(Some(n / 2)),
            _ => Err("odd"),
        };
        assert_eq!(session.try_update(NUMBER, half)?, Ok(Some(3)));
        assert_eq!(session.try_update(NUMBER, half)?, Err("odd"));

        assert_eq!(session.claim(NUMBER).await?, Some(3));
        assert_eq!(session.take(NUMBER)?, None);
        assert_eq!(session.take(CART)?.unwrap().items.len(), 2);
        assert!(!session.remove(CART));
        assert_eq!(CART.name(), "cart");
        assert_eq!(format!("{CART:?}"), r#"Key("cart")"#);
        Ok(())
    }
    visitor().visit(all).await.unwrap();
}

#[tokio::test]
async fn functions_over_any_key_can_be_written() {
    fn double(session: &Session, key: impl ReadKey<u32>) -> Result<u32, Error> {
        session.update(key, |n: Option<u32>| n.unwrap_or(1) * 2)
    }
    fn set(session: &Session, key: impl WriteKey<u32>) -> Result<(), Error> {
        session.insert(key, 4)
    }
    fn forget(session: &Session, key: impl KeyName) -> bool {
        session.remove(key)
    }
    const NUMBER: Key<u32> = Key::new("n");
    visitor()
        .visit(async |session| {
            set(&session, NUMBER).unwrap();
            assert_eq!(double(&session, "n").unwrap(), 8);
            set(&session, String::from("n")).unwrap();
            assert_eq!(double(&session, NUMBER).unwrap(), 8);
            assert!(forget(&session, NUMBER));
            assert!(!forget(&session, "n"));
        })
        .await;
}

#[tokio::test]
async fn a_typed_key_and_its_name_are_the_same_place() {
    let ann = visitor();
    ann.visit(async |session| {
        session.insert(CART, Cart::of("tea")).unwrap();
        assert_eq!(session.get::<Cart>("cart").unwrap(), Some(Cart::of("tea")));
        session.insert("cart", Cart::of("milk")).unwrap();
        assert_eq!(session.get(CART).unwrap(), Some(Cart::of("milk")));
        assert_eq!(session.keys(), ["cart"]);
    })
    .await;
}

#[tokio::test]
async fn any_string_is_a_key_and_any_json_a_value() {
    let ann = visitor();
    let keys = [
        "", " ", "a.b", "a\"b\\", "\u{0}", "ключ", "🗝", "data", "format",
    ];
    ann.visit(async |session| {
        for key in keys {
            session.insert(key, key).unwrap();
        }
        session.insert("unit", ()).unwrap();
        session.insert("none", None::<u32>).unwrap();
        session.insert("float", 0.1 + 0.2).unwrap();
        session.insert("most", u64::MAX).unwrap();
        session.insert("tuple", (1, "two", [3.5])).unwrap();
    })
    .await;
    ann.visit(async |session| {
        for key in keys {
            assert_eq!(session.get::<String>(key).unwrap().as_deref(), Some(key));
        }
        assert_eq!(session.len(), keys.len() + 5);
        assert_eq!(session.get("unit").unwrap(), Some(()));
        assert_eq!(session.get::<Option<u32>>("none").unwrap(), Some(None));
        assert_eq!(session.get("float").unwrap(), Some(0.1 + 0.2));
        assert_eq!(session.get("most").unwrap(), Some(u64::MAX));
        let tuple: Option<(u8, String, Vec<f64>)> = session.get("tuple").unwrap();
        assert_eq!(tuple, Some((1, "two".to_owned(), vec![3.5])));
    })
    .await;
}

#[tokio::test]
async fn what_is_done_is_seen_at_once_and_kept() {
    let ann = visitor();
    ann.visit(async |session| {
        assert!(session.is_empty());
        assert_eq!(session.get::<u32>("a").unwrap(), None);
        assert_eq!(session.take::<u32>("a").unwrap(), None);
        assert!(!session.remove("a"));
        for (key, value) in [("c", 3), ("a", 1), ("b", 2)] {
            session.insert(key, value).unwrap();
        }
        assert_eq!(session.keys(), ["a", "b", "c"]);
        assert_eq!(session.len(), 3);
    })
    .await;
    ann.visit(async |session| {
        assert_eq!(session.keys(), ["a", "b", "c"]);
        assert_eq!(session.take::<u32>("a").unwrap(), Some(1));
        assert!(session.remove("b"));
        assert!(!session.remove("b"));
        session.insert("d", 4).unwrap();
        assert_eq!(session.keys(), ["c", "d"]);
    })
    .await;
    ann.visit(async |session| {
        assert_eq!(session.keys(), ["c", "d"]);
        session.clear();
        assert!(session.is_empty());
        assert_eq!(session.get::<u32>("c").unwrap(), None);
        assert_eq!(
            session
                .update("c", |n: Option<u32>| n.unwrap_or(10) + 1)
                .unwrap(),
            11
        );
    })
    .await;
    let (keys, c) = ann
        .visit(async |session| (session.keys(), session.get::<u32>("c").unwrap()))
        .await;
    assert_eq!((keys, c), (vec!["c".to_owned()], Some(11)));
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String, u32),
    Add(String, u32),
    RemoveByUpdate(String),
    Remove(String),
    Take(String),
    Claim(String),
    Clear,
    Save,
    Reload,
    NextRequest,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || "[a-c]{1,2}";
    let value = || prop_oneof![0..5_u32, any::<u32>()];
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Step::Insert(key, value)),
        4 => (key(), value()).prop_map(|(key, value)| Step::Add(key, value)),
        1 => key().prop_map(Step::RemoveByUpdate),
        2 => key().prop_map(Step::Remove),
        1 => key().prop_map(Step::Take),
        1 => key().prop_map(Step::Claim),
        1 => Just(Step::Clear),
        1 => Just(Step::Save),
        1 => Just(Step::Reload),
        3 => Just(Step::NextRequest),
    ]
}

const MAX_BYTES: usize = 24;

/// What a session should be: a map that refuses to grow beyond its limit.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model(BTreeMap<String, u32>);

impl Model {
    fn bytes(&self) -> usize {
        let sizes = self.0.iter().map(|(k, v)| k.len() + v.to_string().len());
        sizes.sum()
    }

    fn put(&mut self, key: &str, value: u32) -> Result<(), ErrorKind> {
        let mut next = self.clone();
        next.0.insert(key.to_owned(), value);
        if next.bytes() > MAX_BYTES && next.bytes() > self.bytes() {
            return Err(ErrorKind::TooLarge);
        }
        *self = next;
        Ok(())
    }
}

async fn take_step(session: &Session, model: &mut Model, step: Step) {
    let kind = |error: Error| error.kind();
    match step {
        Step::Insert(key, value) => {
            let inserted = session.insert(&key, value).map_err(kind);
            assert_eq!(inserted, model.put(&key, value));
        }
        Step::Add(key, value) => {
            let add = move |n: Option<u32>| n.unwrap_or(0).wrapping_add(value);
            let sum = add(model.0.get(&key).copied());
            let updated = session.update(&key, add).map_err(kind);
            assert_eq!(updated, model.put(&key, sum).map(|()| sum));
        }
        Step::RemoveByUpdate(key) => {
            let remove = |n: Option<u32>| n.map(|_| None).ok_or("nothing");
            let removed = session.try_update(&key, remove).unwrap();
            assert_eq!(removed.is_ok(), model.0.remove(&key).is_some());
        }
        Step::Remove(key) => {
            assert_eq!(session.remove(&key), model.0.remove(&key).is_some());
        }
        Step::Take(key) => {
            assert_eq!(session.take(&key).unwrap(), model.0.remove(&key));
        }
        Step::Claim(key) => {
            assert_eq!(session.claim(&key).await.unwrap(), model.0.remove(&key));
        }
        Step::Clear => {
            session.clear();
            model.0.clear();
        }
        Step::Save => {
            session.save().await.unwrap();
            assert!(!session.is_modified());
        }
        Step::Reload => session.reload().await.unwrap(),
        Step::NextRequest => unreachable!("it separates the requests"),
    }
}

fn assert_like(session: &Session, model: &Model) {
    let keys: Vec<_> = model.0.keys().cloned().collect();
    assert_eq!(session.keys(), keys);
    assert_eq!(session.len(), keys.len());
    assert_eq!(session.is_empty(), keys.is_empty());
    for (key, value) in &model.0 {
        assert_eq!(session.get(key).unwrap(), Some(*value));
        assert!(session.contains_key(key));
    }
}

proptest! {
    #[test]
    fn a_session_is_a_map_with_a_limit(steps in vec(step(), 0..60)) {
        let layer = SessionLayer::default().max_data_bytes(MAX_BYTES);
        let ann = Client::new(layer);
        let mut model = Model::default();
        block_on(async {
            for request in steps.split(|step| matches!(step, Step::NextRequest)) {
                ann.visit(async |session| {
                    assert_like(&session, &model);
                    let before = model.clone();
                    for step in request {
                        take_step(&session, &mut model, step.clone()).await;
                        assert_like(&session, &model);
                    }
                    let saves = |step: &Step| matches!(step, Step::Save | Step::Claim(_));
                    if !request.iter().any(saves) {
                        assert_eq!(session.is_modified(), model != before);
                    }
                })
                .await;
            }
        });
    }
}

#[tokio::test]
async fn every_clone_is_the_same_session() {
    visitor()
        .visit(async |session| {
            let other = session.clone();
            session.insert("n", 1).unwrap();
            assert_eq!(other.get("n").unwrap(), Some(1));
            other.destroy();
            assert!(session.is_destroyed());
        })
        .await;
}

#[tokio::test]
async fn a_try_update_may_remove_or_refuse() {
    let ann = visitor();
    ann.visit(async |session| session.insert("seats", 1))
        .await
        .unwrap();
    let take = |seats: Option<u32>| match seats {
        None => Err("sold out"),
        Some(1) => Ok(None),
        Some(more) => Ok(Some(more - 1)),
    };
    ann.visit(async |session| {
        assert_eq!(session.try_update("seats", take).unwrap(), Ok(None));
        assert!(!session.contains_key("seats"));
        assert_eq!(session.try_update("seats", take).unwrap(), Err("sold out"));
    })
    .await;
    ann.visit(async |session| {
        assert!(session.is_empty());
        assert_eq!(session.try_update("seats", take).unwrap(), Err("sold out"));
        assert!(!session.is_modified());
    })
    .await;
}

#[tokio::test]
async fn a_new_session_says_so_until_it_is_stored() {
    let store = FaultyStore::in_memory();
    let clock = FixedClock::default();
    let layer = SessionLayer::new(store.clone()).clock(clock.clone());
    let ann = Client::new(layer.reap_every(None));
    ann.visit(async |session| {
        assert!(session.is_new());
        assert!(!session.is_modified());
        assert!(!session.is_destroyed());
        assert_eq!(session.id(), None);
        assert_eq!(session.user(), None);
        let times = [
            session.created_at(),
            session.last_seen_at(),
            session.expires_at(),
        ];
        assert_eq!(times, [None; 3]);
        assert_eq!(session.authenticated_at(), None);
        session.insert("n", 1).unwrap();
        assert!(session.is_new());
        assert!(session.is_modified());
        session.save().await.unwrap();
        assert!(!session.is_new());
        assert!(!session.is_modified());
        assert!(session.id().is_some());
    })
    .await;
    let (id, was_new) = ann
        .visit(async |session| (session.id(), session.is_new()))
        .await;
    assert!(!was_new);
    assert!(id.is_some());
    assert_eq!(store.calls(), [StoreCall::Create, StoreCall::Load]);
}

#[tokio::test]
async fn a_session_is_modified_by_what_makes_a_difference() {
    let ann = visitor();
    ann.visit(async |session| session.insert("n", 1))
        .await
        .unwrap();
    ann.visit(async |session| {
        session.insert("n", 1).unwrap();
        session.remove("other");
        assert!(!session.is_modified());
        session.insert("n", 2).unwrap();
        assert!(session.is_modified());
        session.insert("n", 1).unwrap();
        assert!(!session.is_modified());
        session.set_idle_timeout(Timeout::Never);
        assert!(session.is_modified());
        session.set_idle_timeout(Timeout::Layer);
        assert!(!session.is_modified());
        session.cycle_id().unwrap();
        assert!(session.is_modified());
    })
    .await;
}

#[tokio::test]
async fn a_destroyed_session_says_so_until_another_begins() {
    let ann = visitor();
    ann.visit(async |session| session.insert("n", 1))
        .await
        .unwrap();
    ann.visit(async |session| {
        assert!(!session.is_destroyed());
        session.destroy();
        assert!(session.is_destroyed());
        assert!(session.is_new());
        assert!(session.is_empty());
        assert_eq!(session.id(), None);
        // None of these begins another.
        assert!(!session.remove("n"));
        session.clear();
        assert_eq!(session.take::<u32>("n").unwrap(), None);
        let huge = "x".repeat(100_000);
        let refused = session.insert("n", huge).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::TooLarge));
        assert!(session.is_destroyed());
        session.insert("m", 2).unwrap();
        assert!(!session.is_destroyed());
    })
    .await;
    let keys = ann.visit(async |session| session.keys()).await;
    assert_eq!(keys, ["m"]);
}

#[tokio::test]
async fn the_times_and_the_user_of_a_session() {
    let clock = FixedClock::default();
    let start = SystemTime::from(FixedClock::START);
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let layer = SessionLayer::default().clock(clock.clone());
    let ann = Client::new(layer);
    ann.visit(async |session| session.insert("n", 1))
        .await
        .unwrap();
    clock.advance(minutes(10));
    ann.visit(async |session| {
        assert_eq!(session.created_at(), Some(start));
        assert_eq!(session.last_seen_at(), Some(start));
        // Seen again just now.
        assert_eq!(session.expires_at(), Some(start + minutes(70)));
        assert_eq!(session.authenticated_at(), None);
        session.set_idle_timeout(Timeout::After(minutes(5)));
        assert_eq!(session.expires_at(), Some(start + minutes(15)));
        session.remember_for(minutes(7 * 24 * 60));
        assert_eq!(
            session.expires_at(),
            Some(start + minutes(10 + 7 * 24 * 60))
        );
        session.set_idle_timeout(Timeout::Never);
        session.set_absolute_timeout(Timeout::Never);
        assert_eq!(session.expires_at(), None);
        session.set_idle_timeout(Timeout::Layer);
        session.set_absolute_timeout(Timeout::Layer);
    })
    .await;
    clock.advance(minutes(10));
    ann.visit(async |session| {
        assert_eq!(session.last_seen_at(), Some(start + minutes(10)));
        assert_eq!(session.user(), None);
        session.log_in("ann").unwrap();
        assert_eq!(session.user().as_deref(), Some("ann"));
        assert_eq!(session.authenticated_at(), Some(start + minutes(20)));
        assert_eq!(session.get::<u32>("n").unwrap(), Some(1));
    })
    .await;
    clock.advance(minutes(10));
    ann.visit(async |session| {
        assert_eq!(session.user().as_deref(), Some("ann"));
        assert_eq!(session.authenticated_at(), Some(start + minutes(20)));
        assert_eq!(session.created_at(), Some(start));
        // M8: another user begins with nothing.
        session.log_in(String::from("bob")).unwrap();
        assert_eq!(session.user().as_deref(), Some("bob"));
        assert!(session.is_empty());
    })
    .await;
    let (user, keys) = ann
        .visit(async |session| (session.user(), session.keys()))
        .await;
    assert_eq!(user.as_deref(), Some("bob"));
    assert!(keys.is_empty());
}

#[tokio::test]
async fn l5_expires_at_knows_of_a_log_in_of_this_request() {
    let clock = FixedClock::default();
    let start = SystemTime::from(FixedClock::START);
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let layer = SessionLayer::default()
        .clock(clock.clone())
        .anonymous_idle_timeout(minutes(30))
        .idle_timeout(minutes(50))
        .absolute_timeout(minutes(60));
    let ann = Client::new(layer);
    ann.visit(async |session| session.insert("n", 1))
        .await
        .unwrap();
    clock.advance(minutes(20));
    ann.visit(async |session| {
        assert_eq!(session.expires_at(), Some(start + minutes(50)));
        session.cycle_id().unwrap();
        assert_eq!(session.expires_at(), Some(start + minutes(50)));
        session.log_in("ann").unwrap();
        assert_eq!(session.expires_at(), Some(start + minutes(70)));
        session.set_idle_timeout(Timeout::Never);
        assert_eq!(session.expires_at(), Some(start + minutes(80)));
    })
    .await;
    clock.advance(minutes(10));
    ann.visit(async |session| {
        assert_eq!(session.expires_at(), Some(start + minutes(80)));
        // What one user has set does not pass to the next.
        session.log_in("bob").unwrap();
        assert_eq!(session.expires_at(), Some(start + minutes(80)));
        session.set_absolute_timeout(Timeout::Never);
        assert_eq!(session.expires_at(), Some(start + minutes(80)));
    })
    .await;
    let bobs = ann.visit(async |session| session.expires_at()).await;
    assert_eq!(bobs, Some(start + minutes(80)));
}

#[tokio::test]
async fn m8_a_log_in_keeps_the_data_of_the_same_user_and_drops_that_of_another() {
    let ann = visitor();
    ann.visit(async |session| session.insert("cart", "tea"))
        .await
        .unwrap();
    for (user, kept) in [("ann", true), ("ann", true), ("bob", false)] {
        ann.visit(async |session| {
            session.log_in(user).unwrap();
            assert_eq!(session.contains_key("cart"), kept);
            session.insert("since", user).unwrap();
        })
        .await;
        let (cart, since) = ann
            .visit(async |session| {
                (
                    session.contains_key("cart"),
                    session.get::<String>("since").unwrap(),
                )
            })
            .await;
        assert_eq!((cart, since.as_deref()), (kept, Some(user)));
    }
}

impl SessionValue for Cart {
    const KEY: &str = "cart";
}

#[tokio::test]
async fn session_data_reads_as_the_value_and_changes_by_update() {
    async fn add(mut cart: SessionData<Cart>) -> Result<String, Error> {
        let count = cart.items.len();
        cart.update(move |cart| cart.items.push(format!("item {count}")))?;
        assert_eq!(cart.session().get(CART)?.as_ref(), Some(&*cart));
        Ok(cart.into_inner().items.join(", "))
    }
    async fn look(cart: SessionData<Cart>) -> String {
        cart.items.len().to_string()
    }
    let store = FaultyStore::in_memory();
    let app = Router::new()
        .route("/", get(look))
        .route("/add", get(add))
        .route(
            "/break",
            get(async |session: Session| session.insert("cart", 5)),
        )
        .layer(SessionLayer::new(store.clone()));
    let ann = Browser::new(app);
    let first = ann.get("/").await;
    assert_eq!(first.body, "0");
    assert!(first.set_cookies().is_empty(), "a default is not stored");
    assert_eq!(ann.get("/add").await.body, "item 0");
    assert_eq!(ann.get("/add").await.body, "item 0, item 1");
    assert_eq!(ann.get("/").await.body, "2");
    ann.get("/break").await;
    let broken = ann.get("/").await;
    assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn m3_session_data_changes_are_replayed_on_a_fresher_value() {
    async fn add(mut cart: SessionData<Cart>) -> Result<(), Error> {
        tokio::task::yield_now().await;
        cart.update(|cart| cart.items.push("tea".to_owned()))
    }
    let app = Router::new()
        .route("/add", get(add))
        .route(
            "/",
            get(async |cart: SessionData<Cart>| cart.items.len().to_string()),
        )
        .layer(SessionLayer::default());
    let ann = Browser::new(app);
    ann.get("/add").await;
    futures::future::join_all((0..20).map(|_| ann.get("/add"))).await;
    assert_eq!(ann.get("/").await.body, "21");
}

#[tokio::test]
async fn an_optional_session_is_there_only_where_one_lives() {
    async fn greet(session: Option<Session>) -> String {
        match session {
            Some(session) => session.user().unwrap_or_else(|| "anonymous".to_owned()),
            None => "nobody".to_owned(),
        }
    }
    let app = Router::new()
        .route("/", get(greet))
        .route("/in", get(async |session: Session| session.log_in("ann")))
        .route("/out", get(async |session: Session| session.destroy()))
        .route(
            "/write",
            get(async |session: Session| session.insert("n", 1)),
        )
        .layer(SessionLayer::default());
    let ann = Browser::new(app);
    assert_eq!(ann.get("/").await.body, "nobody");
    ann.get("/write").await;
    assert_eq!(ann.get("/").await.body, "anonymous");
    let reply = ann.get("/in").await;
    assert_eq!(ann.get("/").await.body, "ann");
    ann.get("/out").await;
    assert_eq!(ann.get("/").await.body, "nobody");
    // The old cookie, brought back, is nobody's.
    let (name, value) = session_cookie(&reply).split_once('=').map(own).unwrap();
    ann.set_cookie(&name, &value);
    assert_eq!(ann.get("/").await.body, "nobody");
}

fn own((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

#[tokio::test]
async fn a_handler_without_the_layer_answers_500_and_names_it() {
    let app = Router::new()
        .route("/session", get(async |_: Session| "unreachable"))
        .route("/optional", get(async |_: Option<Session>| "unreachable"))
        .route("/data", get(async |_: SessionData<Cart>| "unreachable"))
        .route("/handle", get(async |_: SessionHandle| "unreachable"));
    let ann = Browser::new(app);
    for path in ["/session", "/optional", "/data", "/handle"] {
        let reply = ann.get(path).await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(
            reply.body.contains("cloakroom::SessionLayer"),
            "{}",
            reply.body
        );
        assert!(reply.body.contains(".layer("), "{}", reply.body);
    }
}

#[tokio::test]
async fn a_typed_key_takes_the_borrowed_form_of_its_value() {
    async fn all(session: Session) -> Result<(), Error> {
        const NAME: Key<String> = Key::new("name");
        const TAGS: Key<Vec<String>> = Key::new("tags");
        const COLOURS: Key<Vec<u8>> = Key::new("colours");
        const PLACE: Key<PathBuf> = Key::new("place");
        const BOXED: Key<Box<str>> = Key::new("boxed");
        const BOXED_CART: Key<Box<Cart>> = Key::new("boxed cart");
        const EITHER: Key<Cow<'static, str>> = Key::new("either");
        const MAYBE: Key<Option<String>> = Key::new("maybe");

        let name = || String::from("Ann");
        session.insert(NAME, "text")?;
        let owned = name();
        session.insert(NAME, &owned)?;
        session.insert(NAME, owned.as_str())?;
        session.insert(NAME, owned)?;
        session.insert(NAME, Cow::Borrowed("Bea"))?;
        assert_eq!(session.get(NAME)?.as_deref(), Some("Bea"));

        let tags = vec!["a".to_owned(), "b".to_owned()];
        session.insert(TAGS, &tags[1..])?;
        assert_eq!(session.get(TAGS)?.unwrap(), ["b"]);
        session.insert(TAGS, [name()])?;
        session.insert(TAGS, &[name(), name()])?;
        assert_eq!(session.get(TAGS)?.unwrap(), ["Ann", "Ann"]);
        session.insert(TAGS, Cow::Borrowed(&*tags))?;
        session.insert(TAGS, &tags)?;
        session.insert(TAGS, vec![])?;
        assert_eq!(session.get(TAGS)?.unwrap(), Vec::<String>::new());
        session.insert(COLOURS, [1, 2, 255])?;
        session.insert(COLOURS, b"abc")?;
        assert_eq!(session.get(COLOURS)?.unwrap(), b"abc");

        session.insert(PLACE, Path::new("/srv"))?;
        assert_eq!(session.get(PLACE)?, Some(PathBuf::from("/srv")));
        session.insert(BOXED, "text")?;
        session.insert(BOXED, Box::from("box"))?;
        assert_eq!(session.get(BOXED)?.as_deref(), Some("box"));
        session.insert(BOXED_CART, &Cart::of("tea"))?;
        assert_eq!(session.get(BOXED_CART)?, Some(Box::new(Cart::of("tea"))));
        session.insert(EITHER, "text")?;
        session.insert(EITHER, Cow::Owned(name()))?;
        assert_eq!(session.get(EITHER)?, Some(Cow::Owned(name())));
        session.insert(MAYBE, None)?;
        session.insert(MAYBE, Some(name()))?;
        assert_eq!(session.get(MAYBE)?, Some(Some(name())));
        Ok(())
    }
    visitor().visit(all).await.unwrap();
}
