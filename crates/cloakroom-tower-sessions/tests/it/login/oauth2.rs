//! The example `oauth2`: log in at a provider, which this test plays.

use std::{convert::Infallible, fmt, sync::Arc};

use axum::{
    Form, Json, Router,
    body::{Body, to_bytes},
    extract::Query,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_login::{
    AuthManager, AuthUser, AuthnBackend, UserId, login_required, tower_sessions::Session,
};
use cloakroom::{MemoryStore, SessionLayer};
use cloakroom_tower_sessions::{TowerSessionsLayer, axum_login_user};
use http::{HeaderMap, Request, StatusCode, header};
use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    TokenResponse as _, TokenUrl, basic::BasicClient, url::Url,
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::{ServiceExt as _, layer::layer_fn};

use crate::support::Browser;

const CSRF_STATE_KEY: &str = "oauth.csrf-state";
const NEXT_URL_KEY: &str = "auth.next-url";

type AuthSession = axum_login::AuthSession<Backend>;
type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

#[derive(Clone)]
struct User {
    name: String,
    access_token: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }

    fn session_auth_hash(&self) -> &[u8] {
        self.access_token.as_bytes()
    }
}

struct Credentials {
    code: String,
    old_state: CsrfToken,
    new_state: CsrfToken,
}

/// The users who have logged in, and the provider.
#[derive(Clone)]
struct Backend {
    users: Arc<Mutex<Vec<User>>>,
    client: Client,
    provider: Router,
}

impl Backend {
    fn authorize_url(&self) -> (Url, CsrfToken) {
        self.client.authorize_url(CsrfToken::new_random).url()
    }

    async fn ask(&self, request: Request<Body>) -> Response {
        let Ok(response) = self.provider.clone().oneshot(request).await;
        response
    }
}

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, creds: Credentials) -> Result<Option<User>, Infallible> {
        // Somebody else began this log-in.
        if creds.old_state.secret() != creds.new_state.secret() {
            return Ok(None);
        }
        let backend = self.clone();
        let http = move |request: oauth2::HttpRequest| {
            let backend = backend.clone();
            async move {
                let (head, body) = backend.ask(request.map(Body::from)).await.into_parts();
                let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
                Ok::<_, Infallible>(http::Response::from_parts(head, body))
            }
        };
        let exchange = self
            .client
            .exchange_code(AuthorizationCode::new(creds.code));
        let Ok(token) = exchange.request_async(&http).await else {
            return Ok(None);
        };
        let token = token.access_token().secret().clone();
        let request = Request::get("/user")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let body = to_bytes(self.ask(request).await.into_body(), usize::MAX).await;
        let info: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        let user = User {
            name: info["login"].as_str().unwrap().to_owned(),
            access_token: token,
        };
        let mut users = self.users.lock();
        users.retain(|known| known.name != user.name);
        users.push(user.clone());
        Ok(Some(user))
    }

    async fn get_user(&self, name: &UserId<Self>) -> Result<Option<User>, Infallible> {
        let users = self.users.lock();
        Ok(users.iter().find(|user| user.name == *name).cloned())
    }
}

/// A provider whose visitor is always `ferris`, and who gives a code once.
fn provider() -> Router {
    let codes = Arc::new(Mutex::new(0));
    let given = Arc::clone(&codes);
    let authorize = async move |Query(asked): Query<Value>| {
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["client_id"], "cloakroom");
        *given.lock() += 1;
        let (code, state) = (*given.lock(), asked["state"].as_str().unwrap().to_owned());
        Redirect::to(&format!("/oauth/callback?code={code}&state={state}"))
    };
    let token = async move |Form(asked): Form<Value>| {
        assert_eq!(asked["grant_type"], "authorization_code");
        if asked["code"] != codes.lock().to_string() {
            let refused = Json(json!({ "error": "invalid_grant" }));
            return (StatusCode::BAD_REQUEST, refused);
        }
        let given =
            json!({ "access_token": format!("token-{}", codes.lock()), "token_type": "bearer" });
        (StatusCode::OK, Json(given))
    };
    let user = async |headers: HeaderMap| {
        let token = headers[header::AUTHORIZATION].to_str().unwrap();
        assert!(token.starts_with("Bearer token-"), "{token}");
        Json(json!({ "login": "ferris" }))
    };
    Router::new()
        .route(
            "/authorize",
            get(async move |asked: Query<Value>| authorize(asked).await),
        )
        .route(
            "/token",
            post(async move |asked: Form<Value>| token(asked).await),
        )
        .route("/user", get(user))
}

#[derive(Deserialize)]
struct NextUrl {
    next: Option<String>,
}

async fn log_in(
    auth_session: AuthSession,
    session: Session,
    Form(NextUrl { next }): Form<NextUrl>,
) -> Redirect {
    let (url, state) = auth_session.backend.authorize_url();
    session
        .insert(CSRF_STATE_KEY, state.secret())
        .await
        .unwrap();
    session.insert(NEXT_URL_KEY, next).await.unwrap();
    Redirect::to(url.as_str())
}

#[derive(Deserialize)]
struct AuthzResp {
    code: String,
    state: CsrfToken,
}

async fn callback(
    mut auth_session: AuthSession,
    session: Session,
    Query(AuthzResp { code, state }): Query<AuthzResp>,
) -> Response {
    let Ok(Some(old_state)) = session.get(CSRF_STATE_KEY).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let creds = Credentials {
        code,
        old_state,
        new_state: state,
    };
    let user = match auth_session.authenticate(creds).await {
        Ok(Some(user)) => user,
        Ok(None) => return (StatusCode::UNAUTHORIZED, "Invalid CSRF state.").into_response(),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    if auth_session.login(&user).await.is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match session.remove::<String>(NEXT_URL_KEY).await {
        Ok(Some(next)) => Redirect::to(&next).into_response(),
        _ => Redirect::to("/").into_response(),
    }
}

fn example() -> (Browser, Router) {
    let provider = provider();
    let client = BasicClient::new(ClientId::new("cloakroom".into()))
        .set_client_secret(ClientSecret::new("secret".into()))
        .set_auth_uri(AuthUrl::new("https://provider.example/authorize".into()).unwrap())
        .set_token_uri(TokenUrl::new("https://provider.example/token".into()).unwrap());
    let backend = Backend {
        users: Arc::default(),
        client,
        provider: provider.clone(),
    };
    let auth = layer_fn(move |inner| AuthManager::new(inner, backend.clone(), "axum-login.data"));
    let page = async |auth_session: AuthSession| auth_session.user.unwrap().name;
    let app = Router::new()
        .route("/", get(page))
        .route_layer(login_required!(Backend, login_url = "/login"))
        .route("/login", post(log_in))
        .route("/oauth/callback", get(callback))
        .layer(auth)
        .layer(TowerSessionsLayer::new().user_from("axum-login.data", axum_login_user))
        .layer(SessionLayer::new(MemoryStore::default()));
    (Browser::new(app), provider)
}

/// Follows a redirect to the provider, and gives the address it sends the visitor back to.
async fn at_provider(provider: &Router, url: &str) -> String {
    let path = url.strip_prefix("https://provider.example").unwrap();
    let request = Request::get(path).body(Body::empty()).unwrap();
    let Ok(response) = provider.clone().oneshot(request).await;
    response.headers()[header::LOCATION]
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_visitor_logs_in_at_the_provider_and_comes_back_to_the_page_they_asked_for() {
    let (browser, provider) = example();
    assert_eq!(browser.get("/").await.location(), "/login?next=%2F");
    let reply = browser.post("/login", "next=%2F%3Ffrom%3Dmail").await;
    let anonymous = browser.cookies.session();
    let back = at_provider(&provider, reply.location()).await;
    let reply = browser.get(&back).await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::SEE_OTHER, "/?from=mail")
    );
    assert_ne!(browser.cookies.session(), anonymous);
    assert_eq!(browser.page("/").await, "ferris");
}

#[tokio::test]
async fn a_log_in_that_somebody_else_began_is_refused() {
    let (browser, provider) = example();
    let stranger = browser.other();
    let reply = stranger.post("/login", "").await;
    let back = at_provider(&provider, reply.location()).await;
    // Without a session there is no state to compare, and with one it is another.
    assert_eq!(browser.get(&back).await.status, StatusCode::BAD_REQUEST);
    browser.post("/login", "").await;
    assert_eq!(browser.get(&back).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        browser.get("/").await.status,
        StatusCode::TEMPORARY_REDIRECT
    );
}
