//! A counter with sessions in an SQLite file:
//! `cargo run --example store_sqlite --features sqlite -- "sqlite:///tmp/sessions.db?mode=rwc"`

mod counter;

use std::{error::Error, process::ExitCode};

use cloakroom::{SessionLayer, store::SqliteStore};

#[tokio::main]
async fn main() -> ExitCode {
    counter::serve(connect()).await
}

async fn connect() -> Result<SessionLayer, Box<dyn Error>> {
    let url = counter::argument("sqlite:///tmp/sessions.db?mode=rwc")?;
    let store = SqliteStore::connect(&url).await?;
    store.migrate().await?;
    Ok(SessionLayer::new(store))
}
