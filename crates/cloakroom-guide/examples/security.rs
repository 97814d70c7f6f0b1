//! The program of the page "Security".

use std::time::Duration;

use axum::{
    Form, Router,
    extract::State,
    response::{Html, Redirect},
    routing::{get, post},
};
use cloakroom::{
    ClearSiteData, CurrentUser, Error, RequireUser, ReturnTo, Session, SessionLayer, Sessions,
};
use serde::Deserialize;
use tower_http::csrf::CsrfLayer;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Given {
    password: String,
}

/// In place of a database and a slow, salted hash: see the page about log-in.
fn is_right(given: &Given) -> bool {
    given.password == "correct horse"
}

/// For a log-in, and to enter the password again.
async fn password_page() -> Html<&'static str> {
    // Without an action, the form goes to this page's address, with its `next`.
    Html(r#"<form method="post"><input name="password" type="password"><button>OK</button></form>"#)
}

async fn log_in(
    session: Session,
    to: ReturnTo,
    Form(given): Form<Given>,
) -> Result<Redirect, Error> {
    if !is_right(&given) {
        return Ok(Redirect::to(&format!("/login{}", to.query())));
    }
    session.log_in("ann")?;
    Ok(Redirect::to(to.or("/account")))
}

async fn confirm(
    session: Session,
    to: ReturnTo,
    Form(given): Form<Given>,
) -> Result<Redirect, Error> {
    if !is_right(&given) {
        return Ok(Redirect::to(&format!("/confirm{}", to.query())));
    }
    session.confirm()?;
    Ok(Redirect::to(to.or("/account")))
}

async fn account(CurrentUser(name): CurrentUser) -> String {
    name
}

/// For who entered the password within the last five minutes.
async fn payment(CurrentUser(name): CurrentUser) -> String {
    format!("What shall {name} pay?")
}

/// Logs the user out everywhere else.
async fn end_others(State(sessions): State<Sessions>, session: Session) -> Result<Redirect, Error> {
    sessions.revoke_others(&session).await?;
    Ok(Redirect::to("/account"))
}

async fn log_out(session: Session) -> Result<Redirect, Error> {
    // The choice of a language stays, in a new session.
    session.destroy_except(["language"])?;
    Ok(Redirect::to("/login"))
}

fn app(layer: SessionLayer) -> Router {
    let layer = layer
        .renew_every(15 * MINUTE)
        .max_sessions_per_user(10)
        .no_store_for_users(true)
        .clear_site_data([ClearSiteData::Cache, ClearSiteData::Storage])
        .log_in_page("/login")
        .log_out_page("/logout")
        .confirm_page("/confirm");
    let sessions = layer.sessions();
    Router::new()
        .route("/payment", get(payment))
        .route_layer(RequireUser::new().fresh(5 * MINUTE))
        .route("/account", get(account))
        .route("/others", post(end_others))
        .route("/confirm", get(password_page).post(confirm))
        .route_layer(RequireUser::new())
        .route("/login", get(password_page).post(log_in))
        .route("/logout", post(log_out))
        .with_state(sessions)
        .layer(layer)
        .layer(CsrfLayer::new())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(SessionLayer::default())).await
}

#[cfg(test)]
#[path = "../tests/security.rs"]
mod tests;
