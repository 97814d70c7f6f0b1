//! Which headers carry tokens: [`Transport`], and the tokens of a request in all of them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    clock::Timestamp,
    cookie::{
        presented::{Presented, TransportIndex},
        settings::SessionCookie,
        token_headers::TokenHeaders,
    },
    record::{Record, token_keys::TokenKeys},
};

/// The header that carries a session's token, for [`SessionLayer::transport`](crate::SessionLayer::transport).
///
/// ```
/// use cloakroom::{SessionLayer, Transport};
///
/// // Browsers use the cookie, and the mobile app a header.
/// let layer = SessionLayer::default().transport([Transport::Cookie, Transport::Bearer]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// The session cookie, the default. Use it for browsers, because scripts cannot read it.
    Cookie,
    /// `Authorization: Bearer`, in the request and in the response that issues a token.
    Bearer,
    /// A header of this name, in the request and in the response that issues a token.
    Header(HeaderName),
}

/// One [`Transport`] or several, in the order in which a request is searched for a token.
///
/// A `Transport`, an array and a `Vec` convert to it:
///
/// ```
/// use cloakroom::{SessionLayer, Transport, Transports};
///
/// let transports = Transports::from([Transport::Cookie, Transport::Bearer]);
/// let layer = SessionLayer::default().transport(transports);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transports(Vec<Transport>);

impl From<Transport> for Transports {
    fn from(transport: Transport) -> Self {
        Self(vec![transport])
    }
}

impl From<Vec<Transport>> for Transports {
    fn from(transports: Vec<Transport>) -> Self {
        Self(transports)
    }
}

impl<const N: usize> From<[Transport; N]> for Transports {
    fn from(transports: [Transport; N]) -> Self {
        Self(transports.into())
    }
}

impl Transport {
    /// The header that has the token.
    fn header(&self) -> HeaderName {
        match self {
            Self::Cookie => header::COOKIE,
            Self::Bearer => header::AUTHORIZATION,
            Self::Header(name) => name.clone(),
        }
    }

    /// The text in a record. `None`: the cookie.
    fn recorded(&self) -> Option<&str> {
        match self {
            Self::Cookie => None,
            Self::Bearer => Some(header::AUTHORIZATION.as_str()),
            Self::Header(name) => Some(name.as_str()),
        }
    }
}

/// Headers that HTTP or the layer itself uses.
static RESERVED: [HeaderName; 25] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::EXPIRES,
    header::HOST,
    header::LOCATION,
    header::ORIGIN,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::REFERER,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    header::VARY,
    header::WWW_AUTHENTICATE,
];

impl Transports {
    pub(crate) fn cookie() -> Self {
        Self(vec![Transport::Cookie])
    }

    /// # Panics
    ///
    /// If the list is empty or has a transport twice, or if a header has another meaning.
    #[track_caller]
    pub(crate) fn check(&self) {
        assert!(
            (1..=usize::from(u8::MAX)).contains(&self.0.len()),
            "a layer needs a transport for its tokens"
        );
        for (index, transport) in self.0.iter().enumerate() {
            if let Transport::Header(name) = transport {
                assert!(
                    !RESERVED.contains(name),
                    "the header `{name}` cannot carry a token: choose another name, or Transport::Bearer or Transport::Cookie"
                );
            }
            assert!(
                !self.0[..index].contains(transport),
                "the transport {transport:?} occurs twice in the list"
            );
        }
    }

    /// Whether tokens are in cookies only, as by default.
    pub(crate) fn is_cookie_only(&self) -> bool {
        matches!(self.0[..], [Transport::Cookie])
    }

    /// The headers of a request that may have tokens.
    pub(crate) fn token_headers(&self, headers: &HeaderMap) -> TokenHeaders {
        let others = || {
            let others = self.0.iter().filter(|it| **it != Transport::Cookie);
            others.map(Transport::header)
        };
        TokenHeaders::of(headers, (!self.is_cookie_only()).then(others))
    }

    pub(crate) fn index_of(&self, transport: &Transport) -> Option<TransportIndex> {
        let index = self.0.iter().position(|known| known == transport)?;
        u8::try_from(index).ok().map(TransportIndex)
    }

    pub(crate) fn get(&self, index: TransportIndex) -> &Transport {
        self.0
            .get(usize::from(index.0))
            .unwrap_or(&Transport::Cookie)
    }

    #[cfg(feature = "axum")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TransportIndex, &Transport)> {
        let indices = (0..).map(TransportIndex);
        indices.zip(&self.0)
    }

    /// Whether the record's tokens are issued by this transport.
    pub(crate) fn is_used_by(&self, record: &Record, index: TransportIndex) -> bool {
        record.transport() == self.get(index).recorded()
    }

    /// The transport that the record's tokens are issued by.
    pub(crate) fn index_of_record(&self, record: &Record) -> Option<TransportIndex> {
        let recorded = record.transport();
        let index = self.0.iter().position(|it| it.recorded() == recorded)?;
        u8::try_from(index).ok().map(TransportIndex)
    }

    pub(crate) fn recorded(&self, index: TransportIndex) -> Option<&str> {
        self.get(index).recorded()
    }

    /// The headers that a request was searched for, where the one at `found` had a token.
    pub(crate) fn searched(
        &self,
        found: Option<TransportIndex>,
    ) -> impl Iterator<Item = HeaderName> {
        let count = found.map_or(self.0.len(), |found| usize::from(found.0) + 1);
        self.0.iter().take(count).map(Transport::header)
    }

    /// The tokens of the first transport by which the request brings one. No other is looked at.
    #[cold]
    pub(crate) fn presented(
        &self,
        cookie: &SessionCookie,
        token_headers: &TokenHeaders,
        keys: Option<&TokenKeys>,
        now: Timestamp,
    ) -> Presented {
        for (index, transport) in (0..).zip(&self.0) {
            let mut presented = match transport {
                Transport::Cookie => cookie.presented(token_headers, keys, now),
                Transport::Bearer => token_headers.bearer(keys, now),
                Transport::Header(name) => token_headers.named(name, keys, now),
            };
            if presented.has_value() {
                presented.set_transport(TransportIndex(index));
                return presented;
            }
        }
        Presented::default()
    }

    /// Adds the token to the response's headers, or an empty value to tell the client to delete it.
    pub(crate) fn set(&self, headers: &mut HeaderMap, index: TransportIndex, token: &[u8]) {
        let (name, value) = self.header(index, token);
        headers.insert(name, value);
    }

    /// The header that has this token.
    pub(crate) fn header(&self, index: TransportIndex, token: &[u8]) -> (HeaderName, HeaderValue) {
        let transport = self.get(index);
        let value = match transport {
            Transport::Bearer if !token.is_empty() => [b"Bearer ", token].concat(),
            _ => token.to_vec(),
        };
        let mut value = HeaderValue::try_from(value).expect("a token is ASCII");
        value.set_sensitive(true);
        (transport.header(), value)
    }
}

impl TokenHeaders {
    /// The token in `Authorization: Bearer`. A value that does not have the form of a token is ignored.
    fn bearer(&self, keys: Option<&TokenKeys>, now: Timestamp) -> Presented {
        let mut presented = Presented::default();
        for value in self.values(header::AUTHORIZATION) {
            if let Some(token) = bearer(value) {
                presented.read(token, false, keys, now);
            }
        }
        presented.has_malformed = false;
        self.one_of(&header::AUTHORIZATION, presented)
    }

    /// The token in a header of this name.
    fn named(&self, name: &HeaderName, keys: Option<&TokenKeys>, now: Timestamp) -> Presented {
        let mut presented = Presented::default();
        for value in self.values(name.clone()) {
            presented.read(value.trim_ascii(), false, keys, now);
        }
        self.one_of(name, presented)
    }

    /// If there are several headers of the name, they count as malformed: nobody can tell which one is meant.
    fn one_of(&self, name: &HeaderName, presented: Presented) -> Presented {
        let is_ambiguous = presented.has_value() && self.values(name.clone()).count() > 1;
        if is_ambiguous {
            Presented::malformed()
        } else {
            presented
        }
    }
}

/// The token in the value of a header `Authorization`, if its scheme is Bearer.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| token.trim_ascii())
}
