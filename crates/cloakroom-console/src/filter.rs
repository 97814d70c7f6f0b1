//! The parameters of a list, in a URL or a form: [`ListParams`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cloakroom::SessionFilter;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use crate::{answer::Failure, text::shown};

/// The parameters of a list. An empty parameter counts as missing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListParams {
    pub(crate) user: String,
    /// `logged_in` or `anonymous`.
    pub(crate) kind: String,
    /// Sessions that began within this time before `at`.
    pub(crate) begun: String,
    /// Sessions that no request has used for this long.
    pub(crate) idle: String,
    /// `newest`, `id` or `seen`.
    pub(crate) order: String,
    pub(crate) limit: String,
    /// The time of the first page, in milliseconds since the epoch, so that later pages are of the same list.
    pub(crate) at: String,
    pub(crate) after: String,
}

pub(crate) const TIMES: [(&str, &str); 7] = [
    ("5m", "5 minutes"),
    ("15m", "15 minutes"),
    ("1h", "hour"),
    ("6h", "6 hours"),
    ("1d", "day"),
    ("7d", "week"),
    ("30d", "30 days"),
];

pub(crate) const LIMITS: [usize; 3] = [25, 50, 100];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Newest,
    Id,
    LastSeen,
}

impl ListParams {
    pub(crate) fn order(&self) -> Result<Order, Failure> {
        match &*self.order {
            "" | "newest" => Ok(Order::Newest),
            "id" => Ok(Order::Id),
            "seen" => Ok(Order::LastSeen),
            _ => Err(bad("order", "newest, id or seen")),
        }
    }

    pub(crate) fn limit(&self) -> Result<usize, Failure> {
        if self.limit.is_empty() {
            return Ok(LIMITS[1]);
        }
        let limit = self.limit.parse().ok();
        let limit = limit.filter(|limit| (1..=1000).contains(limit));
        limit.ok_or_else(|| bad("limit", "a number from 1 to 1000"))
    }

    /// When the list began, which is now for the first page.
    pub(crate) fn at(&self) -> Result<SystemTime, Failure> {
        if self.at.is_empty() {
            return Ok(SystemTime::now());
        }
        let at = self.at.parse().ok().map(Duration::from_millis);
        let at = at.and_then(|at| UNIX_EPOCH.checked_add(at));
        at.ok_or_else(|| bad("at", "milliseconds since 1970"))
    }

    /// The conditions.
    pub(crate) fn filter(&self) -> Result<SessionFilter, Failure> {
        let mut filter = SessionFilter::default();
        if !self.user.is_empty() {
            filter = filter.user(&*self.user);
        }
        filter = match &*self.kind {
            "" => filter,
            "logged_in" => filter.logged_in(),
            "anonymous" => filter.anonymous(),
            _ => return Err(bad("kind", "logged_in or anonymous")),
        };
        if let Some(begun) = span("begun", &self.begun)? {
            let since = self.at()?.checked_sub(begun).unwrap_or(UNIX_EPOCH);
            filter = filter.begun_within(since..);
        }
        if let Some(idle) = span("idle", &self.idle)? {
            filter = filter.idle_for(idle);
        }
        Ok(filter)
    }

    /// The conditions as they are written. If all are empty, every session matches.
    pub(crate) fn conditions(&self) -> [String; 4] {
        [&self.user, &self.kind, &self.begun, &self.idle].map(Clone::clone)
    }

    /// The conditions in words, which begin with this one: `Sessions of ann`, `sessions begun within the last hour`.
    pub(crate) fn in_words(&self, [logged_in, anonymous, any]: [&str; 3]) -> Markup {
        let kind = match &*self.kind {
            "logged_in" => logged_in,
            "anonymous" => anonymous,
            _ => any,
        };
        let mut words = String::new();
        let name = |time: &str| {
            let known = TIMES.iter().find(|(value, _)| *value == time);
            known.map_or_else(|| time.to_owned(), |(_, name)| (*name).to_owned())
        };
        if !self.begun.is_empty() {
            words.push_str(&format!(" begun within the last {}", name(&self.begun)));
        }
        if !self.idle.is_empty() {
            words.push_str(if words.is_empty() { "" } else { " and" });
            words.push_str(&format!(
                " unused for more than {}",
                match &*self.idle {
                    "1h" => "an hour".to_owned(),
                    "1d" => "a day".to_owned(),
                    "7d" => "a week".to_owned(),
                    other => name(other),
                }
            ));
        }
        html! {
            (kind)
            @if !self.user.is_empty() { " of " (shown(&self.user)) }
            (words)
        }
    }

    /// The parameters that are set, for links and hidden fields. Without the page.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("user", &self.user),
            ("kind", &self.kind),
            ("begun", &self.begun),
            ("idle", &self.idle),
            ("order", &self.order),
            ("limit", &self.limit),
            ("at", &self.at),
        ];
        let set = all.into_iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, value)| (name, value.as_str())).collect()
    }
}

/// `5m`, `3h`, `2d`, `30s`. An empty text is none.
fn span(name: &'static str, text: &str) -> Result<Option<Duration>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || bad(name, "a time such as 15m, 6h or 7d");
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 60 * 60,
        Some(b'd') => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: Option<u64> = text[..text.len() - 1].parse().ok();
    let seconds = number.and_then(|number| number.checked_mul(unit));
    seconds
        .map(|seconds| Some(Duration::from_secs(seconds)))
        .ok_or_else(wrong)
}

fn bad(name: &str, expected: &str) -> Failure {
    let detail = format!("`{name}` must be {expected}.");
    Failure::new(StatusCode::BAD_REQUEST, "This address is not valid", detail)
}

/// A query string of these parameters.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                query.push(char::from(byte));
            } else {
                query.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_no_order_and_no_limit_is_refused_with_what_is() {
        let with = |change: fn(&mut ListParams)| {
            let mut params = ListParams::default();
            change(&mut params);
            params
        };
        for begun in ["5", "m", "-5m", "5 m", "99999999999999999999d", "5ä"] {
            let params = ListParams {
                begun: begun.to_owned(),
                ..ListParams::default()
            };
            assert_eq!(params.filter().unwrap_err().status, StatusCode::BAD_REQUEST);
        }
        assert!(
            with(|params| params.kind = "robots".into())
                .filter()
                .is_err()
        );
        assert!(with(|params| params.order = "user".into()).order().is_err());
        assert!(with(|params| params.limit = "0".into()).limit().is_err());
        assert!(with(|params| params.at = "yesterday".into()).at().is_err());
        assert!(
            with(|params| params.at = u64::MAX.to_string())
                .filter()
                .is_ok()
        );
    }

    #[test]
    fn a_query_carries_any_user() {
        let pairs = [("user", "a&b=c/ü ?"), ("kind", "anonymous")];
        assert_eq!(
            query(pairs),
            "?user=a%26b%3Dc%2F%C3%BC%20%3F&kind=anonymous"
        );
    }
}
