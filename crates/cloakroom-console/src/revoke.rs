//! Ending sessions: a preview first, and long work in the background.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Extension, Form, Json,
    extract::{Query, State, rejection::FormRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cloakroom::{Error, ErrorKind, RevokePreview, SessionId, SessionSummary, Sessions};
use maud::html;
use serde::Deserialize;
use serde_json::json;

use crate::{
    answer::{self, Failure, page},
    app::{App, Visit},
    console::FOR_A_PAGE,
    counts::Counts,
    filter::ListParams,
    jobs::{Job, Phase},
    pages::revoke::{self as pages, Number},
};

/// How many sessions a preview shows.
const SHOWN: usize = 20;

/// So many sessions [`Sessions::preview`] lists to count them.
const MAX_LISTED: u64 = 1000;

/// How many sessions one form may name.
const MAX_IDS: usize = 1000;

/// If ending takes longer than this, the response says that it continues in the background.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sessions to end.
enum Meant {
    These(Vec<SessionId>),
    Matching(Box<ListParams>),
    All { words: String },
}

struct Wish {
    meant: Meant,
    is_sure: bool,
}

type Pairs = Vec<(String, String)>;

impl Wish {
    fn read(pairs: Pairs) -> Result<Self, Failure> {
        let (mut ids, mut params) = (Vec::new(), ListParams::default());
        let (mut is_all, mut is_sure, mut words) = (false, false, String::new());
        let mut named = BTreeSet::new();
        for (name, value) in pairs {
            if name != "id" && !named.insert(name.clone()) {
                return Err(Failure::not_valid(format!("`{name}` is there twice.")));
            }
            match &*name {
                "id" => ids.push(value.parse().map_err(|_| Failure::no_session(&value))?),
                "user" => params.user = value,
                "kind" => params.kind = value,
                "begun" => params.begun = value,
                "idle" => params.idle = value,
                "at" => params.at = value,
                "all" => is_all = is_yes("all", &value)?,
                "sure" => is_sure = is_yes("sure", &value)?,
                "words" => words = value,
                // Parameters of the list without a meaning here.
                "order" | "limit" | "after" => {}
                _ => {
                    let detail = format!("`{name}` says nothing about sessions.");
                    return Err(Failure::not_valid(detail));
                }
            }
        }
        if ids.len() > MAX_IDS {
            let detail = format!("More than {MAX_IDS} sessions are named.");
            return Err(Failure::not_valid(detail));
        }
        ids.sort_unstable();
        ids.dedup();
        let has_filter = [&params.user, &params.kind, &params.begun, &params.idle]
            .iter()
            .any(|value| !value.is_empty());
        if [is_all, !ids.is_empty(), has_filter]
            .iter()
            .filter(|it| **it)
            .count()
            > 1
        {
            let detail =
                "Name sessions by their ids, by a filter, or all of them, and not by two of these.";
            return Err(Failure::not_valid(detail));
        }
        let meant = if is_all {
            Meant::All { words }
        } else if ids.is_empty() {
            Meant::Matching(Box::new(params))
        } else {
            Meant::These(ids)
        };
        Ok(Self { meant, is_sure })
    }
}

fn is_yes(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "yes" => Ok(true),
        "" | "no" => Ok(false),
        _ => Err(Failure::not_valid(format!("`{name}` must be yes or no."))),
    }
}

pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    form: Result<Form<Pairs>, FormRejection>,
) -> Response {
    let wish = match form {
        Ok(Form(pairs)) => Wish::read(pairs),
        Err(error) => Err(Failure::new(
            error.status(),
            "This form cannot be read",
            error.body_text(),
        )),
    };
    let answer = match wish {
        Ok(wish) if wish.is_sure => perform(&app, &visit, wish.meant).await,
        Ok(wish) => preview(&app, &visit, wish.meant).await,
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| visit.fail(error))
}

async fn preview(app: &App, visit: &Visit, meant: Meant) -> Result<Response, Failure> {
    let (what, number, first, fields) = match &meant {
        Meant::All { .. } => {
            let stored = stored(app).await;
            if visit.wants_json {
                let answer = json!({ "count": stored, "is_exact": false, "sessions": [] });
                return Ok(Json(answer).into_response());
            }
            return Ok(page(pages::everything(&visit.frame, stored, false)));
        }
        Meant::These(ids) => {
            let mut found: Vec<SessionSummary> = Vec::new();
            for id in ids {
                found.extend(app.sessions.get(*id).await?);
            }
            let fields: Vec<(&str, String)> = found
                .iter()
                .map(|session| ("id", session.id().to_string()))
                .collect();
            let number = Number::Exactly(found.len() as u64);
            found.truncate(SHOWN);
            (
                html! { "The sessions that you have chosen" },
                number,
                found,
                fields,
            )
        }
        Meant::Matching(params) => {
            // The same moment, when it is done.
            let mut params = params.clone();
            let at = params.at()?.duration_since(std::time::UNIX_EPOCH);
            params.at = at.unwrap_or_default().as_millis().to_string();
            let filter = params.filter()?;
            if filter.is_everything() {
                return Err(Failure::new(
                    StatusCode::BAD_REQUEST,
                    "Nothing says which sessions are meant",
                    "Select some, or choose a user, a kind or a time first.",
                ));
            }
            // The newest first, if the store can list in that order.
            let newest = filter.clone().newest_first();
            let preview = match app.sessions.preview(&newest, SHOWN).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    app.sessions.preview(&filter, SHOWN).await?
                }
                preview => preview?,
            };
            let fields = params.pairs().into_iter();
            let fields = fields
                .map(|(name, value)| (name, value.to_owned()))
                .collect();
            let number = number(&preview);
            (pages::what(&params), number, preview.page.sessions, fields)
        }
    };
    if visit.wants_json {
        let sessions = first
            .iter()
            .map(|session| answer::session(session, app.shows_values));
        let sessions: Vec<_> = sessions.collect();
        let (count, is_exact) = match number {
            Number::Exactly(count) | Number::UpTo(count) => (count, true),
            Number::MoreThan(count) => (count, false),
        };
        let answer = json!({ "count": count, "is_exact": is_exact, "sessions": sessions });
        return Ok(Json(answer).into_response());
    }
    if matches!(number, Number::Exactly(0) | Number::UpTo(0)) {
        let why = match &meant {
            Meant::These(_) => {
                html! { "None of the sessions that you have chosen is there any more." }
            }
            Meant::Matching(params) => {
                html! { "There are no " (params.in_words(["logged-in sessions", "anonymous sessions", "sessions"])) "." }
            }
            Meant::All { .. } => html! { "The store has no session." },
        };
        return Ok(page(pages::nothing(&visit.frame, &why)));
    }
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let preview = pages::preview(&visit.frame, &what, number, &first, &fields);
    Ok(page(preview))
}

/// How many records the store has, if it says so in time.
async fn stored(app: &App) -> Option<u64> {
    let counted = app.counts.all(FOR_A_PAGE).await;
    counted.latest.map(|count| count.records)
}

/// The preview counts live sessions as far as it lists them all, and records otherwise.
fn number(preview: &RevokePreview) -> Number {
    let RevokePreview { count, page, .. } = preview;
    let is_sparse = page.next.is_some() && page.sessions.len() < SHOWN;
    match count.sessions {
        sessions if !count.is_exact => Number::MoreThan(sessions),
        sessions if sessions > MAX_LISTED || is_sparse => Number::UpTo(sessions),
        sessions => Number::Exactly(sessions),
    }
}

async fn perform(app: &App, visit: &Visit, meant: Meant) -> Result<Response, Failure> {
    let sessions = app.sessions.as_operator(&visit.operator);
    match &meant {
        Meant::Matching(params) if params.filter()?.is_everything() => {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "Nothing says which sessions are meant",
                "Select some, or choose a user, a kind or a time first.",
            ));
        }
        Meant::All { words } if !visit.wants_json && words.trim() != pages::WORDS => {
            let asked = pages::everything(&visit.frame, stored(app).await, true);
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page(asked)).into_response());
        }
        _ => {}
    }
    let counts = Outdate(Arc::clone(&app.counts));
    let shutdown = sessions.shutdown().clone();
    let work = |job: Arc<Job>| async move {
        let _counts = counts;
        end(&sessions, &meant, &job).await
    };
    let (number, job) = app.jobs.start(&visit.operator, &shutdown, work);
    let mut state = job.state.subscribe();
    let finished = state.wait_for(|state| !matches!(state, Phase::Working));
    let _ = tokio::time::timeout(PATIENCE, finished).await;
    Ok(report(visit, number, &job))
}

/// However the work ends, the numbers before it are old.
struct Outdate(Arc<Counts>);

impl Drop for Outdate {
    fn drop(&mut self) {
        self.0.outdate();
    }
}

async fn end(sessions: &Sessions, meant: &Meant, job: &Job) -> Result<u64, Error> {
    let progress = |progress: cloakroom::RevokeProgress| job.has_ended(progress.ended);
    match meant {
        Meant::All { .. } => sessions.revoke_all(progress).await,
        Meant::Matching(params) => {
            // It was read before.
            let filter = params.filter().unwrap_or_default();
            sessions.revoke_matching(&filter, progress).await
        }
        Meant::These(ids) => {
            let mut ended = 0;
            for id in ids {
                ended += u64::from(sessions.revoke(*id).await?);
                job.has_ended(ended);
                tokio::task::yield_now().await;
            }
            Ok(ended)
        }
    }
}

fn report(visit: &Visit, number: u64, job: &Job) -> Response {
    let ended = job.ended();
    let state = job.state.borrow().clone();
    if let Phase::Failed(error) = &state
        && error.kind() == ErrorKind::Unsupported
    {
        return visit.fail(error.clone());
    }
    let (status, reason) = match state {
        Phase::Done if visit.wants_json => {
            return Json(json!({ "ended": ended })).into_response();
        }
        Phase::Done => return page(pages::done(&visit.frame, ended)),
        Phase::Working => {
            let answer = if visit.wants_json {
                Json(json!({ "ended": ended, "job": number })).into_response()
            } else {
                page(pages::working(&visit.frame, number, ended))
            };
            return (StatusCode::ACCEPTED, answer).into_response();
        }
        Phase::Failed(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Phase::Stopped => (
            StatusCode::SERVICE_UNAVAILABLE,
            "this process is shutting down".to_owned(),
        ),
        Phase::Broken => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the work has panicked, and the log says where".to_owned(),
        ),
    };
    let answer = if visit.wants_json {
        Json(json!({ "ended": ended, "error": reason })).into_response()
    } else {
        page(pages::failed(&visit.frame, ended, &reason))
    };
    (status, answer).into_response()
}

#[derive(Deserialize)]
pub(crate) struct JobParams {
    job: Option<u64>,
}

/// The progress of a job. Without a job, the question whether to end all sessions.
pub(crate) async fn ask_for_all(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    params: Result<Query<JobParams>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let number = match params {
        Ok(Query(params)) => params.job,
        Err(error) => return visit.fail(Failure::not_valid(error.body_text())),
    };
    match number {
        None => {
            let all = Meant::All { words: String::new() };
            let asked = preview(&app, &visit, all).await;
            asked.unwrap_or_else(|error| visit.fail(error))
        }
        Some(number) => match app.jobs.get(number) {
            Some(job) => report(&visit, number, &job),
            None => visit.fail(Failure::new(
                StatusCode::NOT_FOUND,
                "This work is not known",
                "The process has been restarted since, or did much else. What had ended stays ended.",
            )),
        },
    }
}
