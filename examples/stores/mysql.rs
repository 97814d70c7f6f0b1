//! A counter with sessions in MySQL or MariaDB:
//! `cargo run --example store_mysql --features mysql -- mysql://user:password@localhost/database`

mod counter;

use std::{error::Error, process::ExitCode};

use cloakroom::{SessionLayer, store::MySqlStore};

#[tokio::main]
async fn main() -> ExitCode {
    counter::serve(connect()).await
}

async fn connect() -> Result<SessionLayer, Box<dyn Error>> {
    let url = counter::argument("mysql://user:password@localhost/database")?;
    let store = MySqlStore::connect(&url).await?;
    store.migrate().await?;
    Ok(SessionLayer::new(store))
}
