//! A counter with sessions in a Redis Cluster:
//! `cargo run --example store_redis_cluster --features redis -- redis://localhost:7000`

mod counter;

use std::{error::Error, process::ExitCode};

use cloakroom::{SessionLayer, store::RedisStore};

#[tokio::main]
async fn main() -> ExitCode {
    counter::serve(connect()).await
}

async fn connect() -> Result<SessionLayer, Box<dyn Error>> {
    let url = counter::argument("a node of the cluster, such as redis://localhost:7000")?;
    let store = RedisStore::cluster([url.as_str()]).await?;
    Ok(SessionLayer::new(store))
}
