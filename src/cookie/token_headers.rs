//! The headers of a request that may have tokens: [`TokenHeaders`].

use std::iter;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The headers of a request that may have tokens. They are parsed when the session is loaded.
pub(crate) struct TokenHeaders {
    /// The Cookie header: browsers send one.
    cookie: Option<HeaderValue>,
    /// Further Cookie headers, and the headers of other transports.
    // Boxed: rarely there, and every request moves this.
    others: Option<Box<[(HeaderName, HeaderValue)]>>,
}

impl TokenHeaders {
    /// `names`: headers beside Cookie that may have tokens.
    pub(super) fn of(headers: &HeaderMap, names: Option<impl Iterator<Item = HeaderName>>) -> Self {
        let mut cookies = headers.get_all(header::COOKIE).iter();
        let cookie = cookies.next().cloned();
        let has_others = cookies.next().is_some() || names.is_some();
        let others = has_others.then(|| others(headers, names.into_iter().flatten()));
        Self { cookie, others }
    }

    pub(crate) fn has_cookies(&self) -> bool {
        self.cookie.is_some()
    }

    /// The values of the Cookie headers.
    pub(super) fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.cookie.iter().map(HeaderValue::as_bytes);
        first.chain(self.values(header::COOKIE))
    }

    /// The values of the cookies of exactly this name.
    pub(crate) fn cookie_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.cookies()
            .flat_map(move |header| cookie_values(header, name))
    }

    /// The values of this header, without the first Cookie header.
    pub(super) fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let others = self.others.as_deref().unwrap_or_default().iter();
        let named = others.filter(move |(other, _)| *other == name);
        named.map(|(_, value)| value.as_bytes())
    }
}

#[cold]
fn others(
    headers: &HeaderMap,
    names: impl Iterator<Item = HeaderName>,
) -> Box<[(HeaderName, HeaderValue)]> {
    let named = |name: HeaderName| {
        let all = headers.get_all(&name).into_iter().cloned();
        all.map(|value| (name.clone(), value)).collect::<Vec<_>>()
    };
    let cookies = named(header::COOKIE).into_iter().skip(1);
    cookies.chain(names.flat_map(named)).collect()
}

/// The values of the cookies of exactly this name in one Cookie header.
///
/// The header is read as bytes: another cookie need not be UTF-8. A value may stand in double
/// quotes (RFC 6265 section 4.1.1).
pub(super) fn cookie_values<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
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
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")?
            .trim_ascii_end();
        let quoted = value
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        Some(quoted.unwrap_or(value))
    })
}
