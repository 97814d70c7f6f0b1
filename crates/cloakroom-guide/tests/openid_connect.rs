//! The program of the page "OpenID Connect", with a provider on this machine.

mod chromium;
mod support;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, Request},
    middleware::map_request,
    routing::post,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::{chromium::Browser, support::Visitor};
use super::*;

/// What a query or a form has.
type Fields = HashMap<String, String>;
/// What the provider was asked, by the code that it gave out.
type Asked = Arc<Mutex<HashMap<String, Fields>>>;

struct Played {
    issuer: String,
    asked: Asked,
}

impl Played {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let app = Router::new()
            .route("/token", post(token))
            .route("/authorize", get(authorize))
            .with_state((issuer.clone(), Arc::clone(&asked)));
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { issuer, asked }
    }

    fn app(&self, site: &str) -> Router {
        app(Provider {
            issuer: self.issuer.clone(),
            authorization_url: format!("{}/authorize", self.issuer),
            token_url: format!("{}/token", self.issuer),
            client_id: "shop".to_owned(),
            client_secret: "a secret".to_owned(),
            callback_url: format!("{site}/callback"),
            http: reqwest::Client::new(),
        })
    }

    /// A visitor comes with this address, and agrees. The form that their browser posts.
    async fn agree(&self, url: &str, code: &str) -> String {
        let url: reqwest::Url = url.parse().unwrap();
        let asked: Fields = url.query_pairs().into_owned().collect();
        assert!(url.as_str().starts_with(&self.issuer));
        assert_eq!(asked["response_mode"], "form_post");
        assert_eq!(asked["code_challenge_method"], "S256");
        let form = format!("code={code}&state={}", asked["state"]);
        self.asked.lock().await.insert(code.to_owned(), asked);
        form
    }
}

/// The page of the provider, where the visitor has agreed: their browser posts the form.
async fn authorize(
    State((_, all)): State<(String, Asked)>,
    Query(asked): Query<Fields>,
) -> Html<String> {
    let page = format!(
        r#"<form method="post" action="{}"><input name="code" value="browser"><input name="state" value="{}"></form>
<script>document.forms[0].submit()</script>"#,
        asked["redirect_uri"], asked["state"]
    );
    all.lock().await.insert("browser".to_owned(), asked);
    Html(page)
}

async fn token(
    State((issuer, asked)): State<(String, Asked)>,
    Form(form): Form<Fields>,
) -> Result<Json<Value>, StatusCode> {
    // A code is good once, and for who began.
    let asked = asked.lock().await.remove(&form["code"]);
    let asked = asked.ok_or(StatusCode::BAD_REQUEST)?;
    let proof = BASE64URL.encode(Sha256::digest(&form["code_verifier"]));
    if proof != asked["code_challenge"] || form["client_secret"] != "a secret" {
        return Err(StatusCode::BAD_REQUEST);
    }
    let nonce = match form["code"].as_str() {
        "replayed" => "of another attempt",
        _ => &asked["nonce"],
    };
    let audience = match form["code"].as_str() {
        "for several" => json!(["shop", "a shop that nobody knows"]),
        "for one" => json!(["shop"]),
        _ => json!("shop"),
    };
    let claims = json!({"iss": issuer, "aud": audience, "sub": "ann", "exp": 4_000_000_000_u64, "nonce": nonce});
    let payload = BASE64URL.encode(claims.to_string());
    Ok(Json(json!({"id_token": format!("e30.{payload}.c2ln")})))
}

#[tokio::test]
async fn a_visitor_logs_in_at_the_provider_and_comes_back_to_where_they_were() {
    let provider = Played::start().await;
    let mut ann = Visitor::new(&provider.app("http://localhost"), "Firefox");
    assert_eq!(
        ann.get("/account?page=2").await.to,
        "/login?next=%2Faccount%3Fpage%3D2"
    );
    let to = ann.get("/login?next=%2Faccount%3Fpage%3D2").await.to;
    let form = provider.agree(&to, "good").await;
    // From the provider's site, the browser sends no cookie.
    let cookie = ann.cookie.take();
    let page = ann.post("/callback", &form).await;
    assert!(page.body.contains("name=\"again\"") && page.body.contains("value=\"good\""));
    assert_eq!((page.status, &ann.cookie), (StatusCode::OK, &None));
    // From the page's own site, it does.
    ann.cookie.clone_from(&cookie);
    let form = form + "&again=yes";
    assert_eq!(ann.post("/callback", &form).await.to, "/account?page=2");
    assert_ne!(ann.cookie, cookie);
    assert_eq!(ann.get("/account").await.body, "ann");
    // The attempt is used up.
    let twice = ann.post("/callback", &form).await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn nobody_finishes_what_another_has_begun() {
    let provider = Played::start().await;
    let app = provider.app("http://localhost");
    let (mut ann, mut eve) = (Visitor::new(&app, "Firefox"), Visitor::new(&app, "Firefox"));
    let to = eve.get("/login").await.to;
    let form = provider.agree(&to, "of Eve").await + "&again=yes";
    // Ann has begun nothing, or something else.
    let refused = ann.post("/callback", &form).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    ann.get("/login").await;
    let refused = ann.post("/callback", &form).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(ann.get("/account").await.to, "/login?next=%2Faccount");
}

#[tokio::test]
async fn a_visitor_may_log_in_in_several_tabs_and_their_number_is_bounded() {
    let provider = Played::start().await;
    let mut ann = Visitor::new(&provider.app("http://localhost"), "Firefox");
    let first = ann.get("/login?next=/account?tab=1").await.to;
    let second = ann.get("/login?next=/account?tab=2").await.to;
    // A link of somebody else uses no attempt up.
    let refused = ann.post("/callback", "code=x&state=invented&again=yes");
    assert_eq!(refused.await.status, StatusCode::BAD_REQUEST);
    for (to, tab) in [(first, "/account?tab=1"), (second, "/account?tab=2")] {
        let form = provider.agree(&to, "good").await + "&again=yes";
        assert_eq!(ann.post("/callback", &form).await.to, tab);
    }
    for _ in 0..1000 {
        assert_eq!(ann.get("/login").await.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn a_token_for_other_applications_too_logs_nobody_in() {
    let provider = Played::start().await;
    let mut ann = Visitor::new(&provider.app("http://localhost"), "Firefox");
    for (code, expected) in [
        ("for several", StatusCode::BAD_REQUEST),
        ("for one", StatusCode::SEE_OTHER),
    ] {
        let to = ann.get("/login").await.to;
        let form = provider.agree(&to, code).await + "&again=yes";
        assert_eq!(ann.post("/callback", &form).await.status, expected);
    }
}

#[tokio::test]
async fn a_token_of_another_attempt_and_a_visitor_who_declines_log_nobody_in() {
    let provider = Played::start().await;
    let mut ann = Visitor::new(&provider.app("http://localhost"), "Firefox");
    let to = ann.get("/login?next=//evil.example").await.to;
    let form = provider.agree(&to, "replayed").await;
    let refused = ann.post("/callback", &form).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let to = ann.get("/login").await.to;
    let form = provider.agree(&to, "unused").await;
    let declined = form.replace("code=unused", "error=access_denied");
    assert_eq!(ann.post("/callback", &declined).await.to, "/");
    assert_eq!(ann.get("/account").await.to, "/login?next=%2Faccount");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_does_not_come_with_the_providers_form_but_with_the_next_one() {
    let provider = Played::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    // For a browser, this is another site than the provider's 127.0.0.1.
    let site = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let callbacks = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&callbacks);
    let app = provider
        .app(&site)
        .layer(map_request(move |request: Request| {
            if request.uri().path() == "/callback" {
                seen.lock()
                    .unwrap()
                    .push(request.headers().contains_key("cookie"));
            }
            async { request }
        }));
    tokio::spawn(async { axum::serve(listener, app).await });
    let address = format!("{site}/account?page=2");
    let visit = tokio::task::spawn_blocking(move || {
        let browser = Browser::start();
        let ann = browser.visitor();
        ann.go(&address);
        // The pages on the way go on by themselves.
        ann.wait_until("location.pathname === '/account' && document.body.innerText === 'ann'");
        assert_eq!(ann.path(), "/account?page=2");
    });
    visit.await.unwrap();
    assert_eq!(*callbacks.lock().unwrap(), [false, true]);
}
