//! The program of the page "Getting started".

use axum::{Router, routing::get};
use cloakroom::{Error, Key, Session, SessionLayer};

const VISITS: Key<u64> = Key::new("visits");

async fn counter(session: Session) -> Result<String, Error> {
    let visits = session.update(VISITS, |n| n.unwrap_or(0) + 1)?;
    Ok(format!("visit {visits}"))
}

fn app() -> Router {
    Router::new()
        .route("/", get(counter))
        .layer(SessionLayer::default())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app()).await
}

#[cfg(test)]
#[path = "../tests/getting_started.rs"]
mod tests;
