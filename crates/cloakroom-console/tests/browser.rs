//! The console in a browser: headless Chromium.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output},
};

use axum::{
    Router,
    response::{IntoResponse as _, Response},
};
use cloakroom::{MemoryStore, Session, SessionLayer};
use cloakroom_console::{console, loopback};
use tower::ServiceExt as _;

/// A server with a console and forty visitors. Gives the console's address.
async fn serve() -> (String, SessionLayer) {
    let layer = SessionLayer::new(MemoryStore::default());
    let visit = async |session: Session| session.insert("n", 1);
    let app = Router::new()
        .route("/", axum::routing::get(visit))
        .layer(layer.clone());
    for _ in 0..40 {
        let request = http::Request::get("/")
            .body(axum::body::Body::empty())
            .unwrap();
        app.clone().oneshot(request).await.unwrap();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bare: Router = console(layer.sessions(), loopback());
    let bare = bare.layer(axum::middleware::map_response(lose_script));
    let app = Router::new()
        .nest("/console", console(layer.sessions(), loopback()))
        .nest("/bare", bare)
        .nest(
            "/held",
            console(layer.sessions(), loopback()).layer(axum::middleware::map_response(hold_load)),
        )
        .route("/slow.js", axum::routing::get(slow_script));
    tokio::spawn(async move {
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, app).await.unwrap();
    });
    (format!("http://localhost:{port}/console"), layer)
}

/// A page that is not loaded before a slow script is there: the browser prints it when it is loaded.
async fn hold_load(response: Response) -> Response {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let page = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    let page = page.replace("</head>", "<script async src=\"/slow.js\"></script></head>");
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(parts, page.into())
}

async fn slow_script() -> ([(http::HeaderName, &'static str); 1], &'static str) {
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    ([(http::header::CONTENT_TYPE, "text/javascript")], "")
}

/// A script that does not arrive.
async fn lose_script(response: Response) -> Response {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    match kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/javascript")) {
        true => http::StatusCode::NOT_FOUND.into_response(),
        false => response,
    }
}

fn chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    found.expect("chromium is missing: on Debian, apt-get install chromium")
}

/// A folder for the browser, which goes with it.
struct Profile(PathBuf);

impl Profile {
    fn new(name: &str) -> Self {
        let folder = format!("cloakroom-console-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(folder))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the page has become after some seconds, and what the browser said of it.
async fn open(name: &'static str, address: String) -> (String, String) {
    let output = tokio::task::spawn_blocking(move || -> Output {
        let profile = Profile::new(name);
        Command::new(chromium())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
                "--v=0",
            ])
            .args(["--timeout=20000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.0.display()))
            .arg(address)
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn breaks_no_policy(said: &str) {
    let complaint = said.lines().find(|line| line.contains("CONSOLE"));
    assert_eq!(complaint, None, "the browser complains");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_runs_under_the_policy_and_counts_what_is_selected() {
    let (address, _layer) = serve().await;
    let (page, said) = open("list", format!("{address}/sessions")).await;
    breaks_no_policy(&said);
    assert!(
        page.contains("data-selected=\"\" disabled=\"\""),
        "the script has not run: {page}"
    );
    assert_eq!(page.matches("name=\"id\"").count(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_numbers_change_while_the_page_is_open() {
    let (address, layer) = serve().await;
    let ending = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        layer.sessions().revoke_all(|_| {}).await.unwrap();
    });
    let (page, said) = open("live", address.replace("/console", "/held")).await;
    breaks_no_policy(&said);
    ending.await.unwrap();
    assert!(page.contains("data-state=\"live\""));
    let row = page.split("Revoked all").nth(1).unwrap();
    assert!(row.split("</tr>").next().unwrap().contains(">40<"), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_script_everything_is_there_too() {
    let (address, _layer) = serve().await;
    // The browser itself needs scripts to print a page, so the console's own one goes missing.
    let address = address.replace("/console", "/bare");
    let (page, _) = open("bare", address.clone()).await;
    assert!(page.contains("This process") && page.contains("<noscript>"));
    let (page, _) = open("bare-list", format!("{address}/sessions")).await;
    assert_eq!(page.matches("name=\"id\"").count(), 40);
    // Nothing counts what is selected, so the button is always good.
    assert!(page.contains("data-selected=\"\">End selected"), "{page}");
}
