//! The cookie: its attributes as they stand in the headers, its removal (rule
//! C4), its prefix, and what cannot work.

use axum::body::Body;
use cloakroom::{
    CookiePrefix, SameSite, Session, SessionCookie, SessionCookieBuilder, SessionLayer,
};
use http::{HeaderValue, Request, StatusCode};
use insta::assert_snapshot;
use tower::{Layer as _, ServiceExt as _};
use tracing::Level;

use crate::support::{
    Log, Reply, Visitor,
    fixture::{DAY, Fixture, MILLISECOND, SECOND, plain_cookie, redacted, routes, visitor_of},
};

/// What hands the cookie out, and what takes it away.
async fn issue_and_removal(cookie: SessionCookieBuilder) -> String {
    let fixture = Fixture::new();
    let cookie = cookie.build().unwrap();
    let name = cookie.name().to_owned();
    let visitor = visitor_of(fixture.layer().cookie(cookie));
    let issued = one_cookie(&visitor.get("/set/n/1").await);
    assert!(issued.starts_with(&format!("{name}=[token];")));
    let removed = one_cookie(&visitor.get("/destroy").await);
    assert!(visitor.cookie(&name).is_none());
    // C4: every attribute comes again.
    assert_eq!(
        removed,
        issued.replace("[token]", "") + "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    );
    format!("{issued}\n{removed}")
}

fn one_cookie(reply: &Reply) -> String {
    let cookies = reply.set_cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    redacted(&cookies[0])
}

#[tokio::test]
async fn c4_the_default_cookie_and_its_removal() {
    assert_snapshot!(issue_and_removal(SessionCookie::new("id")).await, @r"
    __Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    __Host-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
    let default = SessionCookie::default();
    assert_eq!(default, SessionCookie::new("id").build().unwrap());
}

#[tokio::test]
async fn c4_a_cookie_of_a_path_and_its_removal() {
    // The routes lie outside of it, which the browser of these tests does not mind.
    assert_snapshot!(issue_and_removal(SessionCookie::new("id").path("/app/a b%20c")).await, @r"
    __Secure-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/app/a b%20c
    __Secure-id=; HttpOnly; SameSite=Lax; Secure; Path=/app/a b%20c; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
}

#[tokio::test]
async fn c4_a_cookie_of_a_domain_and_its_removal() {
    assert_snapshot!(issue_and_removal(SessionCookie::new("id").domain("example.com")).await, @r"
    __Secure-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.com
    __Secure-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.com; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
}

#[tokio::test]
async fn c4_a_same_site_strict_cookie_and_its_removal() {
    let cookie = SessionCookie::new("id").same_site(SameSite::Strict);
    assert_snapshot!(issue_and_removal(cookie).await, @r"
    __Host-id=[token]; HttpOnly; SameSite=Strict; Secure; Path=/
    __Host-id=; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
}

#[tokio::test]
async fn c4_a_same_site_none_cookie_and_its_removal() {
    let cookie = SessionCookie::new("id").same_site(SameSite::None);
    assert_snapshot!(issue_and_removal(cookie).await, @r"
    __Host-id=[token]; HttpOnly; SameSite=None; Secure; Path=/
    __Host-id=; HttpOnly; SameSite=None; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
}

#[tokio::test]
async fn c4_a_partitioned_cookie_and_its_removal() {
    let cookie = SessionCookie::new("id")
        .partitioned(true)
        .same_site(SameSite::None);
    assert_snapshot!(issue_and_removal(cookie).await, @r"
    __Host-id=[token]; HttpOnly; SameSite=None; Partitioned; Secure; Path=/
    __Host-id=; HttpOnly; SameSite=None; Partitioned; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
}

#[tokio::test]
async fn c4_an_insecure_cookie_and_its_removal() {
    assert_snapshot!(issue_and_removal(SessionCookie::new("id").insecure()).await, @r"
    id=[token]; HttpOnly; SameSite=Lax; Path=/
    id=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
}

#[tokio::test]
async fn c4_a_cookie_without_prefix_and_its_removal() {
    let cookie = SessionCookie::new("id").prefix(CookiePrefix::None);
    assert_snapshot!(issue_and_removal(cookie).await, @r"
    id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/
    id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
}

#[tokio::test]
async fn c4_the_removal_of_a_persistent_cookie_has_one_max_age() {
    let fixture = Fixture::new();
    let layer = fixture.layer().persistent(true).idle_timeout(90 * SECOND);
    let visitor = visitor_of(layer);
    assert_snapshot!(one_cookie(&visitor.get("/set/n/1").await), @"__Host-id=[token]; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=90");
    assert_snapshot!(one_cookie(&visitor.get("/destroy").await), @"__Host-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
}

#[tokio::test]
async fn c4_a_log_out_after_the_session_expired_removes_the_cookie_too() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().idle_timeout(SECOND)).await;
    fixture.clock.advance(SECOND + MILLISECOND);
    let reply = visitor.get("/destroy").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load
    cache-control: no-store
    set-cookie: __Host-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    vary: Cookie
    ");
}

#[test]
fn the_prefix_follows_from_the_attributes() {
    let name = |cookie: SessionCookieBuilder| cookie.build().unwrap().name().to_owned();
    let id = || SessionCookie::new("id");
    assert_eq!(name(id()), "__Host-id");
    assert_eq!(name(id().path("/")), "__Host-id");
    assert_eq!(name(id().same_site(SameSite::None)), "__Host-id");
    assert_eq!(name(id().partitioned(true)), "__Host-id");
    assert_eq!(name(id().path("/app")), "__Secure-id");
    assert_eq!(name(id().domain("example.com")), "__Secure-id");
    assert_eq!(name(id().path("/a").domain("example.com")), "__Secure-id");
    assert_eq!(name(id().insecure()), "id");
    assert_eq!(name(id().insecure().path("/app")), "id");
    assert_eq!(name(id().prefix(CookiePrefix::None)), "id");
    assert_eq!(name(id().prefix(CookiePrefix::Auto)), "__Host-id");
}

#[tokio::test]
async fn a_token_under_a_name_that_is_no_longer_read_is_not_accepted() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    let insecure = SessionCookie::new("id").insecure().build().unwrap();
    let other = visitor_of(fixture.layer().cookie(insecure));
    for name in ["__Host-id", "__host-id", "ID", "__Secure-id"] {
        other.set_cookie(name, &visitor.cookie("__Host-id").unwrap());
    }
    assert_eq!(other.get("/load").await.body, "nobody");
    assert!(fixture.store.calls().is_empty());
}

#[tokio::test]
async fn several_former_names_are_read_and_the_own_name_comes_first() {
    let fixture = Fixture::new();
    let cookie = SessionCookie::new("c").also_read("a").also_read("b");
    let layer = || fixture.layer().cookie(cookie.clone());
    let renamed = async |issued: &str, presented: &str| {
        let visitor = fixture.known(fixture.layer().cookie(plain_cookie(issued)));
        let token = visitor.await.cookie(issued).unwrap();
        let browser = visitor_of(layer());
        browser.set_cookie(presented, &token);
        browser
    };
    for (issued, presented, body) in [
        ("a", "a", "n=1 user=-"),
        ("b", "b", "n=1 user=-"),
        ("a", "A", "nobody"),
        ("other", "a", "nobody"),
    ] {
        let reply = renamed(issued, presented).await.get("/load").await;
        assert_eq!(reply.body, body, "{issued} as {presented}");
    }
    let newest = fixture.known(layer()).await;
    newest.get("/set/n/2").await;
    let both = renamed("a", "a").await;
    both.set_cookie("__Host-c", &newest.cookie("__Host-c").unwrap());
    let reply = both.get("/load").await;
    assert_eq!(reply.body, "n=2 user=-");
    assert!(reply.set_cookies().is_empty());
}

#[tokio::test]
async fn c3_a_former_name_that_is_set_twice_is_removed_once() {
    let fixture = Fixture::new();
    let cookie = SessionCookie::new("c").also_read("a").also_read("a");
    let visitor = fixture.known(fixture.layer().cookie(cookie.build().unwrap()));
    let reply = visitor.await.get("/destroy").await;
    assert_eq!(reply.set_cookies().len(), 2, "__Host-c and a");
}

#[tokio::test]
async fn c4_the_removal_of_a_former_name_fits_its_prefix() {
    let cookie = SessionCookie::new("c")
        .path("/app")
        .domain("example.com")
        .insecure()
        .also_read("__Host-id")
        .also_read("__secure-id")
        .also_read("id");
    let fixture = Fixture::new();
    let layer = fixture.layer().cookie(cookie);
    let visitor = Visitor::new(&layer);
    visitor
        .visit(async |session: Session| session.insert("n", 1))
        .await;
    let reply = visitor
        .visit(async |session: Session| session.destroy())
        .await;
    assert_snapshot!(reply.set_cookies().join("\n"), @r"
    c=; HttpOnly; SameSite=Lax; Path=/app; Domain=example.com; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    __Host-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    __secure-id=; HttpOnly; SameSite=Lax; Secure; Path=/app; Domain=example.com; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    id=; HttpOnly; SameSite=Lax; Path=/app; Domain=example.com; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT
    ");
}

#[tokio::test]
async fn a_layer_takes_a_cookie_that_is_only_described() {
    let layer = SessionLayer::default().cookie(SessionCookie::new("shop"));
    let visitor = visitor_of(layer);
    let reply = visitor.get("/set/n/1").await;
    assert!(one_cookie(&reply).starts_with("__Host-shop="));
    let built = SessionCookie::new("shop").build().unwrap();
    let _: SessionLayer = SessionLayer::default().cookie(built);
}

#[test]
#[should_panic(expected = "the cookie name `my shop` must be one or more ASCII letters")]
fn a_layer_says_at_once_what_is_wrong_with_its_cookie() {
    let _ = SessionLayer::default().cookie(SessionCookie::new("my shop"));
}

fn warnings(layer: SessionLayer, requests: impl IntoIterator<Item = Request<Body>>) -> usize {
    let log = Log::capture();
    let app = routes().layer(layer);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for request in requests {
        let reply = runtime.block_on(app.clone().oneshot(request)).unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
    }
    log.count(Level::WARN, "does not come back")
}

#[test]
fn a_secure_cookie_over_plain_http_is_warned_about_once() {
    let over = |scheme: &str, path: &str| {
        let request = Request::get(path).header("host", "shop.example");
        let request = request.header("x-forwarded-proto", scheme);
        request.body(Body::empty()).unwrap()
    };
    let layer = || SessionLayer::default().reap_every(None);
    let plain = || over("http", "/set/n/1");
    assert_eq!(warnings(layer(), [plain(), plain(), plain()]), 1);
    // Cookies of other applications on the host come back, and ours does not.
    let with = |cookie: &'static str| {
        let mut request = plain();
        let cookie = HeaderValue::from_static(cookie);
        request.headers_mut().insert("cookie", cookie);
        request
    };
    assert_eq!(warnings(layer(), [with("theme=dark; id=1")]), 1);
    // Where the cookie comes back, or none is set, there is nothing to warn about.
    assert_eq!(warnings(layer(), [with("theme=dark; __Host-id=old")]), 0);
    assert_eq!(warnings(layer(), [over("https", "/set/n/1")]), 0);
    assert_eq!(warnings(layer(), [over("http", "/load")]), 0);
    let insecure = layer().cookie(SessionCookie::new("id").insecure());
    assert_eq!(warnings(insecure, [plain()]), 0);
}

#[test]
fn an_idle_timeout_that_the_absolute_one_cuts_short_is_warned_about_once() {
    let count = |layer: SessionLayer| {
        let log = Log::capture();
        let _ = (layer.layer(()), layer.layer(()), layer.clone().layer(()));
        log.count(Level::WARN, "absolute_timeout")
    };
    let layer = SessionLayer::default;
    assert_eq!(count(layer()), 0);
    assert_eq!(count(layer().idle_timeout(14 * DAY).persistent(true)), 1);
    assert_eq!(count(layer().anonymous_idle_timeout(14 * DAY)), 1);
    assert_eq!(
        count(layer().idle_timeout(14 * DAY).absolute_timeout(14 * DAY)),
        0
    );
    assert_eq!(
        count(layer().idle_timeout(14 * DAY).absolute_timeout(None)),
        0
    );
    assert_eq!(count(layer().idle_timeout(None)), 0);
}

fn refusal(cookie: SessionCookieBuilder) -> String {
    cookie.build().unwrap_err().to_string()
}

#[test]
fn a_name_with_a_prefix_is_refused_in_any_case() {
    assert_snapshot!(
        refusal(SessionCookie::new("__Host-id")),
        @"the cookie name `__Host-id` starts with `__Host-`: remove the prefix, which follows from the attributes"
    );
    assert_snapshot!(
        refusal(SessionCookie::new("__sEcUrE-id").insecure()),
        @"the cookie name `__sEcUrE-id` starts with `__Secure-`: remove the prefix, which follows from the attributes"
    );
    for name in ["__host-id", "__HOST-", "__Http-id", "__host-http-id"] {
        let message = refusal(SessionCookie::new(name).prefix(CookiePrefix::None));
        assert!(message.contains(name), "{message}");
        assert!(message.contains("remove the prefix"), "{message}");
    }
    for name in ["__Hostid", "_Host-id", "Host-id", "id__Host-", "__Secure"] {
        assert!(SessionCookie::new(name).build().is_ok(), "{name}");
    }
}

#[test]
fn a_name_with_forbidden_characters_is_refused() {
    assert_snapshot!(
        refusal(SessionCookie::new("my id")),
        @"the cookie name `my id` must be one or more ASCII letters, digits or any of !#$%&'*+-.^_`|~"
    );
    assert_snapshot!(
        refusal(SessionCookie::new("a\r\nSet-Cookie: b")),
        @r"the cookie name `a\r\nSet-Cookie: b` must be one or more ASCII letters, digits or any of !#$%&'*+-.^_`|~"
    );
    for character in "()<>@,;:\\\"/[]?={} \t\0\u{7f}ä🍪".chars() {
        let name = format!("i{character}d");
        let message = refusal(SessionCookie::new(name));
        assert!(message.contains("must be one or more"), "{character:?}");
    }
    let message = refusal(SessionCookie::new(""));
    assert!(message.contains("must be one or more"), "{message}");
    assert!(SessionCookie::new("!#$%&'*+-.^_`|~09azAZ").build().is_ok());
}

#[test]
fn a_path_with_forbidden_characters_is_refused() {
    assert_snapshot!(
        refusal(SessionCookie::new("id").path("app")),
        @"the cookie path `app` must start with `/` and have no control characters, `;` or non-ASCII: percent-encode them"
    );
    for path in ["", "/a;Domain=evil", "/a\r\nb", "/a\0", "/ä", "/\u{7f}"] {
        let message = refusal(SessionCookie::new("id").path(path));
        assert!(message.contains("percent-encode"), "{message}");
    }
}

#[test]
fn a_domain_that_is_no_host_name_is_refused() {
    assert_snapshot!(
        refusal(SessionCookie::new("id").domain(".example.com")),
        @"the cookie domain `.example.com` must be a host name such as `example.com`, without leading dot, port or scheme"
    );
    for domain in [
        "",
        "example.com:3000",
        "https://example.com",
        "example.com; Path=/x",
        "example..com",
        "example.com.",
        "-example.com",
        "exämple.com",
        "a\nb",
    ] {
        let message = refusal(SessionCookie::new("id").domain(domain));
        assert!(message.contains("must be a host name"), "{message}");
    }
    for domain in ["localhost", "example.com", "xn--exmple-cua.com", "10.0.0.1"] {
        assert!(SessionCookie::new("id").domain(domain).build().is_ok());
    }
}

#[test]
fn same_site_none_without_secure_is_refused() {
    let cookie = SessionCookie::new("id").insecure();
    assert_snapshot!(
        refusal(cookie.clone().same_site(SameSite::None)),
        @"SameSite=None needs Secure: remove `insecure()`, or use SameSite::Lax"
    );
    assert!(cookie.same_site(SameSite::Strict).build().is_ok());
}

#[test]
fn partitioned_without_secure_is_refused() {
    let cookie = SessionCookie::new("id").partitioned(true).insecure();
    assert_snapshot!(
        refusal(cookie.clone()),
        @"Partitioned needs Secure: remove `insecure()` or `partitioned(true)`"
    );
    assert!(cookie.partitioned(false).build().is_ok());
}

#[test]
fn a_former_name_that_is_the_own_name_is_refused() {
    assert_snapshot!(
        refusal(SessionCookie::new("id").also_read("__Host-id")),
        @"`also_read` names `__Host-id`, which is the cookie's own name: remove it"
    );
    let insecure = SessionCookie::new("id").insecure();
    assert_snapshot!(
        refusal(insecure.clone().also_read("old").also_read("id")),
        @"`also_read` names `id`, which is the cookie's own name: remove it"
    );
    // Another cookie, as far as browsers are concerned.
    assert!(SessionCookie::new("id").also_read("id").build().is_ok());
    assert!(insecure.also_read("__Host-id").build().is_ok());
}

#[test]
fn a_former_name_with_forbidden_characters_is_refused() {
    assert_snapshot!(
        refusal(SessionCookie::new("id").also_read("old;")),
        @"the cookie name `old;` must be one or more ASCII letters, digits or any of !#$%&'*+-.^_`|~"
    );
}
