//! The tokens in a request's Cookie headers: [`Presented`].

use std::iter;

use crate::{
    clock::Timestamp,
    cookie::{
        settings::SessionCookie,
        token_headers::{TokenHeaders, cookie_values},
    },
    record::{
        token::Token,
        token_keys::{self, Freshness, TokenKeys, Unreadable},
    },
};

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
    /// Whether a value has the form of a token, but no valid MAC.
    pub(crate) has_forged: bool,
    /// The transport of the tokens. `None` if the request has none.
    pub(crate) transport: Option<TransportIndex>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentedToken {
    pub(crate) token: Token,
    /// Whether its cookie has a name from `also_read`.
    pub(crate) is_former: bool,
    /// Whether it has a former key, or none: the response issues it again with the current key.
    pub(crate) is_stale: bool,
    pub(crate) transport: TransportIndex,
}

impl Presented {
    fn push(&mut self, presented: PresentedToken) {
        if self.first.is_none() {
            self.first = Some(presented);
        } else {
            self.push_another(presented);
        }
    }

    #[cold]
    fn push_another(&mut self, presented: PresentedToken) {
        let is_same = |known: &PresentedToken| known.token.is_same(&presented.token);
        if self.iter().any(is_same) {
            return;
        }
        if self.iter().count() >= MAX_PRESENTED {
            self.has_more = true;
            return;
        }
        self.others.push(presented);
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

    /// Whether there is a value, valid or not.
    pub(super) fn has_value(&self) -> bool {
        !self.is_empty() || self.has_malformed || self.has_forged
    }

    /// Reads one value.
    #[inline]
    pub(super) fn read(
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

    pub(super) fn set_transport(&mut self, transport: TransportIndex) {
        self.transport = Some(transport);
        for presented in self.first.iter_mut().chain(&mut self.others) {
            presented.transport = transport;
        }
    }

    pub(crate) fn first(&self) -> Option<&PresentedToken> {
        self.first.as_ref()
    }

    pub(crate) fn has_several(&self) -> bool {
        !self.others.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PresentedToken> {
        self.first.iter().chain(&self.others)
    }
}

impl SessionCookie {
    /// Whether a cookie of its name, or of a former one, is in these headers.
    pub(crate) fn is_in(&self, headers: &TokenHeaders) -> bool {
        let former = self.former.iter().map(|former| &former.name);
        let mut names = iter::once(&self.name).chain(former);
        names.any(|name| headers.cookie_values(name).next().is_some())
    }

    /// The tokens in the request's Cookie headers (rules T2, T5).
    pub(crate) fn presented(
        &self,
        token_headers: &TokenHeaders,
        keys: Option<&TokenKeys>,
        now: Timestamp,
    ) -> Presented {
        let mut presented = Presented::default();
        if !token_headers.has_cookies() {
            return presented;
        }
        // Two loops, because one over nested iterators costs more.
        for header in token_headers.cookies() {
            for value in cookie_values(header, &self.name) {
                presented.read(value, false, keys, now);
            }
        }
        if !self.former.is_empty() {
            self.read_former(&mut presented, token_headers, keys, now);
        }
        presented
    }

    #[cold]
    fn read_former(
        &self,
        presented: &mut Presented,
        token_headers: &TokenHeaders,
        keys: Option<&TokenKeys>,
        now: Timestamp,
    ) {
        for former in self.former_at(now) {
            for value in token_headers.cookie_values(&former.name) {
                presented.read(value, true, keys, now);
            }
        }
    }
}
