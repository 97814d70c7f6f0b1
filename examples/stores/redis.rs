//! A counter over Redis or Valkey:
//! `cargo run --example store_redis --features redis -- redis://localhost:6379`

mod counter;

use std::error::Error;

use cloakroom::{SessionLayer, store::RedisStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = counter::argument("redis://localhost:6379")?;
    let store = RedisStore::connect(&url).await?;
    counter::serve(SessionLayer::new(store)).await
}
