//! The program of the page "For operators".

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, request::Parts},
    response::Result,
    routing::post,
};
use cloakroom::{Error, Session, SessionFilter, SessionHandle, SessionLayer, Sessions};
use cloakroom_console::{console, loopback};

/// Ends the anonymous sessions that began in the last quarter of an hour.
async fn end_flood(State(sessions): State<Sessions>, request: Parts) -> Result<String> {
    let operator = operators(request).await.ok_or(StatusCode::FORBIDDEN)?;
    let since = SystemTime::now() - Duration::from_secs(15 * 60);
    let flood = SessionFilter::default()
        .anonymous()
        .begun_within(since..)
        .newest_first();
    let preview = sessions.preview(&flood, 10).await?;
    println!(
        "{} sessions, the newest: {:?}",
        preview.count,
        preview.page.sessions.first()
    );
    let ended = sessions
        .as_operator(&operator)
        .revoke_matching(&flood, |progress| println!("{} ended", progress.ended))
        .await?;
    Ok(format!("{ended} ended"))
}

fn app(layer: SessionLayer) -> Router {
    Router::new()
        .nest("/console", console(layer.sessions(), loopback()))
        .route("/flood", post(end_flood))
        .route("/login", post(log_in))
        .with_state(layer.sessions())
        .layer(layer)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = app(SessionLayer::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await
}

/// The operator who makes this request.
async fn operators(request: Parts) -> Option<String> {
    let session = request
        .extensions
        .get::<SessionHandle>()?
        .load()
        .await
        .ok()?;
    let user = session.user()?;
    ["olga", "otto"].contains(&&*user).then_some(user)
}

/// In place of a form with a password.
async fn log_in(session: Session) -> Result<(), Error> {
    session.log_in("olga")
}

#[cfg(test)]
#[path = "../tests/operators.rs"]
mod tests;
