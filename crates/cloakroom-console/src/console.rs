//! The router: [`console`], and its builder [`Console`].

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{
        DefaultBodyLimit, OriginalUri, Path, Query, Request, State, rejection::PathRejection,
    },
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use cloakroom::{SessionId, Sessions};
use serde::Deserialize;
use serde_json::json;
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::{
    access::Access,
    answer::{self, Failure, page, wants_json},
    app::{App, Visit},
    counts::Counts,
    filter::ListParams,
    jobs::Jobs,
    live::Live,
    pages::{
        Frame, dashboard, failure,
        list::{self, Listed},
        session, user,
    },
    revoke,
};

/// The operator's console, to nest anywhere in an axum application.
///
/// `access` decides who may use it: see [`Access`]. [`Console`] has more settings.
pub fn console<S>(sessions: Sessions, access: impl Access) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Console::new(sessions, access).router()
}

/// Builds the console's router. It has more settings than [`console`].
///
/// ```
/// use cloakroom::SessionLayer;
/// use cloakroom_console::{Console, loopback};
///
/// let layer = SessionLayer::default();
/// let console: axum::Router = Console::new(layer.sessions(), loopback())
///     .node("web-1")
///     .show_values()
///     .router();
/// ```
#[must_use]
#[derive(Debug)]
pub struct Console<A> {
    sessions: Sessions,
    access: A,
    node: String,
    shows_values: bool,
    base: Option<String>,
}

impl<A: Access> Console<A> {
    /// A console for the sessions of one layer.
    pub fn new(sessions: Sessions, access: A) -> Self {
        Self {
            sessions,
            access,
            node: format!("process {}", std::process::id()),
            shows_values: false,
            base: None,
        }
    }

    /// The name of this process, beside numbers of this process alone. Default: its process id.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = name.into();
        self
    }

    /// Shows the values of sessions, not only their names. Default: only the names, because values may be personal data.
    pub fn show_values(mut self) -> Self {
        self.shows_values = true;
        self
    }

    /// The path of the console as browsers see it, such as `/ops/sessions`. Default: the path where the router is nested.
    /// Set it if a proxy changes paths.
    pub fn base(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.base = Some(path.trim_end_matches('/').to_owned());
        self
    }

    /// The router.
    pub fn router<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let counts = Arc::new(Counts::new(self.sessions.clone()));
        let app = Arc::new(App {
            live: Live::new(self.sessions.clone(), Arc::clone(&counts), self.node),
            counts,
            sessions: self.sessions,
            shows_values: self.shows_values,
            base: self.base,
            jobs: Jobs::new(),
        });
        let guard = Arc::new((Arc::clone(&app), self.access));
        Router::new()
            .route("/", get(numbers))
            .route("/live", get(live))
            .route("/sessions", get(sessions))
            .route("/sessions/{id}", get(one_session).delete(delete))
            .route("/user", get(one_user))
            .route("/revoke", get(revoke::ask_for_all).post(revoke::revoke))
            .route(STYLE, get(style))
            .route("/console.js", get(script))
            .fallback(unknown)
            .method_not_allowed_fallback(not_allowed)
            .with_state(app)
            .layer(DefaultBodyLimit::max(MAX_FORM))
            .layer(CsrfLayer::new())
            .layer(from_fn_with_state(guard, enter::<A>))
    }
}

/// The path of the style sheet.
const STYLE: &str = "/console.css";

/// The most bytes of a form. The largest form has a thousand ids.
const MAX_FORM: usize = 64 * 1024;

/// How long a page waits for the number of sessions. It is shown without it then.
pub(crate) const FOR_A_PAGE: Duration = Duration::from_secs(1);

/// How long a program waits for it.
pub(crate) const FOR_PROGRAMS: Duration = Duration::from_secs(5);

type Guard<A> = Arc<(Arc<App>, A)>;

/// Admits operators, and sets the headers of every response.
async fn enter<A: Access>(State(guard): State<Guard<A>>, request: Request, next: Next) -> Response {
    let (app, access) = &*guard;
    let (mut parts, body) = request.into_parts();
    let frame = Frame {
        base: base_of(app, &parts),
        node: app.live.node().into(),
        operator: None,
    };
    let wants_json = wants_json(&parts.headers);
    let operator = access.operator(parts.clone()).await;
    // Public, because the page without access uses it too.
    let is_style = parts.uri.path() == STYLE;
    let mut response = match operator {
        None if is_style => style().await,
        Some(operator) => {
            app.live.start();
            let operator: Arc<str> = operator.into();
            let visit = Visit {
                frame: Frame {
                    operator: Some(Arc::clone(&operator)),
                    ..frame
                },
                operator,
                wants_json,
            };
            parts.extensions.insert(visit.clone());
            let response = next.run(Request::from_parts(parts, body)).await;
            if response.extensions().get::<ProtectionError>().is_some() {
                visit.fail(foreign())
            } else {
                response
            }
        }
        None => {
            let reason = Failure::new(
                StatusCode::FORBIDDEN,
                "You may not use this console",
                "Log in as an operator first.",
            );
            // Without the page's frame, which would reveal more than necessary.
            if wants_json {
                reason.json()
            } else {
                (reason.status, page(failure::bare(&frame.base, &reason))).into_response()
            }
        }
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Why a form of another site is refused.
fn foreign() -> Failure {
    let detail = "Nothing has ended. Open the console itself and try again. A proxy before it has to keep the \
                  `Host` that the browser sends.";
    Failure::new(
        StatusCode::FORBIDDEN,
        "This comes from another site",
        detail,
    )
}

const HEADERS: [(header::HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // URLs contain users' names, so no other site may get them. The forms of this page need their origin.
    (header::REFERRER_POLICY, "same-origin"),
];

/// The path that precedes the console's own paths.
fn base_of(app: &App, parts: &http::request::Parts) -> Arc<str> {
    if let Some(base) = &app.base {
        return base.as_str().into();
    }
    let inner = parts.uri.path();
    let original = parts.extensions.get::<OriginalUri>();
    let original = original.map_or(inner, |original| original.0.path());
    let base = original.strip_suffix(inner).unwrap_or(original);
    base.trim_end_matches('/').into()
}

#[derive(Deserialize)]
struct NumbersParams {
    /// `yes` for numbers that stand still.
    #[serde(default)]
    pause: String,
}

async fn numbers(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    params: Result<Query<NumbersParams>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let is_paused = match params {
        Ok(Query(params)) => params.pause == "yes",
        Err(error) => return visit.fail(Failure::not_valid(error.body_text())),
    };
    if visit.wants_json {
        let counted = app.counts.all(FOR_PROGRAMS).await;
        let stats = dashboard::json(&app.sessions.stats(), app.live.node(), &counted);
        return Json(stats).into_response();
    }
    let numbers = app.live.render(FOR_A_PAGE).await;
    page(dashboard::page(&visit.frame, &numbers, is_paused))
}

async fn live(State(app): State<Arc<App>>) -> Response {
    app.live.stream()
}

async fn sessions(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    params: Result<Query<ListParams>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let params = match params {
        Ok(Query(params)) => params,
        Err(error) => return visit.fail(Failure::not_valid(error.body_text())),
    };
    let listed = match list::fetch(&app, params).await {
        Ok(listed) => listed,
        Err(error) => return visit.fail(error),
    };
    if visit.wants_json {
        return list_as_json(&app, &listed);
    }
    page(list::page(&visit.frame, &listed))
}

fn list_as_json(app: &App, listed: &Listed) -> Response {
    let sessions = listed.sessions.iter();
    let sessions = sessions.map(|session| answer::session(session, app.shows_values));
    let sessions: Vec<_> = sessions.collect();
    let next = listed.next.as_ref().map(ToString::to_string);
    let params = &listed.params;
    let order = match &*params.order {
        "" => "newest",
        order => order,
    };
    Json(json!({ "sessions": sessions, "next": next, "at": params.at, "order": order }))
        .into_response()
}

/// What stands where an id is expected. A text that is no UTF-8 is no id.
type Text = Result<Path<String>, PathRejection>;

/// The session, if the text is an id and there is one.
async fn find(app: &App, text: Text) -> Result<cloakroom::SessionSummary, Failure> {
    let id = id_of(text)?;
    let found = app.sessions.get(id).await?;
    found.ok_or_else(|| Failure::no_session(&id.to_string()))
}

fn id_of(text: Text) -> Result<SessionId, Failure> {
    let text = text.map_or_else(|_| String::new(), |Path(text)| text);
    text.parse().map_err(|_| Failure::no_session(&text))
}

async fn one_session(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    text: Text,
) -> Response {
    match find(&app, text).await {
        Err(error) => visit.fail(error),
        Ok(found) if visit.wants_json => {
            Json(answer::session(&found, app.shows_values)).into_response()
        }
        Ok(found) => page(session::page(&visit.frame, &found, app.shows_values)),
    }
}

async fn delete(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    text: Text,
) -> Response {
    let id = match id_of(text) {
        Ok(id) => id,
        Err(error) => return visit.fail(error),
    };
    let sessions = app.sessions.as_operator(&visit.operator);
    match sessions.revoke(id).await {
        Err(error) => visit.fail(error),
        Ok(false) => visit.fail(Failure::no_session(&id.to_string())),
        Ok(true) => {
            app.counts.outdate();
            Json(json!({ "ended": 1 })).into_response()
        }
    }
}

#[derive(Deserialize)]
struct UserParams {
    name: String,
}

async fn one_user(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    params: Result<Query<UserParams>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let name = match params {
        Ok(Query(params)) if params.name.is_empty() => {
            return visit.fail(Failure::not_valid("`name` is empty.".to_owned()));
        }
        Ok(Query(params)) => params.name,
        Err(error) => return visit.fail(Failure::not_valid(error.body_text())),
    };
    let params = ListParams {
        user: name,
        limit: "100".to_owned(),
        ..ListParams::default()
    };
    match list::fetch(&app, params).await {
        Err(error) => visit.fail(error),
        Ok(listed) if visit.wants_json => list_as_json(&app, &listed),
        Ok(listed) => page(user::page(&visit.frame, &listed)),
    }
}

async fn unknown(Extension(visit): Extension<Visit>) -> Response {
    let detail = "The console has no such page.";
    visit.fail(Failure::new(StatusCode::NOT_FOUND, "Not found", detail))
}

async fn not_allowed(Extension(visit): Extension<Visit>) -> Response {
    let detail = "The address exists, but not for this method.";
    visit.fail(Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Not allowed",
        detail,
    ))
}

async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (headers, include_str!("../assets/console.css")).into_response()
}

async fn script() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (headers, include_str!("../assets/console.js")).into_response()
}
