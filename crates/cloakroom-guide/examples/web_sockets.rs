//! The program of the page "WebSockets and event streams".

use std::{pin::pin, time::Duration};

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use cloakroom::{Error, ErrorKind, Session, SessionLayer, Shutdown};

async fn socket(session: Option<Session>, upgrade: WebSocketUpgrade) -> Response {
    match session.filter(|session| session.user().is_some()) {
        Some(session) => upgrade.on_upgrade(|socket| serve(socket, session)),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn serve(mut socket: WebSocket, session: Session) {
    let mut ended = pin!(session.ended());
    let mut shutting_down = pin!(session.shutting_down());
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            // Logged out, expired, or revoked: dropping the socket closes it.
            _ = &mut ended => return,
            // The server is restarting. The session stays.
            () = &mut shutting_down => return,
            _ = minutes.tick() => {
                if is_over(session.touch().await) {
                    return;
                }
            }
            message = socket.recv() => {
                let Some(Ok(Message::Text(text))) = message else { return };
                if is_over(note(&session, text.to_string()).await) {
                    return;
                }
            }
        }
    }
}

/// Whether the session has ended. Other errors may be gone at the next call.
fn is_over(done: Result<(), Error>) -> bool {
    let Err(error) = done else { return false };
    eprintln!("not saved: {error}");
    error.kind() == ErrorKind::Ended
}

async fn note(session: &Session, text: String) -> Result<(), Error> {
    session.insert("note", text)?;
    session.save().await
}

/// In place of a form with a password.
async fn log_in(session: Session) -> Result<(), Error> {
    session.log_in("ann")
}

async fn log_out(session: Session) {
    session.destroy();
}

fn app(layer: SessionLayer) -> Router {
    Router::new()
        .route("/socket", get(socket))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(layer)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let shutdown = Shutdown::new();
    let app = app(SessionLayer::default().shutdown(&shutdown));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let ctrl_c = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.after(ctrl_c))
        .await?;
    shutdown.finish(Duration::from_secs(5)).await;
    Ok(())
}

#[cfg(test)]
#[path = "../tests/web_sockets.rs"]
mod tests;
