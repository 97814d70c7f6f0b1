//! The tokens in a request's Cookie headers: [`Presented`].

use std::iter;

use http::{HeaderMap, HeaderValue, header};

use crate::{clock::Timestamp, cookie::settings::SessionCookie, record::token::Token};

/// The Cookie headers of a request. They are parsed when the session is loaded.
pub(crate) struct CookieHeaders {
    first: Option<HeaderValue>,
    others: Vec<HeaderValue>,
}

impl CookieHeaders {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(header::COOKIE).iter();
        Self {
            first: all.next().cloned(),
            others: all.cloned().collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &HeaderValue> {
        self.first.iter().chain(&self.others)
    }

    /// The values of the cookies of exactly this name.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .flat_map(move |header| values(header.as_bytes(), name.as_bytes()))
    }
}

/// How many tokens of a request are looked up at most (rule T5).
const MAX_PRESENTED: usize = 3;

/// The first distinct tokens of a request. Those under the cookie's own name come first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presented {
    first: Option<PresentedToken>,
    others: Vec<PresentedToken>,
    /// Whether there are more distinct tokens than are looked up.
    pub(crate) has_more: bool,
    /// Whether a cookie of the name has a value that is not a token.
    pub(crate) has_malformed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentedToken {
    pub(crate) token: Token,
    /// Whether its cookie has a name from `also_read`.
    pub(crate) is_former: bool,
}

impl Presented {
    fn push(&mut self, presented: PresentedToken) {
        if self
            .iter()
            .any(|known| known.token.is_same(&presented.token))
        {
            return;
        }
        if self.iter().count() >= MAX_PRESENTED {
            self.has_more = true;
            return;
        }
        if self.first.is_none() {
            self.first = Some(presented);
        } else {
            self.others.push(presented);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PresentedToken> {
        self.first.iter().chain(&self.others)
    }
}

impl SessionCookie {
    /// The tokens in the request's Cookie headers (rules T2, T5).
    pub(crate) fn presented(&self, headers: &CookieHeaders, now: Timestamp) -> Presented {
        let mut presented = Presented::default();
        if headers.is_empty() {
            return presented;
        }
        let mut read = |name: &str, is_former| {
            // By `for_each`, because a loop over nested iterators costs more.
            headers
                .values(name)
                .for_each(|value| match Token::parse(value) {
                    Some(token) => presented.push(PresentedToken { token, is_former }),
                    None => presented.has_malformed = true,
                });
        };
        read(&self.name, false);
        for former in self.former_at(now) {
            read(&former.name, true);
        }
        presented
    }
}

/// The values of the cookies of exactly this name in one Cookie header.
///
/// The header is read as bytes: another cookie need not be UTF-8. A value may stand in double
/// quotes (RFC 6265 section 4.1.1).
fn values<'a>(header: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(header);
    let pairs = iter::from_fn(move || {
        let pairs = rest?;
        let end = memchr::memchr(b';', pairs);
        rest = end.map(|end| &pairs[end + 1..]);
        Some(&pairs[..end.unwrap_or(pairs.len())])
    });
    pairs.filter_map(move |pair| {
        let value = pair
            .trim_ascii_start()
            .strip_prefix(name)?
            .strip_prefix(b"=")?
            .trim_ascii_end();
        let quoted = value
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        Some(quoted.unwrap_or(value))
    })
}
