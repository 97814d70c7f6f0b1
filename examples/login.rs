//! Log-in and log-out with a form, "remember me", a flash message, and a page
//! for users only: `cargo run --example login`.
//!
//! Every change is a POST, and a layer refuses POSTs from other sites. `SameSite=Lax` alone
//! is not enough: it keeps another site from logging a visitor out, because the browser
//! sends no cookie, but not from logging them in as somebody else.

mod site;

use std::{process::ExitCode, time::Duration};

use axum::{
    Form, Router,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use cloakroom::{CurrentUser, Error, Flash, FlashMessage, RequireUser, Session, SessionLayer};
use serde::Deserialize;

use self::site::{PrivatePage, escape};

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Without "remember me", a session ends after an hour without a request, after a day,
/// or with the browser, whichever comes first.
pub fn app() -> Router {
    let app = Router::new()
        .route("/members", get(members))
        // Other visitors are redirected to the log-in form. The routes below are for everybody.
        .route_layer(RequireUser::new())
        .route("/", get(start))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(SessionLayer::default().log_in_page("/"));
    site::finish(app)
}

/// For demonstration only: every user has the same password. A real service compares
/// with a slow, salted hash, and limits the number of tries.
fn is_right(name: &str, password: &str) -> bool {
    !name.is_empty() && password == "open sesame"
}

async fn start(user: Option<CurrentUser>, flash: Flash) -> Result<Response, Error> {
    if user.is_some() {
        return Ok(Redirect::to("/members").into_response());
    }
    Ok(form(&flash.take().await?).into_response())
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
    remember: Option<String>,
}

async fn log_in(
    session: Session,
    flash: Flash,
    Form(given): Form<Credentials>,
) -> Result<Redirect, Error> {
    let name = given.name.trim();
    if !is_right(name, &given.password) {
        flash.error("That is not the password.")?;
        return Ok(Redirect::to("/"));
    }
    if session.user().is_some() {
        // The new session takes over nothing of an earlier log-in.
        session.destroy();
    }
    session.log_in(name)?;
    if given.remember.is_some() {
        session.remember_for(MONTH);
    }
    flash.success("Welcome! You are logged in.")?;
    Ok(Redirect::to("/members"))
}

async fn members(CurrentUser(name): CurrentUser, flash: Flash) -> Result<PrivatePage, Error> {
    // If two tabs load at once, one of them shows it.
    let messages = flash.take().await?;
    let body = format!(
        r#"{flash}<h1>Hello, {name}</h1>
<p>Only users see this page. After you have logged out, the back button does not show it again.</p>
<form method="post" action="/logout">
<button>Log out</button>
</form>"#,
        flash = banner(&messages),
        name = escape(&name),
    );
    Ok(site::private_page("Members", &body))
}

async fn log_out(session: Session, flash: Flash) -> Result<Redirect, Error> {
    if session.user().is_some() {
        session.destroy();
        // This begins a new session, without a user.
        flash.info("You have logged out.")?;
    }
    Ok(Redirect::to("/"))
}

fn form(messages: &[FlashMessage]) -> PrivatePage {
    let body = format!(
        r#"{messages}<h1>Log in</h1>
<form method="post" action="/login">
<label>Name <input name="name" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<label class="check"><input name="remember" type="checkbox"> Remember me for 30 days</label>
<button>Log in</button>
</form>
<p class="hint">A demonstration: any name, and the password <code>open sesame</code>.</p>"#,
        messages = banner(messages),
    );
    site::private_page("Log in", &body)
}

fn banner(messages: &[FlashMessage]) -> String {
    let banners = messages.iter().map(|message| {
        let (level, text) = (message.level, escape(&message.payload));
        format!("<p class=\"banner {level}\" role=\"status\">{text}</p>\n")
    });
    banners.collect()
}

#[tokio::main]
async fn main() -> ExitCode {
    site::serve(app()).await
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{HeaderMap, Request, StatusCode, header},
    };
    use tower::ServiceExt;

    use super::*;

    const ANN: &str = "name=Ann&password=open+sesame";

    /// A browser, perhaps with a cookie.
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
            let request = request.header("sec-fetch-mode", "navigate");
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
        assert_eq!(reply.header(header::LOCATION), "/?next=%2Fmembers");
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
        assert_eq!(reply.header(header::LOCATION), "/?next=%2Fmembers");
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

    #[tokio::test]
    async fn another_site_logs_nobody_in_or_out() {
        let app = app();
        for path in ["/login", "/logout"] {
            let (status, page) = site::tests::form_from_another_site(&app, path).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
            assert!(page.contains("<h1>Not allowed</h1>"));
        }
    }
}
