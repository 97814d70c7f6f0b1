//! What a visitor of the example `application` does, step by step.

use axum::{
    body::{Body, to_bytes},
    http::{Request, header, request},
};
use tower::ServiceExt as _;

use super::*;

/// A browser: its cookie and its `User-Agent`.
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

    /// The status, the `Location`, and the body.
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
    ann.post("/password", "password=short").await;
    assert!(
        ann.body("/password")
            .await
            .contains("At least 8 characters")
    );
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

/// A request of the mobile app: the status, `WWW-Authenticate`, the token in the answer, and the body.
async fn call(
    app: &Router,
    request: request::Builder,
    token: &str,
    body: &str,
) -> (u16, String, Option<String>, String) {
    let mut request = request
        .header("user-agent", "Shop for phones")
        .header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, token);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    assert!(!parts.headers.contains_key(header::SET_COOKIE));
    let all = |name| parts.headers.get_all(name).iter();
    let challenges: Vec<_> = all(header::WWW_AUTHENTICATE)
        .map(|value| value.to_str().unwrap())
        .collect();
    let token = all(header::AUTHORIZATION).next();
    let token = token.map(|value| value.to_str().unwrap().to_owned());
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    (parts.status.as_u16(), challenges.join("; "), token, body)
}

#[tokio::test]
async fn the_mobile_app_has_its_token_in_a_header_and_the_browser_ends_it() {
    let app = app();
    let mut ann = Visitor::new(&app, "Firefox");
    ann.post("/signup", ANN).await;
    let log_in = async |password: &str| {
        let given = json!({ "name": "Ann", "password": password }).to_string();
        call(&app, Request::post("/api/login"), "", &given).await
    };
    let (status, _, none, body) = log_in("guess").await;
    assert_eq!((status, none), (403, None));
    assert!(body.contains("not the password"), "{body}");
    let (status, _, token, _) = log_in("correct horse").await;
    let token = token.unwrap();
    assert_eq!(status, 200);
    assert!(token.starts_with("Bearer "));
    let (_, _, issued, body) = call(&app, Request::post("/api/cart"), &token, "").await;
    assert_eq!((issued, &*body), (None, r#"{"hats":1}"#));
    let (_, _, _, body) = call(&app, Request::get("/api/me"), &token, "").await;
    assert_eq!(body, r#"{"hats":1,"name":"Ann"}"#);
    // The token does not work as a cookie, and the cookie does not work as a token.
    let mut thief = Visitor::new(&app, "Curl");
    thief.cookie = Some(token.replace("Bearer ", "__Host-id="));
    assert_eq!(thief.get("/account").await.1, "/login?next=%2Faccount");
    let cookie = ann.cookie.clone().unwrap();
    let stolen = cookie.replace("__Host-id=", "Bearer ");
    let (status, challenge, _, _) = call(&app, Request::get("/api/me"), &stolen, "").await;
    assert_eq!(status, 401);
    assert!(challenge.contains(r#"Bearer realm="__Host-id", error="invalid_token""#));
    // The user sees the app among the devices, and logs it out.
    let page = ann.body("/account").await;
    let row = page.split("<li>").find(|row| row.contains("phones"));
    let id = row.unwrap().split("value=\"").nth(1).unwrap();
    let id = id.split('"').next().unwrap();
    ann.post("/account/end", &format!("id={id}")).await;
    let (status, challenge, _, _) = call(&app, Request::get("/api/me"), &token, "").await;
    assert_eq!(status, 401);
    assert!(challenge.contains("invalid_token"), "{challenge}");
    // It may end itself too.
    let (_, _, token, _) = log_in("correct horse").await;
    let (status, _, forget, _) =
        call(&app, Request::post("/api/logout"), &token.unwrap(), "").await;
    assert_eq!((status, forget), (204, Some(String::new())));
}
