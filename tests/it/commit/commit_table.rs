//! Rules C1 to C7, and the table of what a request does to the store and to the response.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use cloakroom::{Error, ErrorKind, Session, SessionCookie, SessionHandle};
use futures::FutureExt;
use http::{StatusCode, header};
use insta::{allow_duplicates, assert_snapshot};
use parking_lot::Mutex;
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{
    Browser, FaultyStore, StoreCall,
    fixture::{
        Fixture, HOUR, MINUTE, headers, logging, plain_cookie, redacted, routes, visitor_of,
    },
};

#[tokio::test]
async fn table_a_request_that_never_loads_the_session_asks_nothing_and_says_nothing() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.advance(30 * MINUTE);
    let reply = visitor.get("/ignore").await;
    assert_snapshot!(fixture.account(&reply), @"store:");
}

#[tokio::test]
async fn table_a_request_that_only_peeks_writes_nothing_however_long_ago_it_was_seen() {
    let fixture = Fixture::new();
    for layer in [fixture.layer(), fixture.layer().persistent(true)] {
        let visitor = fixture.known(layer).await;
        fixture.clock.advance(30 * MINUTE);
        let reply = visitor.get("/peek").await;
        assert_eq!(reply.body, "n=1 user=-");
        allow_duplicates! {
            assert_snapshot!(fixture.account(&reply), @r"
            store: Load
            cache-control: private
            vary: Cookie
            ");
        }
    }
}

#[tokio::test]
async fn table_a_new_session_that_stays_unchanged_is_not_stored() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer().persistent(true));
    let reply = visitor.get("/load").await;
    assert_eq!(reply.body, "nobody");
    assert_snapshot!(fixture.account(&reply), @r"
    store:
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_new_session_with_nothing_but_settings_is_not_stored() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer());
    for path in ["/persistent/true", "/idle/never", "/cycle", "/destroy"] {
        let reply = visitor.get(path).await;
        allow_duplicates! {
            assert_snapshot!(fixture.account(&reply), @r"
            store:
            vary: Cookie
            ");
        }
    }
}

#[tokio::test]
async fn table_a_session_seen_less_than_touch_after_ago_is_not_touched() {
    let fixture = Fixture::new();
    for layer in [fixture.layer(), fixture.layer().persistent(true)] {
        let visitor = fixture.known(layer).await;
        fixture.clock.advance(5 * MINUTE);
        let reply = visitor.get("/load").await;
        assert_eq!(reply.body, "n=1 user=-");
        allow_duplicates! {
            assert_snapshot!(fixture.account(&reply), @r"
            store: Load
            cache-control: private
            vary: Cookie
            ");
        }
    }
}

#[tokio::test]
async fn table_a_session_seen_longer_ago_is_touched() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.advance(6 * MINUTE);
    let reply = visitor.get("/load").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Touch
    cache-control: private
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_persistent_session_that_is_touched_gets_a_fresh_max_age() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    fixture.clock.advance(6 * MINUTE);
    let reply = visitor.get("/load").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Touch
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_new_session_that_is_changed_is_created() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer());
    let reply = visitor.get("/set/n/1").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Create
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_new_persistent_session_that_is_changed_is_created_with_max_age() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer().persistent(true));
    let reply = visitor.get("/set/n/1").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Create
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_new_session_changed_back_is_as_if_unchanged() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer());
    let reply = visitor.get("/back-and-forth").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store:
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_session_changed_back_is_as_if_unchanged() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    for path in ["/back-and-forth", "/set/n/1", "/remove/other"] {
        let reply = visitor.get(path).await;
        allow_duplicates! {
            assert_snapshot!(fixture.account(&reply), @r"
            store: Load
            cache-control: private
            vary: Cookie
            ");
        }
    }
    fixture.clock.advance(6 * MINUTE);
    let reply = visitor.get("/back-and-forth").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Touch
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_session_that_is_changed_is_updated_without_a_cookie() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    for path in ["/set/n/2", "/set/m/1", "/remove/n"] {
        let reply = visitor.get(path).await;
        allow_duplicates! {
            assert_snapshot!(fixture.account(&reply), @r"
            store: Load, Update
            cache-control: private
            vary: Cookie
            ");
        }
    }
}

#[tokio::test]
async fn table_a_session_that_is_due_for_a_touch_and_changed_is_updated_alone() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.advance(30 * MINUTE);
    visitor.get("/set/n/2").await;
    assert_eq!(fixture.store.calls(), [StoreCall::Load, StoreCall::Update]);
    fixture.clock.advance(5 * MINUTE);
    visitor.get("/load").await;
    assert_eq!(fixture.store.calls(), [StoreCall::Load]);
}

#[tokio::test]
async fn table_a_persistent_session_that_is_changed_gets_a_fresh_max_age() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    let token = visitor.cookie("__Host-id");
    fixture.clock.advance(MINUTE);
    let reply = visitor.get("/set/n/2").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600
    vary: Cookie
    ");
    assert_eq!(visitor.cookie("__Host-id"), token);
}

#[tokio::test]
async fn table_a_session_made_persistent_gets_a_cookie_with_max_age() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    let reply = visitor.get("/persistent/true").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_session_made_not_persistent_gets_its_cookie_again_without_max_age() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    let reply = visitor.get("/persistent/false").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
    let reply = visitor.get("/set/n/2").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update
    cache-control: private
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_log_in_creates_the_new_and_ends_the_old() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    let old = visitor.cookie("__Host-id");
    let reply = visitor.get("/in/ann").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Create, Update
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
    assert_ne!(visitor.cookie("__Host-id"), old);
    assert_eq!(visitor.get("/load").await.body, "n=1 user=ann");
}

#[tokio::test]
async fn table_a_log_in_without_a_session_creates_one() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer().persistent(true));
    let reply = visitor.get("/in/ann").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Create
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600
    vary: Cookie
    ");
    assert_eq!(visitor.get("/load").await.body, "n=- user=ann");
}

#[tokio::test]
async fn table_a_cycle_creates_the_new_and_ends_the_old() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    let old = visitor.cookie("__Host-id");
    let reply = visitor.get("/cycle").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Create, Update
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
    assert_ne!(visitor.cookie("__Host-id"), old);
    assert_eq!(visitor.get("/load").await.body, "n=1 user=-");
}

#[tokio::test]
async fn table_a_destroyed_session_is_deleted_and_its_cookie_removed() {
    let fixture = Fixture::new();
    for layer in [fixture.layer(), fixture.layer().persistent(true)] {
        let visitor = fixture.known(layer).await;
        let reply = visitor.get("/destroy").await;
        allow_duplicates! {
            assert_snapshot!(fixture.account(&reply), @r"
            store: Load, Update
            cache-control: no-store
            set-cookie: __Host-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
            vary: Cookie
            ");
        }
        assert!(visitor.cookie("__Host-id").is_none());
    }
    assert!(fixture.store.inner().is_empty());
}

#[tokio::test]
async fn table_a_session_destroyed_and_then_changed_is_deleted_and_another_created() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    let old = visitor.cookie("__Host-id");
    let reply = visitor.get("/begin-again").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update, Create
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
    assert_ne!(visitor.cookie("__Host-id"), old);
    assert_eq!(visitor.get("/load").await.body, "n=2 user=-");
    assert_eq!(fixture.store.inner().len(), 1);
}

/// Runs `meanwhile` in another request, between this one's load and its commit.
async fn interrupted_by(fixture: &Fixture, meanwhile: &'static str, own: &'static str) -> String {
    let layer = fixture.layer().persistent(true);
    let other = fixture.known(layer.clone()).await;
    let inner = other.twin();
    let store = fixture.store.clone();
    let app = Router::new()
        .route(
            "/",
            get(async move |session: Session| {
                match own {
                    "change" => session.insert("m", 1)?,
                    "destroy" => session.destroy(),
                    "cycle" => session.cycle_id()?,
                    _ => {}
                }
                inner.get(meanwhile).await;
                store.calls();
                Ok::<_, Error>(())
            }),
        )
        .layer(layer);
    let visitor = Browser::new(app);
    visitor.set_cookie("__Host-id", &other.cookie("__Host-id").unwrap());
    fixture.clock.advance(6 * MINUTE);
    let reply = visitor.get("/").await;
    assert_eq!(reply.status, StatusCode::OK);
    fixture.account(&reply)
}

#[tokio::test]
async fn table_a_session_found_to_have_ended_elsewhere_is_left_alone() {
    let fixture = Fixture::new();
    assert_snapshot!(interrupted_by(&fixture, "/destroy", "change").await, @r"
    store: Update, LoadLatest
    cache-control: private
    vary: Cookie
    ");
    assert_snapshot!(interrupted_by(&fixture, "/destroy", "nothing").await, @r"
    store: Touch
    cache-control: private
    vary: Cookie
    ");
    assert!(fixture.store.inner().is_empty());
    assert_snapshot!(interrupted_by(&fixture, "/in/ann", "change").await, @r"
    store: Update, LoadLatest
    cache-control: private
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_cycle_of_a_session_that_ended_elsewhere_leaves_nothing_behind() {
    let fixture = Fixture::new();
    assert_snapshot!(interrupted_by(&fixture, "/destroy", "cycle").await, @r"
    store: Create, Update, LoadLatest, Update
    cache-control: private
    vary: Cookie
    ");
    assert!(fixture.store.inner().is_empty());
}

#[tokio::test]
async fn table_a_session_destroyed_twice_at_once_still_loses_its_cookie() {
    let fixture = Fixture::new();
    assert_snapshot!(interrupted_by(&fixture, "/destroy", "destroy").await, @r"
    store: Update, LoadLatest
    cache-control: no-store
    set-cookie: __Host-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    vary: Cookie
    ");
}

#[tokio::test]
async fn table_a_session_under_a_former_name_gets_a_new_id_under_the_new_one() {
    let fixture = Fixture::new();
    let old = fixture.known(fixture.layer()).await;
    let cookie = SessionCookie::new("sid").also_read("__Host-id").build();
    let renamed = visitor_of(fixture.layer().cookie(cookie.unwrap()));
    let token = old.cookie("__Host-id").unwrap();
    renamed.set_cookie("__Host-id", &token);

    let reply = renamed.get("/ignore").await;
    assert_snapshot!(fixture.account(&reply), @"store:");
    let reply = renamed.get("/peek").await;
    assert_eq!(reply.body, "n=1 user=-");
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load
    cache-control: private
    vary: Cookie
    ");
    let reply = renamed.get("/load").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Create, Update
    cache-control: no-store
    set-cookie: __Host-sid=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    set-cookie: __Host-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    vary: Cookie
    ");
    assert_eq!(renamed.cookie("__Host-id"), None);
    assert_ne!(renamed.cookie("__Host-sid"), Some(token));
    let reply = renamed.get("/load").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, LoadLatest
    cache-control: private
    vary: Cookie
    ");
    // The next write under the new token ends the care for the move.
    renamed.get("/set/n/2").await;
    fixture.store.calls();
    let reply = renamed.get("/load").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load
    cache-control: private
    vary: Cookie
    ");
}

#[tokio::test]
async fn c1_a_commit_happens_whatever_the_status() {
    let fixture = Fixture::new();
    let fail = async |session: Session| {
        let n = session.update("n", |n: Option<u32>| n.unwrap_or(0) + 1)?;
        let status = [StatusCode::SEE_OTHER, StatusCode::BAD_REQUEST];
        let status = status.get(n as usize - 1);
        Ok::<_, Error>(*status.unwrap_or(&StatusCode::INTERNAL_SERVER_ERROR))
    };
    let app = routes().route("/fail", get(fail)).layer(fixture.layer());
    let visitor = Browser::new(app);
    for status in [303, 400, 500] {
        assert_eq!(visitor.get("/fail").await.status, status);
    }
    assert_eq!(visitor.get("/load").await.body, "n=3 user=-");
}

#[tokio::test]
async fn c2_a_request_that_is_dropped_commits_nothing() {
    let fixture = Fixture::new();
    let hang = async |session: Session| {
        session.insert("n", 2)?;
        session.log_in("ann")?;
        std::future::pending::<Result<(), Error>>().await
    };
    let visitor = fixture.known(fixture.layer()).await;
    let app = Router::new()
        .route("/hang", get(hang))
        .layer(fixture.layer());
    let hanging = Browser::new(app);
    hanging.set_cookie("__Host-id", &visitor.cookie("__Host-id").unwrap());
    assert!(hanging.get("/hang").now_or_never().is_none());
    assert_eq!(fixture.store.calls(), [StoreCall::Load]);
    assert_eq!(visitor.get("/load").await.body, "n=1 user=-");
}

#[tokio::test]
async fn c2_a_request_that_panics_commits_nothing() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    let app = Router::new().route("/", get(panic)).layer(fixture.layer());
    let panicking = Browser::new(app);
    panicking.set_cookie("__Host-id", &visitor.cookie("__Host-id").unwrap());
    let outcome = AssertUnwindSafe(panicking.get("/")).catch_unwind().await;
    assert!(outcome.is_err());
    assert_eq!(fixture.store.calls(), [StoreCall::Load]);
    assert_eq!(visitor.get("/load").await.body, "n=1 user=-");
}

async fn panic(session: Session) {
    session.insert("n", 2).unwrap();
    panic!("as planned");
}

#[tokio::test]
async fn c2_a_panic_that_a_layer_inside_turns_into_a_response_is_a_response() {
    async fn catching(request: Request, next: Next) -> Response {
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        response.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
    let fixture = Fixture::new();
    let app = routes()
        .route("/panic", get(panic))
        .layer(from_fn(catching))
        .layer(fixture.layer());
    let visitor = Browser::new(app);
    let reply = visitor.get("/panic").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(fixture.store.calls(), [StoreCall::Create]);
    assert_eq!(visitor.get("/load").await.body, "n=2 user=-");
}

#[tokio::test]
async fn c2_an_inner_service_that_fails_commits_nothing() {
    let fixture = Fixture::new();
    let service = fixture.layer().layer(service_fn(async |request: Request| {
        let handle = request.extensions().get::<SessionHandle>().unwrap();
        let session = handle.load().await.unwrap();
        session.insert("n", 1).unwrap();
        Err::<http::Response<Body>, _>("as planned")
    }));
    let outcome = service.oneshot(Request::default()).await;
    assert_eq!(outcome.unwrap_err(), "as planned");
    assert!(fixture.store.calls().is_empty());
}

/// Answers with cookies of its own beside the session's.
fn with_cookies(own: &'static [&'static str]) -> Router {
    let answer = async move |session: Session| {
        session.update("n", |n: Option<u32>| n.unwrap_or(0) + 1)?;
        let mut response = Response::new(Body::empty());
        for cookie in own {
            let cookie = cookie.parse().unwrap();
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok::<_, Error>(response)
    };
    Router::new().route("/", get(answer))
}

#[tokio::test]
async fn c3_at_most_one_set_cookie_of_the_name() {
    let fixture = Fixture::new();
    let own = &[
        "theme=dark",
        "__Host-id=mine; Path=/",
        "__Host-ids=1",
        "__Host-id =mine",
        " __Host-id=mine",
        "__Host-id=mine",
        "id=1",
        "theme=light",
    ];
    let visitor = Browser::new(with_cookies(own).layer(fixture.layer()));
    let reply = visitor.get("/").await;
    assert_snapshot!(headers(&reply).join("\n"), @r"
    cache-control: no-store
    set-cookie: theme=dark
    set-cookie: __Host-ids=1
    set-cookie: id=1
    set-cookie: theme=light
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
}

#[tokio::test]
async fn c3_other_set_cookies_stay_where_the_session_sets_none() {
    let fixture = Fixture::new();
    let app = with_cookies(&["theme=dark", "a=b"]).layer(fixture.layer());
    let visitor = Browser::new(app);
    visitor.get("/").await;
    let reply = visitor.get("/").await;
    assert_snapshot!(headers(&reply).join("\n"), @r"
    cache-control: private
    set-cookie: theme=dark
    set-cookie: a=b
    vary: Cookie
    ");
}

#[tokio::test]
async fn c5_a_layer_nested_in_one_with_the_same_cookie_name_is_a_pass_through() {
    let fixture = Fixture::new();
    let inner = FaultyStore::in_memory();
    let nested = routes().layer(fixture.layer().persistent(true));
    let nested = nested.layer(fixture.layer());
    let mut visitor = Browser::new(nested);
    let reply = visitor.get("/set/n/1").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Create
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
    // Even where it has another store.
    let nested = routes().layer(cloakroom::SessionLayer::new(inner.clone()).reap_every(None));
    visitor = Browser::new(nested.layer(fixture.layer()));
    visitor.get("/set/n/2").await;
    assert_eq!(visitor.get("/load").await.body, "n=2 user=-");
    assert_eq!(fixture.store.calls(), [StoreCall::Create, StoreCall::Load]);
    assert!(inner.calls().is_empty());
}

#[tokio::test]
async fn c5_under_layers_of_different_names_handlers_see_the_inner_one() {
    let (inner, outer) = (Fixture::new(), Fixture::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let between = move |handle: SessionHandle, request: Request, next: Next| {
        let note = Arc::clone(&note);
        async move {
            let session = handle.load().await.unwrap();
            let n = session.update("n", |n: Option<u32>| n.unwrap_or(10) + 1);
            note.lock().push(n.unwrap());
            next.run(request).await
        }
    };
    let app = routes()
        .layer(inner.layer().cookie(plain_cookie("inner")))
        .layer(from_fn(between))
        .layer(outer.layer().cookie(plain_cookie("outer")));
    let visitor = Browser::new(app);
    let reply = visitor.get("/set/n/1").await;
    let cookies: Vec<_> = reply.set_cookies().iter().map(|c| redacted(c)).collect();
    assert_snapshot!(cookies.join("\n"), @r"
    inner=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    outer=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    ");
    assert_eq!(reply.all(header::VARY), ["Cookie"]);
    assert_eq!(inner.store.calls(), [StoreCall::Create]);
    assert_eq!(outer.store.calls(), [StoreCall::Create]);

    assert_eq!(visitor.get("/load").await.body, "n=1 user=-");
    assert_eq!(inner.store.calls(), [StoreCall::Load]);
    assert_eq!(outer.store.calls(), [StoreCall::Load, StoreCall::Update]);
    assert_eq!(*seen.lock(), [11, 12]);
}

#[tokio::test]
async fn c5_a_layer_of_the_same_name_is_a_pass_through_under_any_layers_between() {
    let scenes = [Fixture::new(), Fixture::new(), Fixture::new()];
    let layer = |fixture: &Fixture, name| fixture.layer().cookie(plain_cookie(name));
    let app = routes()
        .layer(layer(&scenes[0], "outer"))
        .layer(layer(&scenes[1], "between"))
        .layer(layer(&scenes[2], "outer"));
    let visitor = Browser::new(app);
    let cookies = visitor.get("/set/n/1").await.set_cookies();
    assert_eq!(cookies.len(), 1);
    assert!(cookies[0].starts_with("between="));
    assert_eq!(scenes[0].store.calls(), []);
    assert_eq!(scenes[1].store.calls(), [StoreCall::Create]);
    assert_eq!(scenes[2].store.calls(), []);
}

/// An app whose handler leaves its session here, to be used after the response.
fn leaving_behind(fixture: &Fixture) -> (Browser, Arc<Mutex<Option<Session>>>) {
    let left = Arc::new(Mutex::new(None));
    let here = Arc::clone(&left);
    let leave = async move |session: Session| {
        *here.lock() = Some(session);
    };
    let app = routes().route("/leave", get(leave)).layer(fixture.layer());
    (Browser::new(app), left)
}

#[tokio::test]
async fn c6_changes_made_after_the_commit_and_never_saved_are_reported_once() {
    let fixture = Fixture::new();
    let (log, _guard) = logging();
    let (visitor, left) = leaving_behind(&fixture);
    visitor.get("/set/n/1").await;
    visitor.get("/leave").await;
    let session = left.lock().take().unwrap();
    let clone = session.clone();
    session.insert("n", 2).unwrap();
    session.insert("m", 2).unwrap();
    let id = session.id().unwrap().to_string();
    drop(session);
    assert!(log.lines().is_empty());
    drop(clone);
    let lines = log.lines().join("\n").replace(&id, "[id]");
    assert_snapshot!(lines, @r#"WARN changes made after the response head were never saved: call `save` session.id="[id]" suppressed=0"#);
    assert_eq!(visitor.get("/load").await.body, "n=1 user=-");
}

#[tokio::test]
async fn c6_nothing_is_reported_of_changes_that_were_saved_or_made_no_difference() {
    let fixture = Fixture::new();
    let (log, _guard) = logging();
    let (visitor, left) = leaving_behind(&fixture);
    visitor.get("/set/n/1").await;

    visitor.get("/leave").await;
    let session = left.lock().take().unwrap();
    session.insert("n", 1).unwrap();
    drop(session);

    visitor.get("/leave").await;
    let session = left.lock().take().unwrap();
    session.insert("n", 2).unwrap();
    session.save().await.unwrap();
    drop(session);

    assert!(log.lines().is_empty());
    assert_eq!(visitor.get("/load").await.body, "n=2 user=-");
}

#[tokio::test]
async fn c6_a_session_destroyed_after_the_commit_and_never_saved_is_reported_with_its_id() {
    let fixture = Fixture::new();
    let (log, _guard) = logging();
    let (visitor, left) = leaving_behind(&fixture);
    visitor.get("/set/n/1").await;
    visitor.get("/leave").await;
    let session = left.lock().take().unwrap();
    let id = session.id().unwrap().to_string();
    session.destroy();
    drop(session);
    let lines = log.lines().join("\n").replace(&id, "[id]");
    assert_snapshot!(lines, @r#"WARN changes made after the response head were never saved: call `save` session.id="[id]" suppressed=0"#);
    assert_eq!(visitor.get("/load").await.body, "n=1 user=-");

    visitor.get("/leave").await;
    let session = left.lock().take().unwrap();
    session.destroy();
    session.save().await.unwrap();
    drop(session);
    assert!(log.lines().is_empty());
    assert_eq!(visitor.get("/load").await.body, "nobody");
}

#[tokio::test]
async fn c6_changes_of_a_session_that_was_never_stored_are_reported_too() {
    let fixture = Fixture::new();
    let (log, _guard) = logging();
    let (visitor, left) = leaving_behind(&fixture);
    visitor.get("/leave").await;
    let session = left.lock().take().unwrap();
    session.insert("n", 1).unwrap();
    drop(session);
    assert_snapshot!(log.lines().join("\n"), @r#"WARN changes made after the response head were never saved: call `save` session.id="new" suppressed=0"#);
}

#[tokio::test]
async fn c6_a_request_that_commits_nothing_is_not_reported() {
    let fixture = Fixture::new();
    let (log, _guard) = logging();
    let app = Router::new().route("/", get(panic)).layer(fixture.layer());
    let panicking = Browser::new(app);
    let outcome = AssertUnwindSafe(panicking.get("/")).catch_unwind().await;
    assert!(outcome.is_err());
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn c7_save_writes_data_at_once_and_the_cookie_is_set_with_the_head() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer());
    let reply = visitor.get("/save").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Create
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
    let reply = visitor.get("/save").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update
    cache-control: private
    vary: Cookie
    ");
}

#[tokio::test]
async fn c7_a_persistent_session_saved_before_the_head_gets_its_max_age_with_the_head() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    let reply = visitor.get("/save").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600
    vary: Cookie
    ");
}

#[tokio::test]
async fn c7_a_pending_log_in_or_cycle_waits_for_the_head() {
    let fixture = Fixture::new();
    for path in ["/in", "/cycle"] {
        let store = fixture.store.clone();
        let app = routes()
            .route(
                "/begin",
                get(async |session: Session| session.insert("n", 1)),
            )
            .route(
                "/go",
                get(async move |session: Session| {
                    let id = session.id();
                    session.insert("before", 1)?;
                    if path == "/in" {
                        session.log_in("ann")?;
                    } else {
                        session.cycle_id()?;
                    }
                    session.insert("after", 1)?;
                    session.save().await?;
                    assert_eq!(session.id(), id);
                    assert_eq!(store.calls(), [StoreCall::Load, StoreCall::Update]);
                    Ok::<_, Error>(())
                }),
            )
            .route(
                "/keys",
                get(async |session: Session| session.keys().join(" ")),
            )
            .layer(fixture.layer());
        let visitor = Browser::new(app);
        visitor.get("/begin").await;
        let old = visitor.twin();
        fixture.store.calls();
        let reply = visitor.get("/go").await;
        allow_duplicates! {
            assert_snapshot!(fixture.account(&reply), @r"
            store: Create, Update
            cache-control: no-store
            set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
            vary: Cookie
            ");
        }
        assert_eq!(visitor.get("/keys").await.body, "after before n");
        assert_eq!(old.get("/load").await.body, "nobody");
        fixture.store.calls();
    }
}

/// A visitor of an app whose `/go` does `act` with a session that holds one value.
async fn doing<A, F>(fixture: &Fixture, act: A) -> Browser
where
    A: Fn(Session) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let app = routes().route("/go", get(act)).layer(fixture.layer());
    let visitor = Browser::new(app);
    visitor.get("/set/n/1").await;
    fixture.store.calls();
    visitor
}

#[tokio::test]
async fn c7_each_save_writes_what_is_new_and_the_head_the_rest() {
    let fixture = Fixture::new();
    let visitor = doing(&fixture, async |session: Session| {
        session.insert("a", 1)?;
        session.save().await?;
        session.save().await?;
        session.insert("b", 1)?;
        session.save().await?;
        session.insert("n", 2)?;
        Ok(())
    });
    let visitor = visitor.await;
    visitor.get("/go").await;
    let calls = [
        StoreCall::Load,
        StoreCall::Update,
        StoreCall::Update,
        StoreCall::Update,
    ];
    assert_eq!(fixture.store.calls(), calls);
    assert_eq!(visitor.get("/load").await.body, "n=2 user=-");
}

#[tokio::test]
async fn c7_a_save_of_nothing_asks_nothing() {
    let fixture = Fixture::new();
    let visitor = doing(&fixture, async |session: Session| session.save().await).await;
    visitor.get("/go").await;
    assert_eq!(fixture.store.calls(), [StoreCall::Load]);
    let stranger = doing(&fixture, async |session: Session| session.save().await).await;
    stranger.set_cookie("__Host-id", "");
    let reply = stranger.get("/go").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store:
    vary: Cookie
    ");
}

#[tokio::test]
async fn c7_a_saved_destroy_ends_the_session_at_once_and_removes_the_cookie_with_the_head() {
    let fixture = Fixture::new();
    let visitor = doing(&fixture, async |session: Session| {
        session.destroy();
        session.save().await
    });
    let reply = visitor.await.get("/go").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update
    cache-control: no-store
    set-cookie: __Host-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    vary: Cookie
    ");
}

#[tokio::test]
async fn c7_a_new_session_saved_and_destroyed_leaves_no_trace() {
    let fixture = Fixture::new();
    let visitor = doing(&fixture, async |session: Session| {
        session.insert("n", 2)?;
        session.save().await?;
        session.destroy();
        Ok(())
    });
    let visitor = visitor.await;
    visitor.get("/destroy").await;
    fixture.store.calls();
    let reply = visitor.get("/go").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Create, Update
    vary: Cookie
    ");
    assert!(fixture.store.inner().is_empty());
}

#[tokio::test]
async fn c7_a_log_in_after_a_save_moves_what_was_saved() {
    let fixture = Fixture::new();
    let visitor = doing(&fixture, async |session: Session| {
        session.insert("n", 2)?;
        session.save().await?;
        session.log_in("ann")
    });
    let visitor = visitor.await;
    let reply = visitor.get("/go").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Update, Create, Update
    cache-control: no-store
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Cookie
    ");
    assert_eq!(visitor.get("/load").await.body, "n=2 user=ann");
}

#[tokio::test]
async fn c7_what_was_saved_stays_where_the_request_is_dropped() {
    let fixture = Fixture::new();
    let visitor = doing(&fixture, async |session: Session| {
        session.insert("n", 2)?;
        session.save().await?;
        session.insert("n", 3)?;
        std::future::pending().await
    });
    let visitor = visitor.await;
    assert!(visitor.get("/go").now_or_never().is_none());
    assert_eq!(visitor.get("/load").await.body, "n=2 user=-");
}

#[tokio::test]
async fn c7_what_needs_a_token_is_too_late_once_the_head_is_gone() {
    let fixture = Fixture::new();
    let (visitor, left) = leaving_behind(&fixture);
    visitor.get("/leave").await;
    let session = left.lock().take().unwrap();
    assert_eq!(
        session.log_in("ann").unwrap_err().kind(),
        ErrorKind::TooLate
    );
    assert_eq!(session.cycle_id().unwrap_err().kind(), ErrorKind::TooLate);
    session.insert("n", 1).unwrap();
    let error = session.save().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLate);
    assert!(fixture.store.calls().is_empty());
}

#[tokio::test]
async fn c7_a_session_that_is_stored_can_be_saved_long_after_the_head() {
    let fixture = Fixture::new();
    let (visitor, left) = leaving_behind(&fixture);
    visitor.get("/set/n/1").await;
    visitor.get("/leave").await;
    let session = left.lock().take().unwrap();
    fixture.clock.advance(HOUR / 2);
    session.insert("n", 2).unwrap();
    session.save().await.unwrap();
    assert!(!session.is_modified());
    // The save counted as activity.
    fixture.clock.advance(HOUR - MINUTE);
    assert_eq!(visitor.get("/load").await.body, "n=2 user=-");
}

#[tokio::test]
async fn without_axum_an_infallible_service_gets_the_same_cookie() {
    let fixture = Fixture::new();
    let service = fixture
        .layer()
        .layer(service_fn(async |request: http::Request<()>| {
            let handle = request.extensions().get::<SessionHandle>().unwrap();
            let session = handle.load().await.unwrap();
            session.insert("n", 1).unwrap();
            Ok::<_, Infallible>(http::Response::new(String::from("body")))
        }));
    let response = service.oneshot(http::Request::default()).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert_snapshot!(redacted(cookie), @"__Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/");
    assert_eq!(response.body(), "body");
}
