//! Which headers carry tokens: [`Transport`], and the tokens of a request in all of them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    clock::Timestamp,
    cookie::{
        presented::{CookieHeaders, Presented, TransportIndex},
        settings::SessionCookie,
    },
    record::{Record, token_keys::TokenKeys},
};

/// Which header carries a session's token, for [`SessionLayer::transport`](crate::SessionLayer::transport).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// The session cookie. The default, and the only one for browsers: scripts cannot read it.
    Cookie,
    /// `Authorization: Bearer`. The response that issues a token has it in a header `Authorization: Bearer` too.
    Bearer,
    /// A header of this name, in the request and in the response that issues a token.
    Header(HeaderName),
}

/// One [`Transport`] or several, in the order in which a request is searched for a token.
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

    /// What a record says. `None`: the cookie.
    fn recorded(&self) -> Option<&str> {
        match self {
            Self::Cookie => None,
            Self::Bearer => Some(header::AUTHORIZATION.as_str()),
            Self::Header(name) => Some(name.as_str()),
        }
    }
}

/// Headers with a meaning of their own.
const RESERVED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::HOST,
    header::SET_COOKIE,
    header::TRANSFER_ENCODING,
    header::VARY,
];

impl Transports {
    pub(crate) fn cookie() -> Self {
        Self(vec![Transport::Cookie])
    }

    /// # Panics
    ///
    /// If there is none, one stands twice, or a header has another meaning.
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
                "the transport {transport:?} stands twice in the list"
            );
        }
    }

    /// Whether tokens are in cookies only, as by default.
    pub(crate) fn is_cookie_only(&self) -> bool {
        matches!(self.0[..], [Transport::Cookie])
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

    /// Whether the record's tokens are issued by this transport.
    pub(crate) fn is_of(&self, record: &Record, index: TransportIndex) -> bool {
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
    pub(crate) fn presented(
        &self,
        cookie: &SessionCookie,
        carriers: &Carriers,
        keys: Option<&TokenKeys>,
        now: Timestamp,
    ) -> Presented {
        for (index, transport) in (0..).zip(&self.0) {
            let mut presented = match transport {
                Transport::Cookie => cookie.presented(&carriers.cookies, keys, now),
                Transport::Bearer => carriers.bearer(keys, now),
                Transport::Header(name) => carriers.named(name, keys, now),
            };
            if presented.is_any() {
                presented.came_by(TransportIndex(index));
                return presented;
            }
        }
        Presented::default()
    }

    /// Puts the token among the response's headers, or an empty value for a client that is to forget it.
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

/// The headers of a request that may have tokens. They are parsed when the session is loaded.
pub(crate) struct Carriers {
    pub(crate) cookies: CookieHeaders,
    /// `None` where tokens are in cookies only.
    // Boxed: rarely there, and every request moves this.
    others: Option<Box<[(HeaderName, HeaderValue)]>>,
}

impl Carriers {
    pub(crate) fn of(headers: &HeaderMap, transports: &Transports) -> Self {
        let cookies = CookieHeaders::of(headers);
        let others = (!transports.is_cookie_only()).then(|| {
            let names = transports.0.iter().filter(|it| **it != Transport::Cookie);
            let values = names.flat_map(|transport| {
                let name = transport.header();
                let all = headers.get_all(&name).into_iter().cloned();
                all.map(|value| (name.clone(), value)).collect::<Vec<_>>()
            });
            values.collect()
        });
        Self { cookies, others }
    }

    /// The token in `Authorization: Bearer`. A value that has not the form of a token belongs to somebody else.
    fn bearer(&self, keys: Option<&TokenKeys>, now: Timestamp) -> Presented {
        let mut presented = Presented::default();
        for value in self.values(&header::AUTHORIZATION) {
            if let Some(token) = bearer(value) {
                presented.take(token, false, keys, now);
            }
        }
        presented.has_malformed = false;
        self.one_of(&header::AUTHORIZATION, presented)
    }

    /// The token in a header of this name.
    fn named(&self, name: &HeaderName, keys: Option<&TokenKeys>, now: Timestamp) -> Presented {
        let mut presented = Presented::default();
        for value in self.values(name) {
            presented.take(value.trim_ascii(), false, keys, now);
        }
        self.one_of(name, presented)
    }

    /// Where there are several headers of the name, none of them counts: which one is meant cannot be known.
    fn one_of(&self, name: &HeaderName, presented: Presented) -> Presented {
        let is_ambiguous = presented.is_any() && self.values(name).count() > 1;
        if is_ambiguous {
            Presented::malformed()
        } else {
            presented
        }
    }

    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let others = self.others.iter().flatten();
        let named = others.filter(move |(other, _)| other == name);
        named.map(|(_, value)| value.as_bytes())
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
