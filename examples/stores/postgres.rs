//! A counter over PostgreSQL:
//! `cargo run --example store_postgres --features postgres -- postgres://user:password@localhost/database`

mod counter;

use std::error::Error;

use cloakroom::{SessionLayer, store::PostgresStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = counter::argument("postgres://user:password@localhost/database")?;
    let store = PostgresStore::connect(&url).await?;
    store.migrate().await?;
    counter::serve(SessionLayer::new(store)).await
}
