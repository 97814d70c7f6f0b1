//! T8: with token keys, an invented token never reaches the store.

use std::{convert::Infallible, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cloakroom::{Rejection, Session, SessionHandle, SessionLayer, TokenKeys, testing::Ticket};
use http::{Request, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{
    FaultyStore, FixedClock, Recorder, StoreCall, Visitor,
    fixture::{DAY, MILLISECOND},
};

struct House {
    store: FaultyStore,
    clock: FixedClock,
}

impl House {
    fn new() -> Self {
        Self {
            store: FaultyStore::in_memory(),
            clock: FixedClock::default(),
        }
    }

    fn layer(&self) -> SessionLayer {
        SessionLayer::new(self.store.clone())
            .clock(self.clock.clone())
            .reap_every(None)
    }

    fn keyed(&self, key: u8) -> SessionLayer {
        self.layer().token_keys(keys(key))
    }
}

fn keys(key: u8) -> TokenKeys {
    TokenKeys::new([key; 32]).unwrap()
}

/// Whether a request with this cookie finds `n`, and the cookie that its response sets.
async fn ask(layer: &SessionLayer, cookie: &str) -> (bool, Option<String>) {
    let visitor = Visitor::new(layer);
    visitor.set_cookie(Some(cookie.to_owned()));
    let reply = visitor
        .visit(async |session: Session| session.contains_key("n").to_string())
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    let set = reply.set_cookies().into_iter().next();
    let pair = set.map(|set| set.split(';').next().unwrap().to_owned());
    (reply.body == "true", pair)
}

/// The cookie of a session that has `n`.
async fn begin(layer: &SessionLayer) -> String {
    let visitor = Visitor::new(layer);
    visitor
        .visit(async |session: Session| session.insert("n", 1))
        .await;
    visitor.cookie().unwrap()
}

fn token(cookie: &str) -> &str {
    cookie.split_once('=').unwrap().1
}

/// The `n`th token that somebody invented: as many bytes in the form of a token.
fn invented(n: u32, bytes: usize) -> String {
    let half = |half: u8| Sha256::digest([&n.to_le_bytes()[..], &[half]].concat());
    let mut token = [half(0), half(1)].concat();
    token.truncate(bytes);
    token[6] = token[6] & 0x0f | 0x40;
    token[8] = token[8] & 0x3f | 0x80;
    URL_SAFE_NO_PAD.encode(token)
}

#[tokio::test]
async fn t8_of_100_000_forged_tokens_none_reaches_the_store() {
    let house = House::new();
    let service = service_fn(async |request: Request<()>| {
        let handle: &SessionHandle = request.extensions().get().unwrap();
        assert!(handle.load().await.unwrap().is_new());
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = house.keyed(1).layer(service);
    for n in 0..100_000 {
        let token = invented(n, if n % 2 == 0 { 42 } else { 32 });
        let request = Request::get("/").header(header::COOKIE, format!("__Host-id={token}"));
        let request = request.body(()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
    assert_eq!(house.store.calls(), []);
}

#[tokio::test]
async fn t8_a_token_with_a_wrong_mac_opens_nothing_and_is_reported() {
    let house = House::new();
    let recorder = Recorder::default();
    let layer = house.keyed(1).on_event(recorder.clone());
    let cookie = begin(&layer).await;
    assert_eq!(ask(&layer, &cookie).await, (true, None));
    recorder.events();
    house.store.calls();
    let bytes = URL_SAFE_NO_PAD.decode(token(&cookie)).unwrap();
    assert_eq!(bytes.len(), 42);
    for bit in 32 * 8..42 * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let forged = format!("__Host-id={}", URL_SAFE_NO_PAD.encode(forged));
        assert_eq!(ask(&layer, &forged).await, (false, None));
    }
    // Without the MAC, and with that of another token.
    let other = URL_SAFE_NO_PAD.decode(token(&begin(&layer).await)).unwrap();
    recorder.events();
    house.store.calls();
    let swapped = [&bytes[..32], &other[32..]].concat();
    for forged in [&bytes[..32], &swapped] {
        let forged = format!("__Host-id={}", URL_SAFE_NO_PAD.encode(forged));
        assert_eq!(ask(&layer, &forged).await, (false, None));
    }
    assert_eq!(house.store.calls(), []);
    assert_eq!(recorder.rejections(), [(None, Rejection::Forged); 2]);
}

#[tokio::test]
async fn t8_forged_tokens_do_not_displace_valid_ones() {
    let house = House::new();
    let cookie = cloakroom::SessionCookie::new("id").prefix(cloakroom::CookiePrefix::None);
    let layer = house.keyed(1).cookie(cookie);
    let ours = begin(&layer).await;
    let mut cookies: Vec<_> = (0..9).map(|n| format!("id={}", invented(n, 42))).collect();
    cookies.push(ours);
    house.store.calls();
    assert_eq!(ask(&layer, &cookies.join("; ")).await, (true, None));
    assert_eq!(house.store.calls(), [StoreCall::Load]);
}

#[tokio::test]
async fn t8_keys_rotate_and_nobody_is_logged_out() {
    let house = House::new();
    let old = begin(&house.keyed(1)).await;
    let rotated = house
        .layer()
        .token_keys(keys(2).also_accept([1; 32]).unwrap());
    let (is_known, issued) = ask(&rotated, &old).await;
    let issued = issued.expect("the token with the new key");
    assert!(is_known);
    // The same id and secret: nothing was written.
    assert_eq!(token(&issued)[..42], token(&old)[..42]);
    assert_ne!(token(&issued), token(&old));
    assert_eq!(ask(&rotated, &issued).await, (true, None));
    // The former key is gone.
    assert_eq!(ask(&house.keyed(2), &issued).await, (true, None));
    assert_eq!(ask(&house.keyed(2), &old).await, (false, None));
    // A node that has not got the new key yet.
    let early = house
        .layer()
        .token_keys(keys(1).also_accept([2; 32]).unwrap());
    assert!(ask(&early, &issued).await.0);
}

#[tokio::test]
async fn t8_a_token_of_before_the_keys_is_accepted_until_the_date() {
    let house = House::new();
    let old = begin(&house.layer().idle_timeout(None)).await;
    let until = SystemTime::from(FixedClock::START) + DAY / 2;
    let layer = house
        .layer()
        .idle_timeout(None)
        .token_keys(keys(1).accept_without_until(until));
    let (is_known, issued) = ask(&layer, &old).await;
    assert!(is_known);
    let issued = issued.expect("the token with a MAC");
    house.clock.advance(DAY / 2 - MILLISECOND);
    assert!(ask(&layer, &old).await.0);
    house.clock.advance(MILLISECOND);
    assert_eq!(ask(&layer, &old).await, (false, None));
    assert!(ask(&layer, &issued).await.0);
}

#[tokio::test]
async fn t8_a_layer_without_keys_accepts_a_token_with_a_mac() {
    let house = House::new();
    let keyed = begin(&house.keyed(1)).await;
    assert_eq!(ask(&house.layer(), &keyed).await, (true, None));
    // The secret still decides.
    let mut bytes = URL_SAFE_NO_PAD.decode(token(&keyed)).unwrap();
    bytes[31] ^= 1;
    let guess = format!("__Host-id={}", URL_SAFE_NO_PAD.encode(bytes));
    assert_eq!(ask(&house.layer(), &guess).await, (false, None));
}

#[tokio::test]
async fn t8_a_key_opens_nothing_without_the_secret() {
    let house = House::new();
    let (layer, thief) = (house.keyed(1), House::new());
    let cookie = begin(&layer).await;
    // A layer with the same key over another store issues tokens with a good MAC.
    let forged = begin(&thief.keyed(1)).await;
    assert_eq!(ask(&layer, &forged).await, (false, None));
    assert!(ask(&layer, &cookie).await.0);
}

#[tokio::test]
async fn t8_log_ins_cycles_and_renewals_issue_tokens_with_a_mac() {
    let house = House::new();
    let layer = house.keyed(1).renew_every(DAY / 4).idle_timeout(None);
    let visitor = Visitor::new(&layer);
    let assert_keyed = || {
        let cookie = visitor.cookie().unwrap();
        assert_eq!(token(&cookie).len(), 56);
    };
    visitor
        .visit(async |session: Session| session.log_in("ann"))
        .await;
    assert_keyed();
    visitor
        .visit(async |session: Session| session.cycle_id())
        .await;
    assert_keyed();
    let before = visitor.cookie();
    house.clock.advance(DAY / 4);
    visitor.visit(async |_: Session| ()).await;
    assert_keyed();
    assert_ne!(visitor.cookie(), before);
    let reply = visitor
        .visit(async |session: Session| session.user().is_some().to_string())
        .await;
    assert_eq!(reply.body, "true");
}

#[tokio::test]
async fn a_ticket_has_a_token_with_a_mac() {
    let house = House::new();
    let layer = house.keyed(1);
    let mut ticket = Ticket::new(&layer, |session| session.insert("n", 1))
        .await
        .unwrap();
    assert!(ticket.peek().await.unwrap().is_some());
    let set = [ticket.cookie().as_bytes(), b"; Path=/"].concat();
    let headers = http::HeaderMap::from_iter([(
        header::SET_COOKIE,
        http::HeaderValue::from_bytes(&set).unwrap(),
    )]);
    assert!(ticket.take_cookie(&headers));
}

#[test]
fn a_key_that_is_too_short_is_refused() {
    for bytes in [0, 1, 31] {
        let error = TokenKeys::new(vec![7; bytes]).unwrap_err();
        assert!(error.to_string().contains("32"), "{error}");
        assert!(keys(1).also_accept(vec![7; bytes]).is_err());
    }
    assert!(TokenKeys::new([7; 200]).is_ok());
}
