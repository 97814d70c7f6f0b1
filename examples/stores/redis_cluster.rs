//! A counter over a Redis Cluster:
//! `cargo run --example store_redis_cluster --features redis -- redis://localhost:7000`

mod counter;

use std::error::Error;

use cloakroom::{SessionLayer, store::RedisStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = counter::argument("a node of the cluster, such as redis://localhost:7000")?;
    let store = RedisStore::cluster([url.as_str()]).await?;
    counter::serve(SessionLayer::new(store)).await
}
