//! The tokens in a request's Cookie headers: [`Presented`].

use std::iter;

use http::{HeaderMap, HeaderValue, header};

use crate::{
    clock::Timestamp,
    cookie::settings::SessionCookie,
    record::{
        token::Token,
        token_keys::{self, Freshness, TokenKeys, Unreadable},
    },
};

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

/// The place of a transport in the layer's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransportIndex(pub(super) u8);

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
    /// Whether one has the form of a token, but not the MAC that the layer asks for.
    pub(crate) has_forged: bool,
    /// How they came. `None`: no transport brought any.
    pub(crate) transport: Option<TransportIndex>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentedToken {
    pub(crate) token: Token,
    /// Whether its cookie has a name from `also_read`.
    pub(crate) is_former: bool,
    /// Whether it is to be issued again, with today's key.
    pub(crate) is_stale: bool,
    pub(crate) transport: TransportIndex,
}

impl PresentedToken {
    /// A token that this request is issued.
    pub(crate) fn issued(token: Token) -> Self {
        Self {
            token,
            is_former: false,
            is_stale: false,
            transport: TransportIndex::default(),
        }
    }
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

    /// A value that is no token.
    pub(super) fn malformed() -> Self {
        Self {
            has_malformed: true,
            ..Self::default()
        }
    }

    /// Whether there is anything that is, or should be, a token.
    pub(super) fn is_any(&self) -> bool {
        !self.is_empty() || self.has_malformed || self.has_forged
    }

    /// Reads one value.
    #[inline]
    pub(super) fn take(
        &mut self,
        value: &[u8],
        is_former: bool,
        keys: Option<&TokenKeys>,
        now: Timestamp,
    ) {
        match token_keys::read(value, keys, now) {
            Ok((token, freshness)) => self.push(PresentedToken {
                token,
                is_former,
                is_stale: freshness == Freshness::Former,
                transport: TransportIndex::default(),
            }),
            Err(Unreadable::Malformed) => self.has_malformed = true,
            Err(Unreadable::Forged) => self.has_forged = true,
        }
    }

    pub(super) fn came_by(&mut self, transport: TransportIndex) {
        self.transport = Some(transport);
        for presented in self.first.iter_mut().chain(&mut self.others) {
            presented.transport = transport;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PresentedToken> {
        self.first.iter().chain(&self.others)
    }
}

impl SessionCookie {
    /// Whether a cookie of its name, or of a former one, is in these headers.
    pub(crate) fn is_in(&self, headers: &CookieHeaders) -> bool {
        let former = self.former.iter().map(|former| &former.name);
        let mut names = iter::once(&self.name).chain(former);
        names.any(|name| headers.values(name).next().is_some())
    }

    /// The tokens in the request's Cookie headers (rules T2, T5).
    pub(crate) fn presented(
        &self,
        headers: &CookieHeaders,
        keys: Option<&TokenKeys>,
        now: Timestamp,
    ) -> Presented {
        let mut presented = Presented::default();
        if headers.is_empty() {
            return presented;
        }
        let mut read = |name: &str, is_former| {
            // By `for_each`, because a loop over nested iterators costs more.
            headers
                .values(name)
                .for_each(|value| presented.take(value, is_former, keys, now));
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
