//! A counter over an SQLite file:
//! `cargo run --example store_sqlite --features sqlite -- "sqlite:///tmp/sessions.db?mode=rwc"`

mod counter;

use std::error::Error;

use cloakroom::{SessionLayer, store::SqliteStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = counter::argument("sqlite:///tmp/sessions.db?mode=rwc")?;
    let store = SqliteStore::connect(&url).await?;
    store.migrate().await?;
    counter::serve(SessionLayer::new(store)).await
}
