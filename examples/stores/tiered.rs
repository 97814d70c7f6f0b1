//! A counter over PostgreSQL with memory in front:
//! `cargo run --example store_tiered --features postgres -- postgres://user:password@localhost/database`

mod counter;

use std::error::Error;

use cloakroom::{
    SessionLayer,
    store::{MemoryStore, PostgresStore, TieredStore},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = counter::argument("postgres://user:password@localhost/database")?;
    let back = PostgresStore::connect(&url).await?;
    back.migrate().await?;
    let store = TieredStore::new(MemoryStore::default(), back);
    counter::serve(SessionLayer::new(store)).await
}
