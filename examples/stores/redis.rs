//! A counter with sessions in Redis or Valkey:
//! `cargo run --example store_redis --features redis -- redis://localhost:6379`

mod counter;

use std::{error::Error, process::ExitCode};

use cloakroom::{SessionLayer, store::RedisStore};

#[tokio::main]
async fn main() -> ExitCode {
    counter::serve(connect()).await
}

async fn connect() -> Result<SessionLayer, Box<dyn Error>> {
    let url = counter::argument("redis://localhost:6379")?;
    let store = RedisStore::connect(&url).await?;
    Ok(SessionLayer::new(store))
}
