//! The example `application` in a browser, headless Chromium, and with curl as its mobile app.

#[path = "../../../examples/application.rs"]
#[allow(dead_code, unreachable_pub)] // It is a program of its own.
mod application;
mod chromium;

use std::{process::Command, time::Duration};

use cloakroom::{SessionLayer, testing::FixedClock};
use serde_json::json;

use self::chromium::{Browser, Page};

async fn serve(layer: SessionLayer) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = application::app_with(layer);
    tokio::spawn(async { axum::serve(listener, app).await });
    format!("http://localhost:{port}")
}

/// What curl prints for these arguments.
async fn curl(arguments: Vec<String>) -> String {
    let output = tokio::task::spawn_blocking(|| {
        let curl = Command::new("curl")
            .args(["-s", "-i"])
            .args(arguments)
            .output();
        curl.expect("curl is missing").stdout
    });
    String::from_utf8(output.await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_has_a_token_as_the_mobile_app_does() {
    let site = serve(SessionLayer::default()).await;
    let url = |path: &str| format!("{site}{path}");
    let form = "name=Ann&password=correct+horse".to_owned();
    let page = curl(vec!["-d".to_owned(), form, url("/signup")]).await;
    assert!(
        page.starts_with("HTTP/1.1 303") && page.contains("set-cookie: __Host-id="),
        "{page}"
    );
    let json = |body: &str| {
        let kind = "Content-Type: application/json".to_owned();
        vec!["-H".to_owned(), kind, "-d".to_owned(), body.to_owned()]
    };
    let mut log_in = json(r#"{"name":"Ann","password":"correct horse"}"#);
    log_in.push(url("/api/login"));
    let answer = curl(log_in).await;
    let token = answer
        .lines()
        .find(|line| line.starts_with("authorization: "));
    let token = token.unwrap_or_else(|| panic!("no token: {answer}"));
    assert!(!answer.contains("set-cookie") && answer.contains("cache-control: no-store"));
    let add = ["-X", "POST", "-H", token].map(str::to_owned).to_vec();
    let added = curl([add, vec![url("/api/cart")]].concat()).await;
    assert!(added.ends_with(r#"{"hats":1}"#), "{added}");
    let me = curl(vec!["-H".to_owned(), token.to_owned(), url("/api/me")]).await;
    assert!(me.ends_with(r#"{"hats":1,"name":"Ann"}"#), "{me}");
    let refused = curl(vec![url("/api/me")]).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    for scheme in ["Cookie", "Bearer"] {
        let challenge = format!("www-authenticate: {scheme} realm=\"__Host-id\"\r\n");
        assert!(refused.contains(&challenge), "{refused}");
    }
}

/// Fills in a form that asks for a name and a password, and sends it.
#[track_caller]
fn enter(page: &Page<'_>, form: &str) {
    page.fill(&format!("{form} [name=name]"), "Ann");
    page.fill(&format!("{form} [name=password]"), "correct horse");
    page.click(&format!("{form} button"));
}

#[track_caller]
fn shows(page: &Page<'_>, text: &str) {
    let all = page.text();
    assert!(all.contains(text), "no {text:?} on {}: {all}", page.path());
}

/// A message is there once.
#[track_caller]
fn shows_once(page: &Page<'_>, text: &str) {
    shows(page, text);
    page.reload();
    let all = page.text();
    assert!(!all.contains(text), "{text:?} again: {all}");
}

const LOG_IN: &str = "form[action^='/login']";
const SIGN_UP: &str = "form[action^='/signup']";

fn buys_and_pays(ann: &Page<'_>, clock: &FixedClock, site: &str) {
    ann.go(site);
    shows(ann, "Hats in your cart: 0");
    ann.click("[action='/cart'] button");
    ann.click("[action='/cart'] button");
    shows(ann, "Hats in your cart: 2");
    // To pay, one has to sign up.
    ann.click("[href='/pay']");
    assert_eq!(ann.path(), "/login?next=%2Fpay");
    ann.fill(&format!("{SIGN_UP} [name=name]"), "Ann");
    ann.fill(&format!("{SIGN_UP} [name=password]"), "short");
    ann.click(&format!("{SIGN_UP} button"));
    shows_once(ann, "at least eight characters");
    enter(ann, SIGN_UP);
    assert_eq!(ann.path(), "/pay");
    shows(ann, "Pay for 2 hats");
    shows_once(ann, "Welcome!");
    // Later, it asks for the password again.
    clock.advance(Duration::from_secs(6 * 60));
    ann.reload();
    assert_eq!(ann.path(), "/confirm?next=%2Fpay");
    ann.fill("[name=password]", "a guess");
    ann.click("form button");
    shows_once(ann, "That is not the password.");
    ann.fill("[name=password]", "correct horse");
    ann.click("form button");
    assert_eq!(ann.path(), "/pay");
    ann.click("form button");
    shows_once(ann, "Paid for 2 hats.");
    shows(ann, "Hats in your cart: 0");
}

fn has_a_cookie_that_no_script_reads(ann: &Page<'_>, is_remembered: bool) {
    assert_eq!(ann.run("document.cookie"), "");
    let cookies = ann.cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let cookie = &cookies[0];
    assert_eq!(cookie["name"], "__Host-id");
    assert_eq!(cookie["httpOnly"], true);
    assert_eq!(cookie["secure"], true);
    assert_eq!(cookie["sameSite"], "Lax");
    assert_eq!(cookie["session"], !is_remembered);
}

fn ends_the_other_device(ann: &Page<'_>, phone: &Page<'_>, site: &str) {
    phone.go(&format!("{site}/login"));
    phone.run("document.querySelector('[name=remember]').checked = true");
    enter(phone, LOG_IN);
    shows_once(phone, "Welcome!");
    shows(phone, "Hello, Ann.");
    has_a_cookie_that_no_script_reads(phone, true);
    // The page on the one device has a socket. The other device ends its session.
    ann.go(&format!("{site}/account"));
    assert_eq!(ann.run("document.querySelectorAll('li').length"), 2);
    ann.wait_until("socket.readyState === WebSocket.OPEN");
    phone.click("[href='/account']");
    phone.run("document.querySelectorAll('li').forEach(row => row.id = row.innerText.includes('this one') ? 'mine' : 'other')");
    phone.click("#other button");
    assert_eq!(phone.run("document.querySelectorAll('li').length"), 1);
    ann.wait_until("document.getElementById('state').innerText === 'You are logged out.'");
    ann.wait_until("socket.readyState === WebSocket.CLOSED");
    ann.reload();
    assert_eq!(ann.path(), "/login?next=%2Faccount");
}

fn changes_the_password_and_logs_out(ann: &Page<'_>, phone: &Page<'_>) {
    enter(ann, LOG_IN);
    assert_eq!(ann.path(), "/account");
    ann.click("[href='/password']");
    ann.fill("[name=password]", "battery staple");
    ann.click("form button");
    shows_once(ann, "The other devices are logged out.");
    phone.reload();
    assert_eq!(phone.path(), "/login?next=%2Faccount");
    ann.click("[href='/']");
    ann.click("[action='/cart'] button");
    ann.click("[action='/logout'] button");
    shows_once(ann, "You have logged out.");
    // The cart stays.
    shows(ann, "Hats in your cart: 1");
    shows(ann, "Log in or sign up");
}

/// For a browser, `127.0.0.1` is another site than `localhost`.
fn another_site_cannot_log_in(eve: &Page<'_>, site: &str) {
    eve.go(&site.replace("localhost", "127.0.0.1"));
    eve.run(&format!(
        "document.body.innerHTML = '<form method=post><input name=name><input name=password><button></button></form>';
         document.forms[0].action = {}; undefined",
        json!(format!("{site}/login"))
    ));
    enter(eve, "form");
    shows(eve, "This form belongs to another site.");
    assert_eq!(eve.cookies(), [] as [serde_json::Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_of_a_visitor_in_chromium() {
    let clock = FixedClock::default();
    let site = serve(SessionLayer::default().clock(clock.clone())).await;
    let visit = tokio::task::spawn_blocking(move || {
        let browser = Browser::start();
        let (ann, phone) = (browser.visitor(), browser.visitor());
        buys_and_pays(&ann, &clock, &site);
        has_a_cookie_that_no_script_reads(&ann, false);
        ends_the_other_device(&ann, &phone, &site);
        changes_the_password_and_logs_out(&ann, &phone);
        another_site_cannot_log_in(&browser.visitor(), &site);
    });
    visit.await.unwrap();
}
