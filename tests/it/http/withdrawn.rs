//! F2: the empty 503 that replaces a response whose session cannot be kept, and what it says.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use cloakroom::{Error, ErrorKind, Session, SessionHandle, SessionLayer, store::StoreErrorKind};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Browser, Fault, FaultyStore, StoreCall};

/// What a handler and the layers inside set.
const HEADERS: [(&str, &str); 17] = [
    ("access-control-allow-origin", "https://app.example"),
    ("access-control-allow-credentials", "true"),
    ("access-control-expose-headers", "x-total"),
    ("vary", "Origin"),
    ("x-request-id", "7"),
    ("strict-transport-security", "max-age=60"),
    ("content-security-policy", "default-src 'self'"),
    ("content-type", "application/json"),
    ("content-length", "2"),
    ("content-language", "en"),
    ("location", "/orders/8"),
    ("etag", "\"9\""),
    ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("link", "</orders/8>; rel=next"),
    ("set-cookie", "theme=dark"),
    ("x-total", "10"),
    ("cache-control", "public, max-age=600"),
];

/// A layer whose store cannot begin a session.
fn failing() -> SessionLayer {
    let store = FaultyStore::in_memory();
    let fault = Fault::Refuse(StoreErrorKind::Unavailable);
    store.plan_for(StoreCall::Create, fault);
    SessionLayer::new(store)
}

/// The response in place of one that has all [`HEADERS`].
async fn withdrawn() -> http::Response<String> {
    let service = service_fn(async |request: http::Request<()>| {
        let handle: &SessionHandle = request.extensions().get().unwrap();
        handle.load().await.unwrap().insert("n", 1).unwrap();
        let mut response = http::Response::new("told so".to_owned());
        for (name, value) in HEADERS {
            let name = HeaderName::from_static(name);
            response
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        response.extensions_mut().insert("of the lost response");
        Ok::<_, Infallible>(response)
    });
    let service = failing().layer(service);
    service.oneshot(http::Request::new(())).await.unwrap()
}

#[tokio::test]
async fn f2_the_503_has_the_error_in_its_extensions() {
    let response = withdrawn().await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.body(), "");
    let error: &Error = response.extensions().get().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient());
    assert!(response.extensions().get::<&str>().is_none());
}

#[tokio::test]
async fn f2_the_503_keeps_the_headers_that_reveal_nothing_about_the_lost_response() {
    let response = withdrawn().await;
    let mut kept: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    kept.sort_unstable();
    insta::assert_snapshot!(kept.join("\n"), @r"
    access-control-allow-credentials: true
    access-control-allow-origin: https://app.example
    access-control-expose-headers: x-total
    cache-control: no-store
    content-security-policy: default-src 'self'
    retry-after: 5
    strict-transport-security: max-age=60
    vary: Origin
    x-request-id: 7
    ");
}

#[tokio::test]
async fn f2_an_outer_layer_can_replace_the_503_and_that_of_an_extractor() {
    async fn explain(response: Response) -> Response {
        match response.extensions().get::<Error>() {
            Some(error) => {
                let body = format!("{{\"transient\":{}}}", error.is_transient());
                let headers = [(header::CONTENT_TYPE, "application/json")];
                (response.status(), headers, body).into_response()
            }
            None => response,
        }
    }
    let store = FaultyStore::in_memory();
    store.plan(|call| match call {
        StoreCall::Create | StoreCall::Load => Fault::Refuse(StoreErrorKind::Unavailable),
        _ => Fault::None,
    });
    let app = Router::new()
        .route("/", get(async |session: Session| session.insert("n", 1)))
        .route("/no", get(async || "nothing"))
        .layer(SessionLayer::new(store))
        .layer(map_response(explain));
    let browser = Browser::new(app);
    let token = crate::support::token::join(crate::support::token::NEVER_ISSUED, [7; 16]);
    for cookie in ["a=b".to_owned(), format!("__Host-id={token}")] {
        let request = Request::get("/").header(header::COOKIE, cookie);
        let reply = browser.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.body, "{\"transient\":true}");
    }
    assert_eq!(browser.get("/no").await.body, "nothing");
}
