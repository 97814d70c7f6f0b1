//! Sessions in memory that survive a restart: `cargo run --example restart`, then
//! Ctrl-C, then the same again. The counter continues.
//!
//! They are written to a file when the server has shut down, and read when it
//! starts. The file is `restart.sessions`, or the value of the variable `SESSIONS`.

mod site;

use std::{env, future::Future, io, path::PathBuf, process::ExitCode};

use axum::{Router, response::Html, routing::get};
use cloakroom::{Error, MemoryStore, Session, SessionLayer, Shutdown};
use tokio::{fs, net::TcpListener};

/// Counts visits, in sessions that are kept in `store`.
pub fn app(store: &MemoryStore, shutdown: &Shutdown) -> Router {
    let app = Router::new()
        .route("/", get(counter))
        .layer(SessionLayer::new(store.clone()).shutdown(shutdown));
    site::finish(app)
}

async fn counter(session: Session) -> Result<Html<String>, Error> {
    let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
    // Cheap to compute again, so it is not saved.
    session.insert("cache.square", visits * visits)?;
    let body = format!(
        r#"<h1>visit {visits}</h1>
<p>End the program with Ctrl-C, start it again, and reload: the counter continues.</p>
<p><a href="/">Visit again</a></p>"#
    );
    Ok(site::page(&format!("Visit {visits}"), &body))
}

/// Restores the sessions of the former run, serves until `signal`, and saves them for the next run.
async fn run(
    listener: TcpListener,
    path: PathBuf,
    signal: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (store, shutdown) = (MemoryStore::default(), Shutdown::new());
    if let Some(report) = store.restore_from(&path).await? {
        println!("{} sessions go on", report.restored);
        for flaw in report.flaws {
            eprintln!("the file of sessions has a flaw: {flaw}");
        }
        // Otherwise it would bring back sessions that have ended since, if this run crashes.
        fs::remove_file(&path).await?;
    }
    site::serve_until(listener, app(&store, &shutdown), &shutdown, signal).await?;
    let snapshot = store
        .snapshot()
        .without_keys(|key| key.starts_with("cache."));
    let saved = snapshot.save_to(&path).await?;
    println!("{saved} sessions are in {}", path.display());
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let listener = match site::listen().await {
        Ok(listener) => listener,
        Err(message) => return site::fail(message),
    };
    let path = env::var_os("SESSIONS").map_or_else(|| "restart.sessions".into(), PathBuf::from);
    match run(listener, path, site::asked_to_end()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => site::fail(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;

    /// The body, and the cookie that came with it.
    async fn visit(server: SocketAddr, cookie: &str) -> (String, Option<String>) {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let cookie = head.lines().find_map(|line| {
            let set = line.strip_prefix("set-cookie: ")?;
            Some(set.split(';').next()?.to_owned())
        });
        (body.to_owned(), cookie)
    }

    #[tokio::test]
    async fn the_counter_goes_on_after_a_restart() {
        let name = format!("restart-{}.sessions", std::process::id());
        let path = env::temp_dir().join(name);
        let mut cookie = String::new();
        for visits in [1, 2, 3] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = listener.local_addr().unwrap();
            let (shut_down, asked) = oneshot::channel::<()>();
            let running = tokio::spawn(run(listener, path.clone(), async {
                let _ = asked.await;
            }));
            let (body, set_cookie) = visit(server, &cookie).await;
            assert!(body.contains(&format!("<h1>visit {visits}</h1>")), "{body}");
            assert!(!path.exists());
            cookie = set_cookie.unwrap_or(cookie);
            drop(shut_down);
            running.await.unwrap().unwrap();
            let saved = fs::read(&path).await.unwrap();
            assert!(!saved.windows(6).any(|bytes| bytes == b"square"));
        }
        fs::remove_file(&path).await.unwrap();
    }
}
