//! The program of the page "OpenID Connect" of the guide.

use std::{
    fmt::Display,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Form, Router,
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse as _, Redirect, Response, Result},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use cloakroom::{CurrentUser, Key, RequireUser, ReturnTo, Session, SessionLayer};
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

const ATTEMPT: Key<Attempt> = Key::new("log-in attempt");

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
    session.insert(ATTEMPT, &attempt)?;
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
    let Some(attempt) = session.claim(ATTEMPT).await? else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let (Some(code), true) = (given.code, given.state == attempt.state) else {
        // Somebody else's code, or the visitor has declined.
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
    aud: String,
    sub: String,
    exp: u64,
    nonce: String,
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
        && claims.aud == at.client_id
        && claims.nonce == attempt.nonce
        && claims.exp > now.as_secs();
    if !is_ours {
        return Err(StatusCode::BAD_REQUEST.into());
    }
    Ok(claims.sub)
}

async fn account(CurrentUser(user): CurrentUser) -> String {
    user
}

fn app(provider: Provider) -> Router {
    Router::new()
        .route("/account", get(account))
        .route_layer(RequireUser::new())
        .route("/login", get(log_in))
        .route("/callback", axum::routing::post(callback))
        .with_state(provider)
        .layer(SessionLayer::default().log_in_page("/login"))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let provider = Provider {
        issuer: "https://id.example.com".to_owned(),
        authorization_url: "https://id.example.com/authorize".to_owned(),
        token_url: "https://id.example.com/token".to_owned(),
        client_id: "shop".to_owned(),
        client_secret: std::env::var("CLIENT_SECRET")?,
        callback_url: "http://localhost:3000/callback".to_owned(),
        http: reqwest::Client::new(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(provider)).await?)
}

#[cfg(test)]
#[path = "../tests/openid_connect.rs"]
mod tests;
