//! The router: [`console`], and [`Console`] with more to set.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{OriginalUri, Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use cloakroom::{SessionId, Sessions};
use serde::Deserialize;
use serde_json::json;
use tower_http::csrf::CsrfLayer;

use crate::{
    access::Access,
    answer::{self, Failure, page, wants_json},
    filter::ListParams,
    live::Live,
    pages::{Frame, dashboard, failure, list, session, user},
    revoke::{self, Jobs},
};

/// The operator's console, to nest anywhere in an axum application.
///
/// `access` decides who may use it: see [`Access`]. [`Console`] has more to set.
pub fn console<S>(sessions: Sessions, access: impl Access) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Console::new(sessions, access).router()
}

/// Builds the console's router, with more to set than [`console`] has.
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

    /// What this process is called where the page shows numbers of it alone. Default: its process id.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = name.into();
        self
    }

    /// Shows the values of sessions, and not only their names. By default it does not: they may be
    /// personal.
    pub fn show_values(mut self) -> Self {
        self.shows_values = true;
        self
    }

    /// The path under which browsers find the console, such as `/ops/sessions`. Default: where the
    /// router is nested. A proxy that changes paths makes this necessary.
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
        let app = Arc::new(App {
            live: Live::new(self.sessions.clone(), self.node),
            sessions: self.sessions,
            shows_values: self.shows_values,
            base: self.base,
            jobs: Jobs::default(),
        });
        let guard = Arc::new((Arc::clone(&app), self.access));
        Router::new()
            .route("/", get(numbers))
            .route("/live", get(live))
            .route("/sessions", get(sessions))
            .route("/sessions/{id}", get(one_session).delete(delete))
            .route("/user", get(one_user))
            .route("/revoke", get(revoke::ask_for_all).post(revoke::revoke))
            .route("/console.css", get(style))
            .route("/console.js", get(script))
            .fallback(unknown)
            .method_not_allowed_fallback(not_allowed)
            .with_state(app)
            .layer(from_fn_with_state(guard, enter::<A>))
            .layer(CsrfLayer::new())
    }
}

/// What the handlers share.
pub(crate) struct App {
    pub(crate) live: Arc<Live>,
    pub(crate) sessions: Sessions,
    pub(crate) shows_values: bool,
    pub(crate) jobs: Jobs,
    base: Option<String>,
}

/// Who asks, from where, and for what kind of answer.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) frame: Frame,
    pub(crate) operator: Arc<str>,
    pub(crate) wants_json: bool,
}

impl Visit {
    pub(crate) fn fail(&self, reason: impl Into<Failure>) -> Response {
        let reason = reason.into();
        if self.wants_json {
            return reason.json();
        }
        let body = page(failure::page(&self.frame, &reason));
        (reason.status, body).into_response()
    }
}

type Guard<A> = Arc<(Arc<App>, A)>;

/// Lets operators in, and sets the headers of every answer.
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
    let mut response = match operator {
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
            parts.extensions.insert(visit);
            next.run(Request::from_parts(parts, body)).await
        }
        None => {
            let reason = Failure::new(
                StatusCode::FORBIDDEN,
                "You may not use this console",
                "Log in as an operator first.",
            );
            // Not the page's frame, which would say more than a stranger need know.
            if wants_json {
                reason.json()
            } else {
                (reason.status, page(failure::bare(&reason))).into_response()
            }
        }
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
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
    // Addresses name users: no other site is to see them. Forms of this page need their origin.
    (header::REFERRER_POLICY, "same-origin"),
];

/// The path before that of the console.
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

async fn numbers(State(app): State<Arc<App>>, Extension(visit): Extension<Visit>) -> Response {
    if visit.wants_json {
        let stored = app.live.stored().await;
        let stats = dashboard::json(&app.sessions.stats(), app.live.node(), stored);
        return Json(stats).into_response();
    }
    page(dashboard::page(&visit.frame, &app.live.render().await))
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
        Err(error) => return visit.fail(not_valid(error.body_text())),
    };
    let listed = match list::fetch(&app.sessions, params).await {
        Ok(listed) => listed,
        Err(error) => return visit.fail(error),
    };
    if visit.wants_json {
        let sessions = listed.sessions.iter();
        let sessions = sessions.map(|session| answer::session(session, app.shows_values));
        let sessions: Vec<_> = sessions.collect();
        let next = listed.next.as_ref().map(ToString::to_string);
        let at = &listed.params.at;
        return Json(json!({ "sessions": sessions, "next": next, "at": at })).into_response();
    }
    page(list::page(&visit.frame, &listed))
}

/// The session, if the text is an id and there is one.
async fn find(app: &App, text: &str) -> Result<cloakroom::SessionSummary, Failure> {
    let id: SessionId = text.parse().map_err(|_| Failure::no_session(text))?;
    let found = app.sessions.get(id).await?;
    found.ok_or_else(|| Failure::no_session(text))
}

async fn one_session(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Response {
    match find(&app, &id).await {
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
    Path(text): Path<String>,
) -> Response {
    let Ok(id) = text.parse::<SessionId>() else {
        return visit.fail(Failure::no_session(&text));
    };
    let sessions = app.sessions.as_operator(&visit.operator);
    match sessions.revoke(id).await {
        Err(error) => visit.fail(error),
        Ok(false) => visit.fail(Failure::no_session(&text)),
        Ok(true) => Json(json!({ "ended": 1 })).into_response(),
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
            return visit.fail(not_valid("`name` is empty.".to_owned()));
        }
        Ok(Query(params)) => params.name,
        Err(error) => return visit.fail(not_valid(error.body_text())),
    };
    let params = ListParams {
        user: name,
        limit: "100".to_owned(),
        ..ListParams::default()
    };
    match list::fetch(&app.sessions, params).await {
        Err(error) => visit.fail(error),
        Ok(listed) => page(user::page(&visit.frame, &listed)),
    }
}

pub(crate) fn not_valid(detail: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "This address is not valid", detail)
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
