//! The console in a browser.

#[path = "../../cloakroom-guide/tests/chromium.rs"]
mod chromium;

use std::net::SocketAddr;

use axum::{Router, body::Body, routing::get};
use cloakroom::{MemoryStore, Session, SessionLayer};
use cloakroom_console::{console, loopback};
use serde_json::json;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use self::chromium::Browser;

/// A server with a console and forty visitors, for as long as it is kept.
struct Site {
    runtime: Runtime,
    layer: SessionLayer,
    /// The address of the console.
    address: String,
}

impl Site {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let layer = SessionLayer::new(MemoryStore::default());
        let address = runtime.block_on(serve(&layer));
        Self {
            runtime,
            layer,
            address,
        }
    }
}

async fn serve(layer: &SessionLayer) -> String {
    let visit = async |session: Session| session.insert("n", 1);
    let app = Router::new().route("/", get(visit)).layer(layer.clone());
    for _ in 0..40 {
        let request = http::Request::get("/").body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new().nest("/console", console(layer.sessions(), loopback()));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://localhost:{port}/console")
}

/// The element that an attribute names.
fn element(attribute: &str) -> String {
    format!(
        "document.querySelector({})",
        json!(format!("[{attribute}]"))
    )
}

#[test]
fn the_script_runs_under_the_policy_and_counts_what_is_selected() {
    let (site, browser) = (Site::start(), Browser::start());
    let page = browser.visitor();
    page.go(&format!("{}/sessions", site.address));
    let button = element("data-selected");
    page.wait_until(&format!("{button}.disabled"));
    let boxes = "document.querySelectorAll('[name=id]')";
    assert_eq!(page.run(&format!("{boxes}.length")), 40);
    page.run(&format!("{boxes}[0].click(); {boxes}[1].click()"));
    page.wait_until(&format!("!{button}.disabled"));
    page.wait_until(&format!("/\\b2\\b/.test({button}.innerText)"));
    assert_eq!(page.complaints(), json!([]));
    // What the policy does not allow is noticed.
    page.run("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))");
    page.wait_until("complaints.length === 1");
}

#[test]
fn live_numbers_change_while_the_page_is_open() {
    let (site, browser) = (Site::start(), Browser::start());
    let page = browser.visitor();
    page.go(&site.address);
    page.wait_until(&format!("{} !== null", element("data-state=live")));
    let revoked = "Array.from(document.querySelectorAll('tr'))
        .find(row => row.innerText.includes('Revoked all')).innerText";
    assert!(!page.run(revoked).to_string().contains("40"));
    let revoking = site.layer.sessions();
    let revoking = site.runtime.block_on(revoking.revoke_all(|_| {}));
    assert_eq!(revoking.unwrap(), 40);
    page.wait_until(&format!("/\\b40\\b/.test({revoked})"));
    assert_eq!(page.complaints(), json!([]));
}

#[test]
fn without_its_script_everything_is_there_too() {
    let (site, browser) = (Site::start(), Browser::start());
    let page = browser.visitor();
    page.turn_scripts_off();
    page.go(&site.address);
    let text = page.text();
    assert!(text.contains("This process"), "{text}");
    let refresh = "document.querySelector('noscript meta[http-equiv=refresh]') !== null";
    assert_eq!(page.run(refresh), true);
    page.go(&format!("{}/sessions", site.address));
    assert_eq!(
        page.run("document.querySelectorAll('[name=id]').length"),
        40
    );
    // Nothing counts what is selected, so the button always works.
    let button = element("data-selected");
    assert_eq!(page.run(&format!("{button}.disabled")), false);
    let label = page.run(&format!("{button}.innerText")).to_string();
    assert!(label.contains("End selected"), "{label}");
}
