//! T6: a token opens a session only in its realm.

use cloakroom::{
    EndReason, Event, EventKind, FormerCookie, MemoryStore, Record, Rejection, Session,
    SessionCookie, SessionId, SessionLayer, SessionStore,
};
use serde_json::{Value, json};

use crate::support::{
    Client, FixedClock, Recorder, Visitor,
    fixture::{DAY, plain_cookie},
    token::split,
};

/// One store, and the layers of several applications over it.
struct House {
    store: MemoryStore,
    clock: FixedClock,
}

impl House {
    fn new() -> Self {
        Self {
            store: MemoryStore::default(),
            clock: FixedClock::default(),
        }
    }

    fn layer(&self) -> SessionLayer {
        SessionLayer::new(self.store.clone())
            .clock(self.clock.clone())
            .absolute_timeout(None)
            .idle_timeout(None)
            .reap_every(None)
    }

    fn named(&self, name: &str) -> SessionLayer {
        self.layer().cookie(SessionCookie::new(name))
    }

    async fn record(&self, id: SessionId) -> Value {
        let (record, _) = self.store.load(id).await.unwrap().unwrap();
        serde_json::from_slice(&record.to_bytes()).unwrap()
    }

    /// Puts back what is stored without its realm: as a node of before has written it.
    async fn forget_realm(&self, id: SessionId) {
        let (record, activity) = self.store.load(id).await.unwrap().unwrap();
        let mut fields: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
        fields.as_object_mut().unwrap().remove("realm");
        fields["format"] = json!(1);
        let record = Record::from_bytes(fields.to_string().as_bytes()).unwrap();
        assert!(self.store.delete(id).await.unwrap());
        self.store
            .create(id, &record.into(), activity)
            .await
            .unwrap();
    }
}

/// The token that the visitor has.
fn token(cookie: &str) -> String {
    cookie.split_once('=').unwrap().1.to_owned()
}

fn id(cookie: &str) -> SessionId {
    split(&token(cookie)).0
}

async fn log_in(layer: &SessionLayer, user: &str) -> String {
    let client = Client::new(layer.clone());
    client
        .visit(async |session| session.log_in(user).unwrap())
        .await;
    client.cookie().unwrap()
}

/// Who a cookie of `name` with this one's token is, by `layer`.
async fn who(layer: &SessionLayer, name: &str, cookie: &str) -> Option<String> {
    let client = Client::with_cookie(layer.clone(), format!("{name}={}", token(cookie)));
    let user = client.visit(async |session| session.user()).await;
    user.map(|user| user.to_string())
}

#[tokio::test]
async fn t6_a_renamed_cookie_of_another_layer_over_the_same_store_opens_nothing() {
    let house = House::new();
    let layers = [
        (house.layer(), "__Host-id"),
        (house.named("staff"), "__Host-staff"),
        (house.layer().cookie(plain_cookie("shop")), "shop"),
        (house.layer().cookie(plain_cookie("staff")), "staff"),
        (
            house
                .layer()
                .cookie(SessionCookie::new("shop").path("/shop")),
            "__Secure-shop",
        ),
    ];
    for (issuer, issued_under) in &layers {
        let cookie = log_in(issuer, "ann").await;
        for (layer, name) in &layers {
            let expected = (name == issued_under).then_some("ann");
            let found = who(layer, name, &cookie).await;
            assert_eq!(found.as_deref(), expected, "{issued_under} as {name}");
        }
    }
}

#[tokio::test]
async fn t6_a_cookie_of_another_realm_changes_nothing_and_is_reported() {
    let house = House::new();
    let cookie = log_in(&house.named("shop"), "ann").await;
    let recorder = Recorder::default();
    let staff = house.named("staff").on_event(recorder.clone());
    let renamed = format!("__Host-staff={}", token(&cookie));
    let before = house.record(id(&cookie)).await;
    let client = Client::with_cookie(staff.clone(), renamed.clone());
    client.visit(async |session| session.destroy()).await;
    let client = Client::with_cookie(staff.clone(), renamed.clone());
    client
        .visit(async |session| session.insert("n", 1).unwrap())
        .await;
    assert_ne!(id(&client.cookie().unwrap()), id(&cookie));
    let client = Client::with_cookie(staff, renamed);
    client
        .visit(async |session| session.log_in("ann").unwrap())
        .await;
    assert_ne!(id(&client.cookie().unwrap()), id(&cookie));
    assert_eq!(house.record(id(&cookie)).await, before);
    let rejected = (Some(id(&cookie)), Rejection::OtherRealm);
    assert_eq!(recorder.rejections(), [rejected; 3]);
}

#[tokio::test]
async fn t6_layers_with_the_same_realm_share_their_sessions() {
    let house = House::new();
    let shop = house.named("shop").realm("customers");
    let forum = house.named("forum").realm("customers");
    let staff = house.named("staff");
    let cookie = log_in(&shop, "ann").await;
    assert_eq!(
        who(&forum, "__Host-forum", &cookie).await.as_deref(),
        Some("ann")
    );
    assert_eq!(who(&staff, "__Host-staff", &cookie).await, None);
    // The order of the two settings makes no difference.
    let late = house
        .layer()
        .realm("customers")
        .cookie(SessionCookie::new("late"));
    assert_eq!(
        who(&late, "__Host-late", &cookie).await.as_deref(),
        Some("ann")
    );
    let cookie = log_in(&staff, "bob").await;
    assert_eq!(who(&shop, "__Host-shop", &cookie).await, None);
}

#[tokio::test]
async fn t6_a_realm_that_is_set_later_loses_nobody() {
    let house = House::new();
    let before = house.named("shop");
    let cookie = log_in(&before, "ann").await;
    let after = house.named("shop").realm("customers");
    assert_eq!(
        who(&after, "__Host-shop", &cookie).await.as_deref(),
        Some("ann")
    );
    let client = Client::with_cookie(after, cookie);
    client
        .visit(async |session| session.cycle_id().unwrap())
        .await;
    let record = house.record(id(&client.cookie().unwrap())).await;
    assert_eq!(record["realm"], json!("customers"));
}

#[tokio::test]
async fn t6_a_session_keeps_its_realm_whatever_happens_to_it() {
    let house = House::new();
    let layer = house.named("shop").renew_every(DAY);
    let visitor = Visitor::new(&layer);
    let realm = async || {
        let cookie = visitor.cookie().unwrap();
        let record = house.record(id(&cookie)).await;
        assert_eq!(record["format"], json!(2));
        record["realm"].clone()
    };
    let shop = json!("__Host-shop");
    visitor
        .visit(async |session: Session| session.insert("n", 1))
        .await;
    assert_eq!(realm().await, shop, "created");
    visitor
        .visit(async |session: Session| session.insert("n", 2))
        .await;
    assert_eq!(realm().await, shop, "updated");
    visitor
        .visit(async |session: Session| session.cycle_id())
        .await;
    assert_eq!(realm().await, shop, "cycled");
    visitor
        .visit(async |session: Session| session.log_in("ann"))
        .await;
    assert_eq!(realm().await, shop, "logged in");
    visitor
        .visit(async |session: Session| session.log_in("bob"))
        .await;
    assert_eq!(realm().await, shop, "logged in as somebody else");
    house.clock.advance(DAY);
    visitor.visit(async |_: Session| ()).await;
    assert_eq!(realm().await, shop, "renewed");
    let old = visitor.twin();
    visitor
        .visit(async |session: Session| session.log_in("bob"))
        .await;
    let record = house.record(id(&old.cookie().unwrap())).await;
    assert_eq!(record["realm"], shop, "the marker");
}

#[tokio::test]
async fn t6_a_session_of_before_there_were_realms_is_lost_by_no_layer() {
    let house = House::new();
    let shop = house.named("shop");
    let cookie = log_in(&shop, "ann").await;
    house.forget_realm(id(&cookie)).await;
    assert_eq!(
        who(&shop, "__Host-shop", &cookie).await.as_deref(),
        Some("ann")
    );
    // A write leaves it readable for a node that knows no realms.
    let client = Client::with_cookie(shop.clone(), cookie.clone());
    client
        .visit(async |session| session.insert("n", 1).unwrap())
        .await;
    let record = house.record(id(&cookie)).await;
    assert_eq!(
        (&record["format"], &record["realm"]),
        (&json!(1), &Value::Null)
    );
    // What comes after has a realm.
    client
        .visit(async |session| session.cycle_id().unwrap())
        .await;
    let cookie = client.cookie().unwrap();
    assert_eq!(
        house.record(id(&cookie)).await["realm"],
        json!("__Host-shop")
    );
    assert_eq!(
        who(&house.named("staff"), "__Host-staff", &cookie).await,
        None
    );
}

#[tokio::test]
async fn t6_a_log_in_does_not_join_one_that_went_on_in_another_realm() {
    let house = House::new();
    let (shop, staff) = (house.named("shop"), house.named("staff"));
    let cart = Client::new(shop.clone());
    cart.visit(async |session| session.insert("cart", 1).unwrap())
        .await;
    let cookie = cart.cookie().unwrap();
    // A session of before is good in both.
    house.forget_realm(id(&cookie)).await;
    let renamed = format!("__Host-staff={}", token(&cookie));
    let slow = Client::with_cookie(staff.clone(), renamed);
    slow.visit(async |session| {
        cart.visit(async |session| session.log_in("ann").unwrap())
            .await;
        session.log_in("ann").unwrap();
    })
    .await;
    let cookie = slow.cookie().unwrap();
    assert_eq!(
        who(&staff, "__Host-staff", &cookie).await.as_deref(),
        Some("ann")
    );
    assert_eq!(
        house.record(id(&cookie)).await["realm"],
        json!("__Host-staff")
    );
}

#[tokio::test]
async fn t6_a_record_of_the_default_cookie_is_read_by_older_nodes() {
    let house = House::new();
    let cookie = log_in(&house.layer(), "ann").await;
    let record = house.record(id(&cookie)).await;
    assert_eq!(
        (&record["format"], &record["realm"]),
        (&json!(1), &json!("__Host-id"))
    );
}

#[tokio::test]
async fn t6_an_operator_sees_and_ends_the_sessions_of_every_realm() {
    let house = House::new();
    let (shop, staff) = (house.named("shop"), house.named("staff"));
    log_in(&shop, "ann").await;
    log_in(&staff, "ann").await;
    let sessions = shop.sessions();
    let page = sessions.list(&Default::default(), None, 9).await.unwrap();
    let mut realms: Vec<_> = page.sessions.iter().map(|found| found.realm()).collect();
    realms.sort_unstable();
    assert_eq!(realms, [Some("__Host-shop"), Some("__Host-staff")]);
    assert_eq!(sessions.revoke_user("ann").await.unwrap(), 2);
}

#[tokio::test]
async fn t6_a_copied_cookie_ends_nothing_in_another_realm() {
    let house = House::new();
    let shop = house.named("shop").renew_every(DAY);
    let cookie = log_in(&shop, "ann").await;
    let client = Client::with_cookie(shop.clone(), cookie.clone());
    for _ in 0..3 {
        house.clock.advance(DAY);
        client.visit(async |_| ()).await;
    }
    let ended = Recorder::default();
    let staff = house
        .named("staff")
        .renew_every(DAY)
        .on_event(ended.clone());
    assert_eq!(who(&staff, "__Host-staff", &cookie).await, None);
    let copied = |event: &Event| {
        matches!(
            event.kind(),
            EventKind::Ended {
                reason: EndReason::Copied
            }
        )
    };
    assert!(!ended.events().iter().any(copied));
    assert!(client.visit(async |session| session.user().is_some()).await);
}

#[test]
#[should_panic(expected = "a realm's name has at most 4096 bytes")]
fn a_realm_whose_name_is_too_long_is_refused_at_once() {
    let _ = SessionLayer::default().realm("x".repeat(4097));
}

#[tokio::test]
async fn t6_a_former_names_realm_is_accepted_until_its_date() {
    let house = House::new();
    let cookie = log_in(&house.layer().cookie(plain_cookie("old")), "ann").await;
    let until = std::time::SystemTime::from(FixedClock::START) + DAY;
    let former = FormerCookie::new("old").until(until);
    let renamed = house
        .layer()
        .cookie(SessionCookie::new("new").also_read(former));
    house.clock.advance(DAY);
    assert_eq!(who(&renamed, "old", &cookie).await, None);
    assert_eq!(who(&renamed, "__Host-new", &cookie).await, None);
    house.clock.go_back(crate::support::fixture::MILLISECOND);
    assert_eq!(who(&renamed, "old", &cookie).await.as_deref(), Some("ann"));
}
