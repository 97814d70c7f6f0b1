//! The program of the page "Operating".

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    routing::{get, post},
};
use cloakroom::{
    CurrentUser, EndReason, Error, Event, EventKind, Session, SessionFilter, SessionLayer,
    Sessions, StoreCall,
};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::{Level, Span, field, info, info_span, warn};

/// A line for the audit log. It has no secret and no data.
fn audit(event: &Event) {
    let user = event.user().unwrap_or("-");
    match event.kind() {
        EventKind::LoggedIn { to, .. } => info!(user, session = %to, "logged in"),
        EventKind::Ended {
            reason: EndReason::Copied,
        } => warn!(user, "the cookie was copied"),
        EventKind::Ended { reason } => info!(user, ?reason, "the session ended"),
        _ => {}
    }
}

/// Numbers of this process, without a call of the store.
fn report(sessions: &Sessions) {
    let stats = sessions.stats();
    let loads = stats.store(StoreCall::Load).mean();
    info!(
        live = stats.live,
        created = stats.created_in(60),
        ?loads,
        "the last hour"
    );
}

/// The user's sessions, one in a line.
async fn devices(
    State(sessions): State<Sessions>,
    CurrentUser(user): CurrentUser,
) -> Result<String, Error> {
    let filter = SessionFilter::default().user(user);
    let (mut lines, mut next) = (String::new(), None);
    loop {
        let page = sessions.list(&filter, next.as_ref(), 100).await?;
        for session in &page.sessions {
            lines += &format!("{}\n", session.id());
        }
        match page.next {
            Some(cursor) => next = Some(cursor),
            None => return Ok(lines),
        }
    }
}

async fn log_out_everywhere(
    State(sessions): State<Sessions>,
    CurrentUser(user): CurrentUser,
) -> Result<String, Error> {
    let ended = sessions.revoke_user(user).await?;
    Ok(format!("{ended} sessions ended"))
}

/// In place of a form with a password.
async fn log_in(session: Session) -> Result<(), Error> {
    session.log_in("ann")
}

/// `CurrentUser` and `RequireUser` record the user in the field `user.id`, if the span has it.
fn span(request: &Request) -> Span {
    info_span!(
        "request",
        path = request.uri().path(),
        user.id = field::Empty
    )
}

fn app(layer: SessionLayer) -> Router {
    let layer = layer.on_event(audit);
    let sessions = layer.sessions();
    let trace = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_response(DefaultOnResponse::new().level(Level::INFO));
    Router::new()
        .route("/login", post(log_in))
        .route("/devices", get(devices))
        .route("/logout", post(log_out_everywhere))
        .with_state(sessions)
        .layer(layer)
        .layer(trace)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    tracing_subscriber::fmt().init();
    let layer = SessionLayer::default();
    let sessions = layer.sessions();
    tokio::spawn(async move {
        let mut hours = tokio::time::interval(Duration::from_secs(60 * 60));
        loop {
            hours.tick().await;
            report(&sessions);
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(layer)).await
}

#[cfg(test)]
#[path = "../tests/operating.rs"]
mod tests;
