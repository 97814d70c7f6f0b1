//! What a visitor of the example `application` does, step by step.

use axum::{
    body::{Body, to_bytes},
    http::{Request, header, request},
};
use tower::ServiceExt as _;

use super::*;

/// A browser without a page: its cookie, and who it says it is.
struct Visitor {
    app: Router,
    agent: &'static str,
    cookie: Option<String>,
}

impl Visitor {
    fn new(app: &Router, agent: &'static str) -> Self {
        Self {
            app: app.clone(),
            agent,
            cookie: None,
        }
    }

    /// The status, where it leads, and the body.
    async fn send(&mut self, request: request::Builder, body: &str) -> (u16, String, String) {
        let mut request = request
            .header("sec-fetch-mode", "navigate")
            .header("user-agent", self.agent)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap());
        if let Some(cookie) = text(header::SET_COOKIE) {
            let pair = cookie.split(';').next().unwrap().to_owned();
            self.cookie = (!cookie.contains("Max-Age=0")).then_some(pair);
        }
        let to = text(header::LOCATION).unwrap_or_default().to_owned();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (parts.status.as_u16(), to, body)
    }

    async fn get(&mut self, path: &str) -> (u16, String, String) {
        self.send(Request::get(path), "").await
    }

    async fn body(&mut self, path: &str) -> String {
        self.get(path).await.2
    }

    /// Where a form leads.
    async fn post(&mut self, path: &str, form: &str) -> String {
        self.send(Request::post(path), form).await.1
    }
}

const ANN: &str = "name=Ann&password=correct+horse";

#[tokio::test]
async fn a_visitor_fills_a_cart_signs_up_on_the_way_and_pays_once() {
    let mut ann = Visitor::new(&app(), "Firefox");
    ann.post("/cart", "").await;
    ann.post("/cart", "").await;
    assert_eq!(ann.get("/pay").await.1, "/login?next=%2Fpay");
    let page = ann.body("/login?next=%2Fpay").await;
    assert!(page.contains(r#"action="/signup?next=%2Fpay""#));
    assert_eq!(ann.post("/signup?next=%2Fpay", ANN).await, "/pay");
    let page = ann.body("/pay").await;
    assert!(page.contains("Welcome!") && page.contains("Pay for 2 hats"));
    assert_eq!(ann.body("/api/me").await, r#"{"hats":2,"name":"Ann"}"#);
    ann.post("/pay", "").await;
    ann.post("/pay", "").await;
    let page = ann.body("/").await;
    assert!(page.contains("Paid for 2 hats.") && page.contains("nothing to pay"));
    assert!(!ann.body("/").await.contains("Paid"));
}

#[tokio::test]
async fn a_change_of_the_password_logs_the_other_device_out_and_each_is_in_the_list() {
    let app = app();
    let (mut ann, mut phone) = (Visitor::new(&app, "Firefox"), Visitor::new(&app, "Phone"));
    ann.post("/signup", ANN).await;
    assert_eq!(phone.post("/login?next=//evil.example", ANN).await, "/");
    let page = ann.body("/account").await;
    assert!(page.contains("Firefox (this one)") && page.contains("Phone <form"));
    ann.post("/password", "password=another+horse").await;
    assert!(ann.body("/account").await.contains("The other devices"));
    assert_eq!(phone.get("/account").await.1, "/login?next=%2Faccount");
    assert_eq!(phone.post("/login", ANN).await, "/login");
    assert!(phone.body("/login").await.contains("not the password"));
}

#[tokio::test]
async fn only_who_signed_up_first_sees_the_users_and_another_site_logs_nobody_in() {
    let app = app();
    let (mut ann, mut bob) = (Visitor::new(&app, "Firefox"), Visitor::new(&app, "Firefox"));
    ann.post("/signup", ANN).await;
    bob.post("/signup", "name=Bob&password=battery+staple")
        .await;
    assert!(ann.body("/admin").await.contains("Ann, Bob"));
    assert_eq!(bob.get("/admin").await.0, 404);
    assert_eq!(bob.get("/nowhere").await.0, 404);
    assert_eq!(bob.post("/signup", ANN).await, "/login");
    let (status, _) = site::tests::form_from_another_site(&app, "/login").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_cart_outlives_a_log_out() {
    let mut ann = Visitor::new(&app(), "Firefox");
    ann.post("/signup", ANN).await;
    ann.post("/cart", "").await;
    assert_eq!(ann.post("/logout", "").await, "/");
    let page = ann.body("/").await;
    assert!(page.contains("logged out") && page.contains("Hats in your cart: 1"));
    assert_eq!(ann.get("/account").await.1, "/login?next=%2Faccount");
}
