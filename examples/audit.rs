//! An audit log: `cargo run --example audit`.
//!
//! Each log-in, each end of a session and each suspicious cookie is a line of JSON on the terminal, with the route and
//! the address of the client. No line has a token or a session's data.

#[path = "site/names.rs"]
mod names;
mod site;

use std::{net::SocketAddr, process::ExitCode, time::UNIX_EPOCH};

use axum::{
    Router,
    extract::{ConnectInfo, MatchedPath},
    http::request::Parts,
    routing::{get, post},
};
use cloakroom::{Event, EventKind, Rejection, Session, SessionLayer};
use serde_json::json;

use self::{
    names::{log_in, log_out},
    site::{PrivatePage, escape, private_page},
};

/// The part of a line about the request.
struct Origin {
    route: String,
    peer: Option<SocketAddr>,
}

impl Origin {
    fn of(head: &Parts) -> Self {
        let route = head.extensions.get::<MatchedPath>();
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
        Self {
            route: format!(
                "{} {}",
                head.method,
                route.map_or(head.uri.path(), MatchedPath::as_str)
            ),
            peer: peer.map(|ConnectInfo(peer)| *peer),
        }
    }
}

/// The line for `event`. `None` if an auditor does not need it.
fn line(event: &Event) -> Option<String> {
    let what = match event.kind() {
        EventKind::LoggedIn { .. } => json!({ "event": "logged in" }),
        EventKind::Ended { reason } => json!({ "event": "ended", "reason": format!("{reason:?}") }),
        EventKind::Rejected {
            why: why @ (Rejection::Unproven | Rejection::Planted),
        } => json!({ "event": "rejected", "reason": format!("{why:?}") }),
        _ => return None,
    };
    let at = event.at().duration_since(UNIX_EPOCH).unwrap_or_default();
    let origin = event.context::<Origin>();
    let line = json!({
        "at": at.as_secs(),
        "what": what,
        "session": event.id().map(|id| id.to_string()),
        "user": event.user(),
        "operator": event.operator(),
        "request": origin.map(|origin| &origin.route),
        "peer": origin.and_then(|origin| origin.peer).map(|peer| peer.ip().to_string()),
    });
    Some(line.to_string())
}

/// The application. It passes the lines of its sessions to `write`.
pub fn app(write: impl Fn(String) + Send + Sync + 'static) -> Router {
    let layer = SessionLayer::default()
        .event_context(Origin::of)
        .on_event(move |event: &Event| {
            if let Some(line) = line(event) {
                write(line);
            }
        });
    let app = Router::new()
        .route("/", get(entrance))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(layer);
    site::finish(app)
}

async fn entrance(session: Session) -> PrivatePage {
    let body = match session.user() {
        Some(user) => format!(
            "<h1>Hello, {}</h1>\n<form method=\"post\" action=\"/logout\"><button>Log out</button></form>",
            escape(&user)
        ),
        None => "<h1>Log in</h1>\n<form method=\"post\" action=\"/login\">\n\
                 <label>Name <input name=\"name\" autocomplete=\"username\" required></label>\n\
                 <button>Log in</button>\n</form>\n<p>Look at the terminal.</p>"
            .to_owned(),
    };
    private_page("An audit log", &body)
}

#[tokio::main]
async fn main() -> ExitCode {
    site::serve(app(|line| println!("{line}"))).await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{
        body::Body,
        http::{Request, header},
    };
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    async fn post(app: &Router, path: &str, cookie: &str) -> Option<String> {
        let peer: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, cookie)
            .extension(ConnectInfo(peer))
            .body(Body::from("name=ann"));
        let reply = app.clone().oneshot(request.unwrap()).await.unwrap();
        let cookie = reply.headers().get(header::SET_COOKIE)?.to_str().unwrap();
        Some(cookie.split(';').next().unwrap().to_owned())
    }

    #[tokio::test]
    async fn who_came_from_where_and_when_they_left_is_in_the_log_and_no_token_is() {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&lines);
        let app = app(move |line| log.lock().unwrap().push(line));
        let cookie = post(&app, "/login", "").await.unwrap();
        post(&app, "/logout", &cookie).await;
        let lines = lines.lock().unwrap();
        let token = cookie.split('=').nth(1).unwrap();
        assert!(lines.iter().all(|line| !line.contains(token)));
        let lines: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["what"]["event"], "logged in");
        assert_eq!(lines[0]["request"], "POST /login");
        assert_eq!(lines[1]["what"]["reason"], "Destroyed");
        for line in lines {
            assert_eq!(
                (&line["user"], &line["peer"]),
                (&json!("ann"), &json!("192.0.2.7"))
            );
        }
    }
}
