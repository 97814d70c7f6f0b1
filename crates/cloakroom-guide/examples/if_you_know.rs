//! The program of the page "If you know another library".

use std::time::Duration;

use axum::{
    Router,
    response::Redirect,
    routing::{get, post},
};
use cloakroom::{Error, Session, SessionLayer};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn home(session: Session) -> Result<String, Error> {
    let visits = session.update("visits", |n: Option<u32>| n.unwrap_or(0) + 1)?;
    let user = session.user().unwrap_or_else(|| "nobody".to_owned());
    Ok(format!("visit {visits} of {user}"))
}

async fn log_in(session: Session) -> Result<Redirect, Error> {
    // After you have checked the password:
    session.log_in("ann")?;
    Ok(Redirect::to("/"))
}

async fn log_out(session: Session) -> Redirect {
    session.destroy();
    Redirect::to("/")
}

fn app() -> Router {
    let layer = SessionLayer::default()
        .idle_timeout(14 * DAY)
        .absolute_timeout(90 * DAY)
        .persistent(true);
    Router::new()
        .route("/", get(home))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(layer)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app()).await
}

#[cfg(test)]
#[path = "../tests/if_you_know.rs"]
mod tests;
