//! The program of the page "OpenID Connect" of the guide.

use std::{
    fmt::Display,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Form, Router,
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse as _, Redirect, Response, Result},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use cloakroom::{CurrentUser, RequireUser, ReturnTo, Session, SessionLayer};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The settings that you get from the provider.
#[derive(Clone)]
struct Provider {
    issuer: String,
    authorization_url: String,
    token_url: String,
    client_id: String,
    client_secret: String,
    /// The address of `/callback`, as browsers see it.
    callback_url: String,
    http: reqwest::Client,
}

/// One attempt to log in. Only the browser that began it can finish it, and only once.
#[derive(Serialize, Deserialize)]
struct Attempt {
    state: String,
    nonce: String,
    verifier: String,
    return_to: String,
}

/// Each attempt has a key of its own, so that a visitor may log in in two tabs.
const ATTEMPT: &str = "log-in attempt";
const MOST_ATTEMPTS: usize = 8;

fn broken(error: impl Display) -> StatusCode {
    eprintln!("{error}");
    StatusCode::BAD_GATEWAY
}

fn random() -> std::result::Result<String, StatusCode> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(broken)?;
    Ok(BASE64URL.encode(bytes))
}

/// Sends the visitor to the provider.
async fn log_in(State(at): State<Provider>, session: Session, to: ReturnTo) -> Result<Redirect> {
    let attempt = Attempt {
        state: random()?,
        nonce: random()?,
        verifier: random()?,
        return_to: to.or("/account").to_owned(),
    };
    let challenge = BASE64URL.encode(Sha256::digest(&attempt.verifier));
    let query = [
        ("response_type", "code"),
        ("response_mode", "form_post"),
        ("scope", "openid"),
        ("client_id", &at.client_id),
        ("redirect_uri", &at.callback_url),
        ("state", &attempt.state),
        ("nonce", &attempt.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let url = reqwest::Url::parse_with_params(&at.authorization_url, query).map_err(broken)?;
    let mut begun = session.keys();
    begun.retain(|key| key.starts_with(ATTEMPT));
    if begun.len() >= MOST_ATTEMPTS {
        for key in begun {
            session.remove(&*key);
        }
    }
    session.insert(&*format!("{ATTEMPT} {}", attempt.state), &attempt)?;
    Ok(Redirect::to(url.as_str()))
}

/// What the provider lets the browser post.
#[derive(Deserialize)]
struct Callback {
    state: String,
    code: Option<String>,
    again: Option<String>,
}

async fn callback(
    State(at): State<Provider>,
    session: Session,
    Form(given): Form<Callback>,
) -> Result<Response> {
    // The form comes from the provider's site, so the browser has sent no cookie with it. It does when your own page
    // posts the form again.
    if session.is_new() && given.again.is_none() {
        return Ok(post_again(&given).into_response());
    }
    let attempt = format!("{ATTEMPT} {}", given.state);
    let Some(attempt) = session.claim::<Attempt>(&*attempt).await? else {
        // This browser has not begun it.
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let Some(code) = given.code else {
        // The visitor has declined.
        return Ok(Redirect::to("/").into_response());
    };
    let user = redeem(&at, &code, &attempt).await?;
    session.log_in(user)?;
    Ok(Redirect::to(&attempt.return_to).into_response())
}

fn post_again(given: &Callback) -> Html<String> {
    let escape = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;");
    let code = given.code.as_ref().map(|code| {
        format!(
            r#"<input type="hidden" name="code" value="{}">"#,
            escape(code)
        )
    });
    Html(format!(
        r#"<form method="post"><input type="hidden" name="state" value="{}">{}
<button name="again" value="yes">Go on</button></form>
<script>document.querySelector("button").click()</script>"#,
        escape(&given.state),
        code.unwrap_or_default()
    ))
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    sub: String,
    exp: u64,
    nonce: String,
}

/// The applications that the token is for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    /// Whether the token is for this application and no other.
    fn is(&self, client_id: &str) -> bool {
        match self {
            Self::One(id) => id == client_id,
            Self::Several(ids) => matches!(&**ids, [id] if id == client_id),
        }
    }
}

/// Exchanges the code for the user's id. The answer comes from the provider itself over TLS, which takes the place of a
/// check of the signature (OpenID Connect Core, section 3.1.3.7).
async fn redeem(at: &Provider, code: &str, attempt: &Attempt) -> Result<String> {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &at.callback_url),
        ("code_verifier", &attempt.verifier),
        ("client_id", &at.client_id),
        ("client_secret", &at.client_secret),
    ];
    let answer = at.http.post(&at.token_url).form(&form).send().await;
    let answer = answer
        .and_then(|answer| answer.error_for_status())
        .map_err(broken)?;
    let tokens: Tokens = answer.json().await.map_err(broken)?;
    let payload = tokens.id_token.split('.').nth(1).unwrap_or_default();
    let payload = BASE64URL.decode(payload).map_err(broken)?;
    let claims: Claims = serde_json::from_slice(&payload).map_err(broken)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(broken)?;
    let is_ours = claims.iss == at.issuer
        && claims.aud.is(&at.client_id)
        && claims.nonce == attempt.nonce
        && claims.exp > now.as_secs();
    if !is_ours {
        return Err(StatusCode::BAD_REQUEST.into());
    }
    Ok(claims.sub)
}

async fn home() -> Html<&'static str> {
    Html(r#"<a href="/account">Log in</a>"#)
}

async fn account(CurrentUser(user): CurrentUser) -> String {
    user
}

fn app(provider: Provider) -> Router {
    Router::new()
        .route("/account", get(account))
        .route_layer(RequireUser::new())
        .route("/", get(home))
        .route("/login", get(log_in))
        .route("/callback", axum::routing::post(callback))
        .with_state(provider)
        .layer(SessionLayer::default().log_in_page("/login"))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // A provider that is slow or redirects must not hold the log-in up, or send the secret elsewhere.
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let provider = Provider {
        issuer: "https://id.example.com".to_owned(),
        authorization_url: "https://id.example.com/authorize".to_owned(),
        token_url: "https://id.example.com/token".to_owned(),
        client_id: "shop".to_owned(),
        client_secret: std::env::var("CLIENT_SECRET").expect("CLIENT_SECRET is set"),
        callback_url: "http://localhost:3000/callback".to_owned(),
        http,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(provider)).await?)
}

#[cfg(test)]
#[path = "../tests/openid_connect.rs"]
mod tests;
