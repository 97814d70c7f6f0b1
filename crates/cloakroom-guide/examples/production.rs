//! The program of the page "Production".

use std::{io, path::Path, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use cloakroom::{Error, MemoryStore, Session, SessionLayer, Sessions, Shutdown};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

const MINUTE: Duration = Duration::from_secs(60);

async fn home(session: Session) -> Result<String, Error> {
    let visits = session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)?;
    Ok(format!("visit {visits}"))
}

/// For a readiness probe: whether the store answers.
async fn ready(sessions: Sessions) -> StatusCode {
    match sessions.ping().await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn app(layer: SessionLayer) -> Router {
    let layer = layer
        .idle_timeout(15 * MINUTE)
        .absolute_timeout(12 * 60 * MINUTE)
        .renew_every(15 * MINUTE)
        .max_sessions_per_user(10);
    let sessions = layer.sessions();
    Router::new()
        .route("/", get(home))
        .layer(layer)
        .route("/ready", get(move || ready(sessions)))
}

/// Serves until Ctrl-C or SIGTERM. The sessions are in the file `saved` until the next start.
async fn serve(listener: TcpListener, saved: &Path) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let asked_to_end = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    let store = MemoryStore::builder().max_bytes(512 * 1024 * 1024).build();
    if store.restore_from(saved).await?.is_some() {
        // Otherwise, after a crash, the next start would restore sessions that have ended since.
        std::fs::remove_file(saved)?;
    }
    let shutdown = Shutdown::new();
    let app = app(SessionLayer::new(store.clone()).shutdown(&shutdown));
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.after(asked_to_end));
    let too_long = async {
        shutdown.begun().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    };
    tokio::select! {
        served = server.into_future() => served?,
        // Otherwise a client that sends half a request would hold the server up, and no session would be saved.
        () = too_long => {}
    }
    shutdown.finish(Duration::from_secs(5)).await;
    store.save_to(saved).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:3000").await?;
    serve(listener, Path::new("sessions")).await
}

#[cfg(test)]
#[path = "../tests/production.rs"]
mod tests;
