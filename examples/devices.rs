//! "Where you are logged in": users see their sessions, end one, or all others:
//! `cargo run --example devices`, and open the page in two browsers.
//!
//! Every change is a POST, and a layer refuses POSTs from other sites. The ids in
//! the page are public, and open nothing.

mod site;

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use axum::{
    Form, Router,
    extract::State,
    http::{header, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use cloakroom::{
    CurrentUser, Error, RequireUser, Session, SessionFilter, SessionId, SessionLayer,
    SessionSummary, Sessions,
};
use serde::Deserialize;

use self::site::{PrivatePage, escape};

/// The label with the browser's name. The layer sets it at log-in.
const DEVICE: &str = "device";

/// Activity is written at most once a minute, so "last seen" is exact to a minute. A user has at most ten sessions.
pub fn app() -> Router {
    app_under(SessionLayer::default())
}

fn app_under(layer: SessionLayer) -> Router {
    let layer = layer
        .touch_after(Duration::from_secs(60))
        .max_sessions_per_user(10)
        .label(DEVICE, device)
        .log_in_page("/");
    let app = Router::new()
        .route("/devices", get(devices))
        .route("/end", post(end))
        .route("/end-others", post(end_others))
        // Other visitors are redirected to the log-in form. The routes below are for everybody.
        .route_layer(RequireUser::new())
        .route("/", get(start))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .with_state(layer.sessions())
        .layer(layer);
    site::finish(app)
}

/// For demonstration only: every user has the same password. A real service compares
/// with a slow, salted hash, and limits the number of tries.
fn is_right(name: &str, password: &str) -> bool {
    !name.is_empty() && password == "open sesame"
}

async fn start(user: Option<CurrentUser>) -> Response {
    match user {
        Some(_) => Redirect::to("/devices").into_response(),
        None => form().into_response(),
    }
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

async fn log_in(session: Session, Form(given): Form<Credentials>) -> Result<Redirect, Error> {
    let name = given.name.trim();
    if !is_right(name, &given.password) {
        return Ok(Redirect::to("/"));
    }
    session.log_in(name)?;
    Ok(Redirect::to("/devices"))
}

/// Such as "Firefox on Linux". A client can send any text. The layer cuts what is too long.
fn device(request: &Parts) -> Option<String> {
    let agent = request.headers.get(header::USER_AGENT);
    let agent = agent.map_or("", |agent| agent.to_str().unwrap_or_default());
    // Most browsers name others too. The first one that is found here is right.
    let browsers = [
        ("Edg", "Edge"),
        ("Firefox", "Firefox"),
        ("Chrom", "Chrome"),
        ("Safari", "Safari"),
    ];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ];
    let found = |names: &[(&str, &'static str)]| {
        let found = names.iter().find(|(part, _)| agent.contains(part));
        found.map(|(_, name)| *name)
    };
    let device = match (found(&browsers), found(&systems)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) if agent.is_empty() => "Unknown device".to_owned(),
        (None, None) => agent.chars().take(60).collect(),
    };
    Some(device)
}

async fn devices(
    CurrentUser(name): CurrentUser,
    session: Session,
    State(sessions): State<Sessions>,
) -> Result<PrivatePage, Error> {
    let filter = SessionFilter::default().user(&name);
    // A user has no more than the limit, so one page has them all.
    let page = sessions.list(&filter, None, 100).await?;
    let mut devices = page.sessions;
    devices.sort_by_key(|device| {
        let is_this = session.id() == Some(device.id());
        (!is_this, std::cmp::Reverse(device.last_seen_at()))
    });
    let now = SystemTime::now();
    let mut rows = String::new();
    for device in &devices {
        let is_this = session.id() == Some(device.id());
        rows += &row(device, is_this, now);
    }
    let others = if devices.len() > 1 {
        r#"<form method="post" action="/end-others"><button>Log out all other devices</button></form>"#
    } else {
        ""
    };
    let body = format!(
        r#"<h1>Where you are logged in</h1>
<p>As <strong>{name}</strong>.</p>
<ul>
{rows}</ul>
<div class="actions">{others}<form method="post" action="/logout"><button class="quiet">Log out here</button></form></div>"#,
        name = escape(&name),
    );
    Ok(site::private_page("Devices", &body))
}

fn row(session: &SessionSummary, is_this: bool, now: SystemTime) -> String {
    let action = if is_this {
        r#"<span class="badge">this device</span>"#.to_owned()
    } else {
        format!(
            r#"<form method="post" action="/end"><input type="hidden" name="id" value="{}"><button>Log out</button></form>"#,
            session.id()
        )
    };
    let since = session.authenticated_at().unwrap_or(session.created_at());
    format!(
        "<li><div><strong>{device}</strong><br><small>Last seen {seen} · logged in {since}</small></div>{action}</li>\n",
        device = escape(session.label(DEVICE).unwrap_or("Unknown device")),
        seen = ago(now, session.last_seen_at()),
        since = ago(now, since),
    )
}

#[derive(Deserialize)]
struct Chosen {
    id: String,
}

/// Ends the session only if it is the user's own.
async fn end(
    CurrentUser(name): CurrentUser,
    State(sessions): State<Sessions>,
    Form(chosen): Form<Chosen>,
) -> Result<Redirect, Error> {
    if let Ok(id) = chosen.id.parse::<SessionId>() {
        sessions.revoke_for(name, id).await?;
    }
    Ok(Redirect::to("/devices"))
}

async fn end_others(session: Session, State(sessions): State<Sessions>) -> Result<Redirect, Error> {
    sessions.revoke_others(&session).await?;
    Ok(Redirect::to("/devices"))
}

async fn log_out(session: Session) -> Redirect {
    session.destroy();
    Redirect::to("/")
}

fn ago(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn form() -> PrivatePage {
    site::private_page(
        "Log in",
        r#"<h1>Log in</h1>
<form method="post" action="/login">
<label>Name <input name="name" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button>
</form>
<p class="hint">A demonstration: any name, and the password <code>open sesame</code>. Log in from another
browser, or a private window, to have a second device.</p>"#,
    )
}

#[tokio::main]
async fn main() -> ExitCode {
    site::serve(app()).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode},
    };
    use cloakroom::Timestamp;
    use tower::ServiceExt;

    use super::*;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    const IPHONE: &str =
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1";

    /// A browser, perhaps with a cookie.
    #[derive(Clone)]
    struct Device {
        app: Router,
        agent: &'static str,
        cookie: Option<String>,
    }

    struct Reply {
        status: StatusCode,
        location: Option<String>,
        body: String,
    }

    impl Device {
        fn new(app: &Router, agent: &'static str) -> Self {
            let (app, cookie) = (app.clone(), None);
            Self { app, agent, cookie }
        }

        async fn of(app: &Router, agent: &'static str, form: &str) -> Self {
            let mut device = Self::new(app, agent);
            let reply = device.post("/login", form).await;
            assert_eq!(reply.location.as_deref(), Some("/devices"));
            device
        }

        async fn get(&mut self, path: &str) -> Reply {
            self.send(Request::get(path), "").await
        }

        async fn post(&mut self, path: &str, form: &str) -> Reply {
            let form_type = "application/x-www-form-urlencoded";
            let request = Request::post(path).header(header::CONTENT_TYPE, form_type);
            self.send(request, form).await
        }

        async fn send(&mut self, mut request: axum::http::request::Builder, form: &str) -> Reply {
            request = request.header(header::USER_AGENT, self.agent);
            if let Some(cookie) = &self.cookie {
                request = request.header(header::COOKIE, cookie);
            }
            let request = request.body(Body::from(form.to_owned())).unwrap();
            let response = self.app.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            if let Some(cookie) = parts.headers.get(header::SET_COOKIE) {
                let pair = cookie.to_str().unwrap().split(';').next();
                self.cookie = pair.map(str::to_owned);
            }
            let location = parts.headers.get(header::LOCATION);
            let body = to_bytes(body, usize::MAX).await.unwrap();
            Reply {
                status: parts.status,
                location: location.map(|value| value.to_str().unwrap().to_owned()),
                body: String::from_utf8(body.to_vec()).unwrap(),
            }
        }

        async fn is_logged_in(&mut self) -> bool {
            self.get("/devices").await.status == StatusCode::OK
        }
    }

    const ANN: &str = "name=Ann&password=open+sesame";
    const BOB: &str = "name=Bob&password=open+sesame";

    /// The ids in the page's forms.
    fn ids(page: &str) -> Vec<&str> {
        let parts = page.split(r#"name="id" value=""#).skip(1);
        parts.map(|part| &part[..36]).collect()
    }

    #[tokio::test]
    async fn a_user_sees_each_device_and_which_one_is_this() {
        let app = app();
        let mut laptop = Device::of(&app, FIREFOX, ANN).await;
        let _phone = Device::of(&app, IPHONE, ANN).await;
        let _bob = Device::of(&app, "curl/8", BOB).await;
        let page = laptop.get("/devices").await.body;
        assert!(page.contains("Firefox on Linux") && page.contains("Safari on iPhone"));
        assert!(!page.contains("curl"), "{page}");
        assert_eq!(page.matches("this device").count(), 1);
        assert_eq!(ids(&page).len(), 1);
        let token = laptop.cookie.unwrap();
        assert!(!page.contains(token.split_once('=').unwrap().1));
    }

    #[tokio::test]
    async fn a_user_ends_one_device() {
        let app = app();
        let mut laptop = Device::of(&app, FIREFOX, ANN).await;
        let mut phone = Device::of(&app, IPHONE, ANN).await;
        let page = laptop.get("/devices").await.body;
        let form = format!("id={}", ids(&page)[0]);
        let reply = laptop.post("/end", &form).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER);
        assert_eq!(reply.location.as_deref(), Some("/devices"));
        assert!(!phone.is_logged_in().await);
        assert!(laptop.is_logged_in().await);
        assert!(!laptop.get("/devices").await.body.contains("iPhone"));
    }

    #[tokio::test]
    async fn a_user_ends_all_others() {
        let app = app();
        let mut laptop = Device::of(&app, FIREFOX, ANN).await;
        let mut others = [
            Device::of(&app, IPHONE, ANN).await,
            Device::of(&app, "curl/8", ANN).await,
        ];
        let mut bob = Device::of(&app, IPHONE, BOB).await;
        laptop.post("/end-others", "").await;
        for other in &mut others {
            assert!(!other.is_logged_in().await);
        }
        assert!(laptop.is_logged_in().await && bob.is_logged_in().await);
    }

    #[tokio::test]
    async fn nobody_ends_what_is_not_theirs() {
        let app = app();
        let mut ann = Device::of(&app, FIREFOX, ANN).await;
        let _phone = Device::of(&app, IPHONE, ANN).await;
        let mut bob = Device::of(&app, FIREFOX, BOB).await;
        let page = ann.get("/devices").await.body;
        let of_ann = format!("id={}", ids(&page)[0]);
        assert_eq!(
            bob.post("/end", &of_ann).await.status,
            StatusCode::SEE_OTHER
        );
        assert_eq!(
            bob.post("/end", "id=nonsense").await.status,
            StatusCode::SEE_OTHER
        );
        let reply = Device::new(&app, "curl/8").post("/end", &of_ann).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert!(ann.get("/devices").await.body.contains("iPhone"));
    }

    #[tokio::test]
    async fn a_name_and_a_device_are_text_whatever_they_look_like() {
        let form = "name=%3Cscript%3E%26&password=open+sesame";
        let mut eve = Device::of(&app(), "<b onclick='x'>\"", form).await;
        let page = eve.get("/devices").await.body;
        assert!(page.contains("As <strong>&lt;script&gt;&amp;</strong>"));
        assert!(
            page.contains("&lt;b onclick=&#39;x&#39;&gt;&quot;"),
            "{page}"
        );
    }

    #[tokio::test]
    async fn an_eleventh_device_ends_the_first() {
        let ticks = AtomicU64::new(1);
        let clock = move || Timestamp::from_millis(ticks.fetch_add(1, Ordering::Relaxed));
        let app = app_under(SessionLayer::default().clock(clock));
        let mut first = Device::of(&app, IPHONE, ANN).await;
        for _ in 0..10 {
            assert!(first.is_logged_in().await);
            Device::of(&app, FIREFOX, ANN).await;
        }
        assert!(!first.is_logged_in().await);
    }

    #[tokio::test]
    async fn nothing_changes_by_following_a_link() {
        let mut ann = Device::of(&app(), FIREFOX, ANN).await;
        for path in ["/end", "/end-others", "/logout"] {
            let status = ann.get(path).await.status;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        }
        assert!(ann.is_logged_in().await);
        ann.post("/logout", "").await;
        assert!(!ann.is_logged_in().await);
        let reply = ann.post("/login", "name=Ann&password=sesame").await;
        assert_eq!(reply.location.as_deref(), Some("/"));
        assert!(!ann.is_logged_in().await);
    }

    #[tokio::test]
    async fn another_site_logs_nobody_in_and_ends_nothing() {
        let app = app();
        for path in ["/login", "/end", "/end-others", "/logout"] {
            let (status, _) = site::tests::form_from_another_site(&app, path).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
    }
}
