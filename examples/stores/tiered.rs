//! A counter with sessions in PostgreSQL, and memory in front of it:
//! `cargo run --example store_tiered --features postgres -- postgres://user:password@localhost/database`

mod counter;

use std::{error::Error, process::ExitCode};

use cloakroom::{
    SessionLayer,
    store::{MemoryStore, PostgresStore, TieredStore},
};

#[tokio::main]
async fn main() -> ExitCode {
    counter::serve(connect()).await
}

async fn connect() -> Result<SessionLayer, Box<dyn Error>> {
    let url = counter::argument("postgres://user:password@localhost/database")?;
    let back = PostgresStore::connect(&url).await?;
    back.migrate().await?;
    let store = TieredStore::new(MemoryStore::default(), back);
    Ok(SessionLayer::new(store))
}
