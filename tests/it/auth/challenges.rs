//! Rules U2, U3: a 401 says how the layer takes tokens, and what was wrong with the one that came.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use cloakroom::{
    CurrentUser, Error, RequireUser, Session, SessionLayer, StoreCall, TokenKeys, Transport,
    store::StoreErrorKind,
    testing::{Fault, FaultyStore, FixedClock, Ticket},
};
use http::{HeaderName, Request, StatusCode, header};

use crate::support::{
    Browser, Reply,
    token::{NEVER_ISSUED, join},
};

const X_SESSION: HeaderName = HeaderName::from_static("x-session");
const MINUTE: Duration = Duration::from_secs(60);
/// The challenges for a client that brings nothing.
const COOKIE: &str = r#"Cookie realm="__Host-id""#;
const BEARER: &str = r#"Bearer realm="__Host-id""#;
const NAMED: &str = r#"Header realm="__Host-id", name="x-session""#;

fn every() -> [Transport; 3] {
    [
        Transport::Cookie,
        Transport::Bearer,
        Transport::Header(X_SESSION),
    ]
}

fn app(layer: SessionLayer) -> Router {
    let payment = Router::new()
        .route("/pay", post(async || "paid"))
        .route_layer(RequireUser::new().fresh(5 * MINUTE));
    Router::new()
        .route("/orders", get(async || "orders"))
        .route_layer(RequireUser::new())
        .route("/me", get(async |CurrentUser(user): CurrentUser| user))
        .route("/visit", get(visit))
        .route("/confirm", post(async |session: Session| session.confirm()))
        .merge(payment)
        .layer(layer)
}

async fn visit(session: Session) -> Result<(), Error> {
    session.insert("visited", true)
}

async fn send(app: &Router, method: &str, path: &str, headers: &[(HeaderName, String)]) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::empty()).unwrap();
    Browser::new(app.clone()).send(request).await
}

/// The challenges of both ways to ask for a user, which are the same.
async fn challenges(app: &Router, headers: &[(HeaderName, String)]) -> Vec<String> {
    let mut given = Vec::new();
    for path in ["/me", "/orders"] {
        let reply = send(app, "GET", path, headers).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        given.push(reply.all(header::WWW_AUTHENTICATE));
    }
    assert_eq!(given[0], given[1]);
    given.remove(0)
}

fn bearer(token: &str) -> (HeaderName, String) {
    (header::AUTHORIZATION, format!("Bearer {token}"))
}

/// How a ticket carries its token.
fn carried(ticket: &Ticket) -> Vec<(HeaderName, String)> {
    let request = ticket.request().body(()).unwrap();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.to_str().unwrap().to_owned()));
    headers.collect()
}

#[tokio::test]
async fn u2_a_401_names_each_transport_that_the_layer_accepts() {
    let challenges = async |layer| challenges(&app(layer), &[]).await;
    let layer = SessionLayer::default;
    assert_eq!(challenges(layer()).await, [COOKIE]);
    let of = |transport: Transport| layer().transport(transport);
    assert_eq!(challenges(of(Transport::Bearer)).await, [BEARER]);
    assert_eq!(challenges(of(Transport::Header(X_SESSION))).await, [NAMED]);
    let all = challenges(layer().transport(every())).await;
    assert_eq!(all, [COOKIE, BEARER, NAMED]);
    let api = layer().transport([Transport::Bearer, Transport::Cookie]);
    let odd = "shop \"\\ \u{e9}\r\n";
    assert_eq!(
        challenges(api.realm(odd)).await,
        [
            r#"Bearer realm="shop \"\\ ""#,
            r#"Cookie realm="shop \"\\ ""#
        ]
    );
}

#[tokio::test]
async fn u2_a_token_that_is_not_accepted_is_an_invalid_one_in_the_challenge_of_its_transport() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store).transport(every());
    let app = app(layer.clone());
    let never_issued = join(NEVER_ISSUED, [7; 16]);
    let invalid = |challenge: &str| format!("{challenge}, error=\"invalid_token\"");
    // By the transport that was looked at, and by no other.
    let by_cookie = (header::COOKIE, format!("__Host-id={never_issued}"));
    let given = challenges(&app, &[by_cookie, bearer(&never_issued)]).await;
    assert_eq!(given, [&invalid(COOKIE), BEARER, NAMED]);
    let given = challenges(&app, &[bearer(&never_issued)]).await;
    assert_eq!(given, [COOKIE, &invalid(BEARER), NAMED]);
    for bad in [never_issued.clone(), "malformed".to_owned()] {
        let given = challenges(&app, &[(X_SESSION, bad)]).await;
        assert_eq!(given, [COOKIE, BEARER, &invalid(NAMED)]);
    }
    let twice = [bearer(&never_issued), bearer(&never_issued)];
    assert_eq!(
        challenges(&app, &twice).await,
        [COOKIE, &invalid(BEARER), NAMED]
    );
    // What is somebody else's has not been presented to this layer.
    for other in ["Basic YW5uOg==", "Bearer e30.e30.c2ln"] {
        let given = challenges(&app, &[(header::AUTHORIZATION, other.to_owned())]).await;
        assert_eq!(given, [COOKIE, BEARER, NAMED]);
    }
}

#[tokio::test]
async fn u2_a_token_from_before_the_token_keys_is_an_invalid_one() {
    let store = FaultyStore::in_memory();
    let keys = TokenKeys::new("ab".repeat(32)).unwrap();
    let layer = SessionLayer::new(store).transport(every()).token_keys(keys);
    let app = app(layer);
    let unkeyed = join(NEVER_ISSUED, [7; 16]);
    let given = challenges(&app, &[bearer(&unkeyed)]).await;
    assert_eq!(
        given,
        [COOKIE, &format!("{BEARER}, error=\"invalid_token\""), NAMED]
    );
}

#[tokio::test]
async fn u2_the_token_of_an_anonymous_session_is_valid_and_that_of_an_ended_one_is_not() {
    let layer = SessionLayer::default().transport(Transport::Bearer);
    let app = app(layer.clone());
    let visitor = Ticket::new(&layer, |session| session.insert("visited", true));
    let visitor = carried(&visitor.await.unwrap());
    assert_eq!(challenges(&app, &visitor).await, [BEARER]);
    let ann = Ticket::new(&layer, |session| session.log_in("ann"));
    let ann = carried(&ann.await.unwrap());
    let reply = send(&app, "GET", "/me", &ann).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "ann"));
    layer.sessions().revoke_user("ann").await.unwrap();
    let ended = format!("{BEARER}, error=\"invalid_token\"");
    assert_eq!(challenges(&app, &ann).await, [ended]);
}

#[tokio::test]
async fn u5_a_session_whose_stamp_has_changed_has_an_invalid_token() {
    let layer = SessionLayer::default()
        .transport(Transport::Bearer)
        .user_stamp(async |_| Ok::<_, std::io::Error>(Some("new")));
    let app = app(layer.clone());
    let ended = format!("{BEARER}, error=\"invalid_token\"");
    for path in ["/me", "/orders"] {
        let ann = Ticket::new(&layer, |session| session.log_in_with_stamp("ann", "old"));
        let reply = send(&app, "GET", path, &carried(&ann.await.unwrap())).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            reply.all(header::WWW_AUTHENTICATE),
            std::slice::from_ref(&ended)
        );
        assert_eq!(reply.all(header::AUTHORIZATION), [""], "it is forgotten");
    }
}

#[tokio::test]
async fn u3_the_challenge_to_confirm_names_the_transport_of_the_session() {
    let clock = FixedClock::default();
    let challenge = "error=\"insufficient_user_authentication\", \
                     error_description=\"A more recent authentication is required\", max_age=\"300\"";
    for (transport, begin) in every().into_iter().zip([COOKIE, BEARER, NAMED]) {
        let layer = SessionLayer::default().clock(clock.clone());
        let layer = layer.transport(transport);
        let ann = Ticket::new(&layer, |session| session.log_in("ann"))
            .await
            .unwrap();
        clock.advance(6 * MINUTE);
        // A layer that accepts more transports does not challenge by those.
        let app = app(layer.transport(every()));
        let reply = send(&app, "POST", "/pay", &carried(&ann)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        let expected = format!("{begin}, {challenge}");
        assert_eq!(reply.all(header::WWW_AUTHENTICATE), [expected]);
        assert_eq!(reply.all(header::CACHE_CONTROL), ["no-store"]);
        let vary = reply.all(header::VARY).join(", ").to_lowercase();
        assert!(vary.contains("cookie"), "{vary}");
        assert_eq!(vary.contains("authorization"), begin != COOKIE, "{vary}");
    }
}

#[tokio::test]
async fn f1_a_failing_store_sends_no_challenge() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone()).transport(every());
    let app = app(layer);
    let token = bearer(&join(NEVER_ISSUED, [7; 16]));
    for (call, path) in [(StoreCall::Load, "/me"), (StoreCall::Create, "/visit")] {
        store.plan_for(call, Fault::Fail(StoreErrorKind::Unavailable));
        let reply = send(&app, "GET", path, std::slice::from_ref(&token)).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reply.all(header::WWW_AUTHENTICATE).is_empty());
        assert!(reply.headers.contains_key(header::RETRY_AFTER));
        store.heal();
    }
}

#[tokio::test]
async fn u3_a_confirmation_over_a_header_gives_a_new_token_and_the_former_one_opens_nothing() {
    let clock = FixedClock::default();
    let layer = SessionLayer::default()
        .clock(clock.clone())
        .transport(Transport::Bearer);
    let app = app(layer.clone());
    let ann = Ticket::new(&layer, |session| session.log_in("ann"));
    let before = carried(&ann.await.unwrap());
    clock.advance(6 * MINUTE);
    let refused = send(&app, "POST", "/pay", &before).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let confirmed = send(&app, "POST", "/confirm", &before).await;
    let token = confirmed.all(header::AUTHORIZATION)[0].to_owned();
    let after = [(header::AUTHORIZATION, token)];
    assert_eq!(send(&app, "POST", "/pay", &after).await.body, "paid");
    let former = send(&app, "POST", "/pay", &before).await;
    assert_eq!(former.status, StatusCode::UNAUTHORIZED);
}
