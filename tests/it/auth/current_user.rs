//! Rule U2: who is asking.

use axum::{
    Router,
    extract::Path,
    routing::{get, post},
};
use cloakroom::{
    CurrentUser, Error, ErrorKind, Session, SessionLayer, StoreCall,
    store::StoreErrorKind,
    testing::{Fault, FaultyStore},
};
use http::{Request, StatusCode};
use tracing::{field, info_span};
use uuid::Uuid;

use crate::support::{Browser, fixture::logging};

async fn log_in(Path(user): Path<String>, session: Session) -> Result<(), Error> {
    session.log_in(user)
}

async fn name(CurrentUser(user): CurrentUser) -> String {
    user
}

async fn number(CurrentUser(user): CurrentUser<u64>) -> String {
    (user + 1).to_string()
}

async fn uuid(CurrentUser(user): CurrentUser<Uuid>) -> String {
    user.as_hyphenated().to_string()
}

async fn anybody(user: Option<CurrentUser<u64>>) -> String {
    user.map_or_else(|| "nobody".to_owned(), |CurrentUser(user)| user.to_string())
}

fn app(layer: SessionLayer) -> Router {
    Router::new()
        .route("/login/{user}", post(log_in).get(log_in))
        .route("/name", get(name))
        .route("/number", get(number))
        .route("/uuid", get(uuid))
        .route("/anybody", get(anybody))
        .layer(layer)
}

#[tokio::test]
async fn u2_without_a_user_the_answer_is_401_and_a_page_for_everybody_has_none() {
    let browser = Browser::new(app(SessionLayer::default()));
    for path in ["/name", "/number"] {
        let reply = browser.get(path).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert!(reply.headers.contains_key("www-authenticate"));
        assert_eq!(reply.all("vary"), ["Cookie"]);
        assert!(reply.set_cookies().is_empty());
    }
    assert_eq!(browser.get("/anybody").await.body, "nobody");
}

#[tokio::test]
async fn u2_the_user_is_read_as_the_type_that_logged_in() {
    let browser = Browser::new(app(SessionLayer::default()));
    browser.get("/login/41").await;
    assert_eq!(browser.get("/name").await.body, "41");
    assert_eq!(browser.get("/number").await.body, "42");
    assert_eq!(browser.get("/anybody").await.body, "41");
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    browser.get(&format!("/login/{id}")).await;
    assert_eq!(browser.get("/uuid").await.body, id);
}

#[tokio::test]
async fn u2_an_id_that_does_not_parse_is_500_and_no_reason_to_log_in() {
    let browser = Browser::new(app(SessionLayer::default()));
    browser.get("/login/ann").await;
    for path in ["/number", "/uuid", "/anybody"] {
        let reply = browser.get(path).await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!reply.body.contains("ann"));
    }
    assert_eq!(browser.get("/name").await.body, "ann");
}

#[tokio::test]
async fn u2_a_store_that_fails_is_503_for_everybody() {
    let store = FaultyStore::in_memory();
    let browser = Browser::new(app(SessionLayer::new(store.clone())));
    browser.get("/login/5").await;
    store.plan_for(StoreCall::Load, Fault::Fail(StoreErrorKind::Unavailable));
    for path in ["/name", "/anybody"] {
        let reply = browser.get(path).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn without_a_session_layer_the_answer_says_what_to_do() {
    let app = Router::new().route("/name", get(name));
    let reply = Browser::new(app).get("/name").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reply.body.contains("SessionLayer"));
}

#[tokio::test]
async fn u2_the_user_is_named_in_the_span_that_asks_for_it() {
    let (log, _guard) = logging();
    let handler = async |_: CurrentUser| tracing::info!("handled");
    let app = Router::new()
        .route("/login/{user}", get(log_in))
        .route("/named", get(handler))
        .layer(SessionLayer::default());
    let browser = Browser::new(app);
    browser.get("/login/ann").await;
    let cookie = browser.cookie("__Host-id").unwrap();
    let ask = async |span: tracing::Span| {
        let request = Request::get("/named").header("cookie", format!("__Host-id={cookie}"));
        let asked = browser.send(request.body(axum::body::Body::empty()).unwrap());
        tracing::Instrument::instrument(asked, span).await;
        log.lines().join("\n")
    };
    let named = ask(info_span!("request", user.id = field::Empty)).await;
    assert!(
        named.contains("request{user.id=\"ann\"}: handled"),
        "{named}"
    );
    let unnamed = ask(info_span!("request")).await;
    assert!(unnamed.contains("request: handled"), "{unnamed}");
}

#[test]
fn a_missing_log_in_has_its_own_error_kind() {
    assert_ne!(ErrorKind::Unauthenticated, ErrorKind::NoUser);
    assert!(!format!("{:?}", CurrentUser("ann".to_owned())).contains("ann"));
}
