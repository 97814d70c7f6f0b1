//! A counter over a directory:
//! `cargo run --example store_file --features file -- /tmp/sessions`

mod counter;

use std::error::Error;

use cloakroom::{SessionLayer, store::FileStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = counter::argument("a directory, such as /tmp/sessions")?;
    let store = FileStore::open(path)?;
    counter::serve(SessionLayer::new(store)).await
}
