//! Rules H1 to H4: what caches are told.

use axum::{Router, body::Body, response::Response, routing::get};
use cloakroom::{Error, Session, SessionHandle, SessionLayer};
use http::{HeaderName, HeaderValue};
use insta::assert_snapshot;

use crate::support::{
    Browser, Visitor,
    fixture::{Fixture, headers, logging},
};

type Lines = &'static [(&'static str, &'static str)];

/// An app whose every route answers with these headers.
fn answering(lines: Lines) -> Router {
    let answer = move || {
        let mut response = Response::new(Body::empty());
        for (name, value) in lines {
            let (name, value) = (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            response.headers_mut().append(name, value);
        }
        response
    };
    Router::new()
        .route("/ignore", get(async move || answer()))
        .route(
            "/peek",
            get(async move |handle: SessionHandle| {
                handle.peek().await?;
                Ok::<_, Error>(answer())
            }),
        )
        .route("/load", get(async move |_: Session| answer()))
        .route(
            "/count",
            get(async move |session: Session| {
                session.update("n", |n: Option<u32>| n.unwrap_or(0) + 1)?;
                Ok::<_, Error>(answer())
            }),
        )
        .route(
            "/destroy",
            get(async move |session: Session| {
                session.destroy();
                answer()
            }),
        )
}

/// What a visitor without a session gets where one is created.
async fn creating(lines: Lines) -> String {
    asking("/count", lines, Fixture::new().layer()).await
}

async fn asking(path: &str, lines: Lines, layer: SessionLayer) -> String {
    let visitor = Browser::new(answering(lines).layer(layer));
    without_cookies(&visitor, path).await
}

/// What a visitor with a session gets.
async fn returning(path: &str, lines: Lines) -> String {
    let visitor = Browser::new(answering(lines).layer(Fixture::new().layer()));
    visitor.get("/count").await;
    without_cookies(&visitor, path).await
}

async fn without_cookies(visitor: &Browser, path: &str) -> String {
    let mut lines = headers(&visitor.get(path).await);
    lines.retain(|line| !line.starts_with("set-cookie"));
    lines.join("\n")
}

#[tokio::test]
async fn h1_a_response_that_sets_the_cookie_is_no_store() {
    assert_snapshot!(creating(&[]).await, @r"
    cache-control: no-store
    vary: Cookie
    ");
    assert_snapshot!(returning("/destroy", &[]).await, @r"
    cache-control: no-store
    vary: Cookie
    ");
}

#[tokio::test]
async fn h1_no_store_replaces_what_lets_caches_share() {
    let sharing: [Lines; 12] = [
        &[("cache-control", "public, max-age=3600")],
        &[("cache-control", "no-cache")],
        &[("cache-control", "")],
        &[
            ("cache-control", "s-maxage=60"),
            ("cache-control", "public"),
        ],
        &[("cache-control", "private=\"set-cookie\"")],
        &[("cache-control", "private=\"set-cookie\", max-age=60")],
        &[("cache-control", "PRIVATE = \"set-cookie\"")],
        &[("cache-control", "no-cache=\"a, private\"")],
        &[("cache-control", "ext=\"a, no-store, b\", public")],
        &[("cache-control", "ext=\"a \\\", private, b\"")],
        &[("cache-control", "not-private, no-storex")],
        &[("cache-control", "ext=\"a"), ("cache-control", "b\"")],
    ];
    for lines in sharing {
        assert_eq!(
            creating(lines).await,
            "cache-control: no-store\nvary: Cookie",
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn h1_an_existing_no_store_or_private_stays_as_it_is() {
    let strict: [Lines; 9] = [
        &[("cache-control", "no-store")],
        &[("cache-control", "NO-Store, max-age=0")],
        &[("cache-control", "private")],
        &[("cache-control", "Private")],
        &[("cache-control", "max-age=60,private")],
        &[
            ("cache-control", "max-age=60"),
            ("cache-control", "private"),
        ],
        &[
            ("cache-control", "private, max-age=60"),
            ("cache-control", "x"),
        ],
        &[("cache-control", "no-cache=\"a, b\", private")],
        &[("cache-control", "ext=\"a \\\" b\" , no-store")],
    ];
    for lines in strict {
        let mut expected: Vec<_> = lines
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        expected.push("vary: Cookie".to_owned());
        assert_eq!(creating(lines).await, expected.join("\n"));
    }
}

#[tokio::test]
async fn h1_headers_for_cdns_are_removed_with_a_warning() {
    let (log, _guard) = logging();
    let lines = &[
        ("cdn-cache-control", "max-age=600"),
        ("cdn-cache-control", "public"),
        ("surrogate-control", "max-age=600"),
        ("cache-control", "private"),
    ];
    assert_snapshot!(creating(lines).await, @r"
    cache-control: private
    vary: Cookie
    ");
    assert_snapshot!(log.lines().join("\n"), @r"
    WARN removed: the response sets a session cookie header=cdn-cache-control suppressed=0
    WARN removed: the response sets a session cookie header=surrogate-control suppressed=0
    ");
}

#[tokio::test]
async fn h1_headers_for_every_cdn_are_removed() {
    let lines = &[
        ("cloudflare-cdn-cache-control", "max-age=600"),
        ("vercel-cdn-cache-control", "max-age=600"),
        ("netlify-cdn-cache-control", "public"),
        ("some-other-cdn-cache-control", "public"),
        ("x-litespeed-cache-control", "public,max-age=600"),
        ("x-accel-expires", "600"),
        ("edge-control", "max-age=600"),
        ("edge-control-note", "stays"),
        ("x-cdn-cache-control-note", "stays"),
    ];
    assert_snapshot!(creating(lines).await, @r"
    cache-control: no-store
    edge-control-note: stays
    vary: Cookie
    x-cdn-cache-control-note: stays
    ");
}

#[tokio::test]
async fn h1_headers_for_cdns_stay_where_no_cookie_is_set() {
    let (log, _guard) = logging();
    let lines = &[
        ("cdn-cache-control", "max-age=600"),
        ("surrogate-control", "max-age=600"),
    ];
    let layer = Fixture::new().layer();
    assert_snapshot!(asking("/load", lines, layer).await, @r"
    cdn-cache-control: max-age=600
    surrogate-control: max-age=600
    vary: Cookie
    ");
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn h2_a_response_whose_request_loaded_or_peeked_varies_by_cookie() {
    for path in ["/load", "/peek"] {
        let layer = Fixture::new().layer();
        assert_eq!(asking(path, &[], layer).await, "vary: Cookie");
    }
}

#[tokio::test]
async fn h2_cookie_is_merged_with_what_is_there() {
    let cases: [(Lines, &str); 7] = [
        (
            &[("vary", "Accept-Encoding")],
            "vary: Accept-Encoding, Cookie",
        ),
        (
            &[("vary", "Accept, Origin")],
            "vary: Accept, Origin, Cookie",
        ),
        (
            &[("vary", "Accept"), ("vary", "Origin")],
            "vary: Accept, Origin, Cookie",
        ),
        (&[("vary", "")], "vary: Cookie"),
        (&[("vary", ""), ("vary", "Accept")], "vary: Accept, Cookie"),
        (&[("vary", "Cookie2")], "vary: Cookie2, Cookie"),
        (&[("vary", "Set-Cookie")], "vary: Set-Cookie, Cookie"),
    ];
    for (lines, expected) in cases {
        let layer = Fixture::new().layer();
        assert_eq!(asking("/load", lines, layer).await, expected);
    }
}

#[tokio::test]
async fn h2_cookie_is_there_once_in_any_case_and_a_star_is_left_alone() {
    let cases: [Lines; 8] = [
        &[("vary", "cookie")],
        &[("vary", "cookie")],
        &[("vary", "COOKIE, Accept")],
        &[("vary", "Accept,cOOkie ,Origin")],
        &[("vary", "Accept"), ("vary", "cookie")],
        &[("vary", "*")],
        &[("vary", "Accept, *")],
        &[("vary", "*"), ("vary", "Accept")],
    ];
    for lines in cases {
        let expected: Vec<_> = lines
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let layer = Fixture::new().layer();
        assert_eq!(asking("/load", lines, layer).await, expected.join("\n"));
    }
}

#[tokio::test]
async fn h2_nested_layers_say_so_once() {
    let (inner, outer) = (Fixture::new(), Fixture::new());
    let cookie = cloakroom::SessionCookie::new("outer").build().unwrap();
    let load = async |handle: SessionHandle, request, next: axum::middleware::Next| {
        handle.load().await.unwrap();
        next.run(request).await
    };
    let app = answering(&[])
        .layer(inner.layer())
        .layer(axum::middleware::from_fn(load))
        .layer(outer.layer().cookie(cookie));
    let visitor = Browser::new(app);
    assert_eq!(without_cookies(&visitor, "/load").await, "vary: Cookie");
}

#[tokio::test]
async fn h2_a_rejection_because_of_the_store_varies_too() {
    use crate::support::{Fault, StoreCall};
    use cloakroom::store::StoreErrorKind;

    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    let fault = Fault::Fail(StoreErrorKind::Unavailable);
    fixture.store.plan_for(StoreCall::Load, fault);
    let reply = visitor.get("/load").await;
    assert_eq!(reply.status, 503);
    assert_snapshot!(headers(&reply).join("\n"), @r"
    cache-control: no-store
    retry-after: 5
    vary: Cookie
    ");
}

#[tokio::test]
async fn h3_a_response_with_a_live_session_and_no_cache_control_gets_private() {
    for path in ["/load", "/peek", "/count"] {
        assert_eq!(
            returning(path, &[]).await,
            "cache-control: private\nvary: Cookie"
        );
    }
}

#[tokio::test]
async fn h3_a_page_whose_session_ended_meanwhile_gets_private() {
    for changes in [false, true] {
        let fixture = Fixture::new();
        let visitor = Visitor::new(&fixture.layer());
        visitor
            .visit(async |session: Session| session.log_in("ann"))
            .await;
        let twin = visitor.twin();
        let reply = visitor
            .visit(async |session: Session| {
                twin.visit(async |session: Session| session.destroy()).await;
                if changes {
                    session.insert("n", 1).unwrap();
                }
                format!(
                    "a page of {:?}",
                    session.user().map(|user| user.to_string())
                )
            })
            .await;
        assert!(reply.body.contains("ann"));
        assert!(reply.set_cookies().is_empty());
        assert_eq!(reply.all("cache-control"), ["private"], "{changes}");
    }
}

#[tokio::test]
async fn h3_any_cache_control_that_is_there_stays() {
    for path in ["/load", "/peek", "/count"] {
        let lines = &[("cache-control", "public, max-age=60")];
        // What the first response of the visitor sets does not matter here.
        assert_eq!(
            returning(path, lines).await,
            "cache-control: public, max-age=60\nvary: Cookie"
        );
    }
}

#[tokio::test]
async fn h3_a_visitor_without_a_session_gets_no_cache_control() {
    let fixture = Fixture::new();
    let visitor = Browser::new(answering(&[]).layer(fixture.layer()));
    visitor.get("/count").await;
    fixture.clock.advance(crate::support::fixture::HOUR);
    // The session has expired; the cookie is still there.
    for path in ["/load", "/peek"] {
        assert_eq!(without_cookies(&visitor, path).await, "vary: Cookie");
    }
}

#[tokio::test]
async fn h4_an_untouched_session_changes_no_header() {
    let cases: [Lines; 3] = [
        &[],
        &[
            ("cache-control", "public"),
            ("cdn-cache-control", "public"),
            ("surrogate-control", "max-age=1"),
            ("vary", "Accept"),
        ],
        &[("set-cookie", "__Host-id=mine"), ("set-cookie", "a=b")],
    ];
    for lines in cases {
        let visitor = Browser::new(answering(lines).layer(Fixture::new().layer()));
        visitor.get("/count").await;
        let expected: Vec<_> = lines
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(headers(&visitor.get("/ignore").await), expected);
    }
}

#[tokio::test]
async fn without_cache_headers_only_the_cookie_is_set() {
    let fixture = Fixture::new();
    let (log, _guard) = logging();
    let lines = &[
        ("cache-control", "public"),
        ("cdn-cache-control", "max-age=600"),
        ("vary", "Accept"),
    ];
    let layer = fixture.layer().cache_headers(false);
    let visitor = Browser::new(answering(lines).layer(layer));
    let reply = visitor.get("/count").await;
    assert_snapshot!(headers(&reply).join("\n"), @r"
    cache-control: public
    cdn-cache-control: max-age=600
    set-cookie: __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    vary: Accept
    ");
    assert_snapshot!(headers(&visitor.get("/load").await).join("\n"), @r"
    cache-control: public
    cdn-cache-control: max-age=600
    vary: Accept
    ");
    assert!(log.lines().is_empty());
}
