//! A counter with sessions in PostgreSQL:
//! `cargo run --example store_postgres --features postgres -- postgres://user:password@localhost/database`

mod counter;

use std::{error::Error, process::ExitCode};

use cloakroom::{SessionLayer, store::PostgresStore};

#[tokio::main]
async fn main() -> ExitCode {
    counter::serve(connect()).await
}

async fn connect() -> Result<SessionLayer, Box<dyn Error>> {
    let url = counter::argument("postgres://user:password@localhost/database")?;
    let store = PostgresStore::connect(&url).await?;
    store.migrate().await?;
    Ok(SessionLayer::new(store))
}
