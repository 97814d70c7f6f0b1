//! Log-in and log-out with a form, "remember me", a flash message, and a page
//! for users alone: `cargo run --example login`.
//!
//! What changes something is a POST, and the cookie is `SameSite=Lax`: another
//! site can neither log a visitor in nor out.

use std::{env, process::ExitCode, time::Duration};

use axum::{
    Form, Router,
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{header, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use cloakroom::{Error, Key, Session, SessionLayer};
use serde::Deserialize;
use tokio::net::TcpListener;

const FLASH: Key<String> = Key::new("flash");
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Without "remember me", a session ends after an hour unseen, after a day at
/// the latest, and with the browser.
pub fn app() -> Router {
    Router::new()
        .route("/", get(entrance))
        .route("/login", post(log_in))
        .route("/members", get(members))
        .route("/logout", post(log_out))
        .layer(SessionLayer::default())
}

/// Only for demonstration: everybody has the same password. A real service
/// looks up a slow, salted hash, and limits how often one may try.
fn is_right(name: &str, password: &str) -> bool {
    !name.is_empty() && password == "open sesame"
}

/// A handler that takes one is for users alone; everybody else is sent to the entrance.
struct User {
    name: String,
    session: Session,
}

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let session = <Session as OptionalFromRequestParts<S>>::from_request_parts(parts, state)
            .await
            .map_err(Error::into_response)?;
        match session.and_then(|session| Some((session.user()?, session))) {
            Some((name, session)) => Ok(Self { name, session }),
            None => Err(Redirect::to("/").into_response()),
        }
    }
}

async fn entrance(session: Session) -> Result<Response, Error> {
    if session.user().is_some() {
        return Ok(Redirect::to("/members").into_response());
    }
    let flash = session.claim(FLASH).await?;
    Ok(form(flash.as_deref()).into_response())
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
    remember: Option<String>,
}

async fn log_in(session: Session, Form(given): Form<Credentials>) -> Result<Redirect, Error> {
    let name = given.name.trim();
    if !is_right(name, &given.password) {
        session.insert(FLASH, "That is not the password.".to_owned())?;
        return Ok(Redirect::to("/"));
    }
    if session.user().is_some() {
        // Nothing of an earlier log-in stays, its lifetime neither.
        session.destroy();
    }
    session.log_in(name)?;
    if given.remember.is_some() {
        session.remember_for(MONTH);
    }
    session.insert(FLASH, "Welcome! Your coat is in good hands.".to_owned())?;
    Ok(Redirect::to("/members"))
}

async fn members(user: User) -> Result<Page, Error> {
    // Of two tabs that load at once, one shows it.
    let flash = user.session.claim(FLASH).await?;
    let body = format!(
        r#"{flash}<h1>Hello, {name}</h1>
<p>Only users see this page. After you have logged out, the back button does not show it again.</p>
<form method="post" action="/logout">
<button>Log out</button>
</form>"#,
        flash = banner(flash.as_deref()),
        name = escape(&user.name),
    );
    Ok(page("Members", &body))
}

async fn log_out(session: Session) -> Result<Redirect, Error> {
    if session.user().is_some() {
        session.destroy();
        // This begins a new session, of nobody.
        session.insert(FLASH, "You have logged out.".to_owned())?;
    }
    Ok(Redirect::to("/"))
}

fn form(message: Option<&str>) -> Page {
    let body = format!(
        r#"{message}<h1>Log in</h1>
<form method="post" action="/login">
<label>Name <input name="name" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<label class="check"><input name="remember" type="checkbox"> Remember me for 30 days</label>
<button>Log in</button>
</form>
<p class="hint">A demonstration: any name, and the password <code>open sesame</code>.</p>"#,
        message = banner(message),
    );
    page("Log in", &body)
}

fn banner(message: Option<&str>) -> String {
    message.map_or_else(String::new, |message| {
        format!(
            "<p class=\"banner\" role=\"status\">{}</p>\n",
            escape(message)
        )
    })
}

/// The browser must not keep a page that the next person at the keyboard could go back to.
type Page = ([(header::HeaderName, &'static str); 1], Html<String>);

fn page(title: &str, body: &str) -> Page {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    let html = format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; padding: 8vh 1rem; font: 1rem/1.5 system-ui, sans-serif; color: #2b2b33; background: #f4f1ec }}
main {{ max-width: 24rem; margin: auto; padding: 2rem; background: #fff; border-radius: 0.5rem; box-shadow: 0 1px 6px #0002 }}
h1 {{ margin: 0 0 1rem; font-size: 1.6rem; color: #8a3b2e; overflow-wrap: anywhere }}
label {{ display: block; margin-bottom: 1rem }}
input:not([type=checkbox]) {{ display: block; box-sizing: border-box; width: 100%; padding: 0.5rem; font: inherit;
  border: 1px solid #8f8a83; border-radius: 0.25rem }}
button {{ padding: 0.5rem 1.25rem; font: inherit; color: #fff; background: #8a3b2e; border: 0; border-radius: 0.25rem; cursor: pointer }}
.banner {{ margin: 0 0 1.5rem; padding: 0.5rem 1rem; background: #fbeed5; border-left: 0.25rem solid #c98a1b }}
.hint {{ margin: 1.5rem 0 0; font-size: 0.9rem; color: #5f5b56 }}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"#
    );
    (headers, Html(html))
}

/// What somebody entered, as text in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[tokio::main]
async fn main() -> ExitCode {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let address = format!("127.0.0.1:{port}");
    let listener = match TcpListener::bind(&address).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}; set PORT to a free port");
            return ExitCode::FAILURE;
        }
    };
    // Browsers accept Secure cookies on localhost over plain http.
    println!("http://localhost:{port}");
    match axum::serve(listener, app()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the server stopped: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{HeaderMap, Request, StatusCode},
    };
    use tower::ServiceExt;

    use super::*;

    const ANN: &str = "name=Ann&password=open+sesame";

    /// Somebody with a cookie, or without one.
    struct Visitor {
        app: Router,
        cookie: Option<String>,
    }

    struct Reply {
        status: StatusCode,
        headers: HeaderMap,
        body: String,
    }

    impl Reply {
        fn header(&self, name: header::HeaderName) -> &str {
            self.headers
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        }
    }

    impl Visitor {
        fn new() -> Self {
            Self {
                app: app(),
                cookie: None,
            }
        }

        async fn get(&mut self, path: &str) -> Reply {
            self.send(Request::get(path), "").await
        }

        async fn post(&mut self, path: &str, form: &'static str) -> Reply {
            let form_type = "application/x-www-form-urlencoded";
            let request = Request::post(path).header(header::CONTENT_TYPE, form_type);
            self.send(request, form).await
        }

        async fn send(
            &mut self,
            mut request: axum::http::request::Builder,
            body: &'static str,
        ) -> Reply {
            if let Some(cookie) = &self.cookie {
                request = request.header(header::COOKIE, cookie);
            }
            let request = request.body(Body::from(body)).unwrap();
            let response = self.app.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            if let Some(cookie) = parts.headers.get(header::SET_COOKIE) {
                let pair = cookie.to_str().unwrap().split(';').next();
                self.cookie = pair.map(str::to_owned);
            }
            let body = to_bytes(body, usize::MAX).await.unwrap();
            Reply {
                status: parts.status,
                headers: parts.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn a_user_comes_in_is_greeted_once_and_goes() {
        let mut ann = Visitor::new();
        assert!(ann.get("/").await.body.contains("<h1>Log in</h1>"));
        assert_eq!(ann.cookie, None, "looking at the form needs no session");

        let reply = ann.post("/login", ANN).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER);
        assert_eq!(reply.header(header::LOCATION), "/members");
        assert!(!reply.header(header::SET_COOKIE).contains("Max-Age"));

        let reply = ann.get("/members").await;
        assert!(reply.body.contains("Hello, Ann"));
        assert!(reply.body.contains("Welcome!"));
        assert_eq!(reply.header(header::CACHE_CONTROL), "no-store");
        assert!(!ann.get("/members").await.body.contains("Welcome!"));

        let token = ann.cookie.clone();
        assert_eq!(ann.post("/logout", "").await.header(header::LOCATION), "/");
        assert!(ann.get("/").await.body.contains("You have logged out."));
        assert!(!ann.get("/").await.body.contains("You have logged out."));

        ann.cookie = token;
        let reply = ann.get("/members").await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER);
        assert_eq!(reply.header(header::LOCATION), "/");
    }

    #[tokio::test]
    async fn remember_me_outlives_the_browser_until_the_next_log_in() {
        let mut ann = Visitor::new();
        let reply = ann
            .post("/login", "name=Ann&password=open+sesame&remember=on")
            .await;
        assert!(
            reply
                .header(header::SET_COOKIE)
                .contains("; Max-Age=2592000")
        );

        let reply = ann.post("/login", ANN).await;
        assert!(!reply.header(header::SET_COOKIE).contains("Max-Age"));
        assert!(ann.get("/members").await.body.contains("Hello, Ann"));
    }

    #[tokio::test]
    async fn a_wrong_password_opens_nothing() {
        let mut eve = Visitor::new();
        let reply = eve.post("/login", "name=Ann&password=sesame").await;
        assert_eq!(reply.header(header::LOCATION), "/");
        let message = "That is not the password.";
        assert!(eve.get("/").await.body.contains(message));
        assert!(!eve.get("/").await.body.contains(message));
        let reply = eve.get("/members").await;
        assert_eq!(reply.header(header::LOCATION), "/");
    }

    #[tokio::test]
    async fn a_name_is_text_whatever_it_looks_like() {
        let mut eve = Visitor::new();
        let form = "name=%3Cscript%3E%26&password=open+sesame";
        eve.post("/login", form).await;
        let page = eve.get("/members").await.body;
        assert!(page.contains("Hello, &lt;script&gt;&amp;"), "{page}");
    }

    #[tokio::test]
    async fn nothing_changes_by_following_a_link() {
        let mut ann = Visitor::new();
        ann.post("/login", ANN).await;
        assert_eq!(
            ann.get("/logout").await.status,
            StatusCode::METHOD_NOT_ALLOWED
        );
        assert!(ann.get("/members").await.body.contains("Hello, Ann"));
    }
}
