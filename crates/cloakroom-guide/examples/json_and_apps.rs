//! The program of the page "JSON and apps".

use std::{env, error::Error as StdError, time::Duration};

use axum::{
    Json, Router,
    http::{HeaderValue, Method, StatusCode, header},
    routing::{get, post},
};
use cloakroom::{
    CurrentUser, Error, RequireUser, Session, SessionLayer, TimeLeft, TokenKeys, Transport,
};
use serde::Deserialize;
use tower_http::cors::CorsLayer;

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

/// In place of a database and a slow, salted hash: see the page about log-in.
fn is_right(given: &Credentials) -> bool {
    given.name == "ann" && given.password == "correct horse"
}

/// For the page in a browser. It gets a cookie.
async fn log_in(session: Session, Json(given): Json<Credentials>) -> Result<StatusCode, Error> {
    if !is_right(&given) {
        return Ok(StatusCode::FORBIDDEN);
    }
    session.log_in(given.name)?;
    Ok(StatusCode::NO_CONTENT)
}

/// For a native app. It gets a token in a header.
async fn log_in_app(session: Session, given: Json<Credentials>) -> Result<StatusCode, Error> {
    session.set_transport(Transport::Bearer)?;
    let status = log_in(session.clone(), given).await?;
    if status.is_success() {
        session.remember_for(MONTH);
    }
    Ok(status)
}

async fn log_out(session: Session) -> StatusCode {
    session.destroy();
    StatusCode::NO_CONTENT
}

async fn me(CurrentUser(name): CurrentUser) -> Json<String> {
    Json(name)
}

fn app(layer: SessionLayer) -> Router {
    Router::new()
        .route("/api/me", get(me))
        .route("/api/logout", post(log_out))
        .route_layer(RequireUser::new())
        .route("/api/login", post(log_in))
        .route("/app/login", post(log_in_app))
        .route("/api/session", get(async |left: TimeLeft| left))
        .layer(layer.transport([Transport::Cookie, Transport::Bearer]))
        .layer(for_the_page())
}

/// The key that signs new tokens comes first. Tokens with the other keys are accepted and replaced.
fn token_keys(keys: &str) -> Result<TokenKeys, Box<dyn StdError>> {
    let (key, others) = keys.split_once(',').unwrap_or((keys, ""));
    let mut keys = TokenKeys::new(key)?;
    for other in others.split(',').filter(|other| !other.is_empty()) {
        keys = keys.also_accept(other)?;
    }
    Ok(keys)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    // Each is 32 random bytes in hexadecimal digits, the same on each node.
    let keys = token_keys(&env::var("TOKEN_KEYS")?)?;
    let app = app(SessionLayer::default().token_keys(keys));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

fn for_the_page() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(HeaderValue::from_static("https://app.example.com"))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .expose_headers([
            header::AUTHORIZATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
        ])
}

#[cfg(test)]
#[path = "../tests/json_and_apps.rs"]
mod tests;
