//! A log-in by a name alone. For demonstration only: there is no password.

use axum::{Form, response::Redirect};
use cloakroom::{Error, Session};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Name {
    name: String,
}

pub(crate) async fn log_in(session: Session, Form(given): Form<Name>) -> Result<Redirect, Error> {
    let name = given.name.trim();
    if !name.is_empty() {
        session.log_in(name)?;
    }
    Ok(Redirect::to("/"))
}

pub(crate) async fn log_out(session: Session) -> Redirect {
    session.destroy();
    Redirect::to("/")
}
