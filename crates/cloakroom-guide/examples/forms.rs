//! The program of the page "Forms".

use axum::{
    Form, Router,
    http::StatusCode,
    response::{Html, Redirect, Result},
    routing::{get, post},
};
use cloakroom::{Error, Flash, Key, Session, SessionLayer};
use serde::Deserialize;
use tower_http::csrf::CsrfLayer;

#[derive(Deserialize)]
struct Note {
    text: String,
}

async fn save(flash: Flash, Form(note): Form<Note>) -> Result<Redirect, Error> {
    if note.text.is_empty() {
        flash.error("The note is empty.")?;
    } else {
        flash.success("The note is saved.")?;
    }
    Ok(Redirect::to("/"))
}

async fn notes(flash: Flash) -> Result<String, Error> {
    let mut page = String::new();
    for message in flash.take().await? {
        page += &format!("{}: {}\n", message.level, message.payload);
    }
    Ok(page)
}

/// The number of the form that may be sent.
const FORM: Key<u64> = Key::new("form");

#[derive(Deserialize)]
struct Order {
    token: u64,
}

async fn form(session: Session) -> Result<Html<String>> {
    let token = getrandom::u64().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    session.insert(FORM, token)?;
    Ok(Html(format!(
        r#"<form method="post"><button name="token" value="{token}">Order</button></form>"#
    )))
}

async fn order(session: Session, Form(given): Form<Order>) -> Result<&'static str, Error> {
    if session.get(FORM)? != Some(given.token) {
        // The token stays for the newer form.
        return Ok("This form was sent already, or a newer one is open.");
    }
    match session.claim(FORM).await? {
        Some(token) if token == given.token => Ok("ordered"),
        _ => Ok("This form was sent already."),
    }
}

fn app() -> Router {
    Router::new()
        .route("/", get(notes))
        .route("/save", post(save))
        .route("/order", get(form).post(order))
        .layer(SessionLayer::default())
        .layer(CsrfLayer::new())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app()).await
}

#[cfg(test)]
#[path = "../tests/forms.rs"]
mod tests;
