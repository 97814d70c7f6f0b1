//! A counter with sessions in a directory:
//! `cargo run --example store_file --features file -- /tmp/sessions`

mod counter;

use std::{error::Error, process::ExitCode};

use cloakroom::{SessionLayer, store::FileStore};

#[tokio::main]
async fn main() -> ExitCode {
    counter::serve(connect()).await
}

async fn connect() -> Result<SessionLayer, Box<dyn Error>> {
    let path = counter::argument("a directory, such as /tmp/sessions")?;
    let store = FileStore::open(path)?;
    Ok(SessionLayer::new(store))
}
