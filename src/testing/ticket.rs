//! A live session for a test: [`Ticket`].

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Request, header, request};

use crate::{
    clock::Clock as _,
    commit::{self, Cookie, Occasion},
    cookie::Transport,
    error::{Error, ErrorKind},
    http::layer::SessionLayer,
    record::{token::SessionId, token_keys},
    session::{Session, handle::SessionHandle},
};

/// A live session for a test, and the cookie of its visitor.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use cloakroom::{SessionLayer, testing::Ticket};
///
/// let layer = SessionLayer::default();
/// let ticket = Ticket::new(&layer, |session| {
///     session.log_in("ann")?;
///     session.insert("cart", ["hat"])
/// })
/// .await?;
///
/// // A handler that answers this request finds Ann and her hat.
/// let request = ticket.request().uri("/cart").body(()).unwrap();
/// assert!(request.headers().contains_key("cookie"));
///
/// // Afterwards, look at the stored session.
/// let session = ticket.peek().await?.expect("nobody has ended it");
/// assert_eq!(session.user().as_deref(), Some("ann"));
/// # Ok::<(), cloakroom::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Ticket {
    layer: SessionLayer,
    id: SessionId,
    /// The header that has the token.
    header: HeaderName,
    cookie: HeaderValue,
}

impl Ticket {
    /// Begins a session in the layer's store, like a request whose handler calls `begin`.
    ///
    /// # Errors
    ///
    /// The errors of `begin` and of the store. `Other` if `begin` left the
    /// session empty, because an empty session is not stored and gets no cookie.
    pub async fn new(
        layer: &SessionLayer,
        begin: impl FnOnce(&Session) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let handle = handle(layer, &HeaderMap::new());
        begin(&handle.load().await?)?;
        let committed = commit::commit_in_span(handle.shared(), Occasion::Head, None).await;
        let Cookie::Issue(token, _) = committed.map_err(|failed| failed.error)?.cookie else {
            let what = "the session was left empty, so there is no cookie for it: insert a value";
            return Err(Error::new(ErrorKind::Other, what));
        };
        let config = layer.config();
        let text = token_keys::write(&token, config.token_keys.as_ref());
        let transport = handle.shared().transport(&handle.shared().state());
        let (header, cookie) = match config.transports.get(transport) {
            Transport::Cookie => {
                let name = format!("{}=", config.cookie.name());
                let pair = [name.as_bytes(), &text].concat();
                (header::COOKIE, sensitive(&pair))
            }
            _ => config.transports.header(transport, &text),
        };
        Ok(Self {
            layer: layer.clone(),
            id: token.id,
            header,
            cookie,
        })
    }

    /// The session's id. After a log-in or a cycle, call
    /// [`take_cookie`](Self::take_cookie) to get the new one.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The value of a `Cookie` header: `name=token`. If the session's token is issued by another
    /// [`Transport`], this is the value of that header.
    #[must_use]
    pub fn cookie(&self) -> HeaderValue {
        self.cookie.clone()
    }

    /// Returns a builder of a request with the session's cookie, or with the header of another
    /// [`Transport`].
    pub fn request(&self) -> request::Builder {
        Request::builder().header(self.header.clone(), self.cookie())
    }

    /// Takes over the session cookie that a response sets, as a browser does, or the header of another
    /// [`Transport`]. Returns whether there is one.
    ///
    /// Call it after a log-in or a cycle, or if the layer renews secrets. If the response removes
    /// the cookie, the ticket does not change, so that a test can send the former cookie once more.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use cloakroom::{SessionLayer, testing::Ticket};
    /// use http::{HeaderMap, HeaderValue, header::SET_COOKIE};
    ///
    /// let layer = SessionLayer::default();
    /// let first = Ticket::new(&layer, |session| session.insert("n", 1)).await?;
    /// let mut second = Ticket::new(&layer, |session| session.insert("n", 2)).await?;
    ///
    /// // The header of a response to the first visitor.
    /// let set_cookie = [first.cookie().as_bytes(), b"; Path=/; HttpOnly"].concat();
    /// let headers = HeaderMap::from_iter([(SET_COOKIE, HeaderValue::try_from(set_cookie).unwrap())]);
    /// assert!(second.take_cookie(&headers));
    /// assert_eq!(second.id(), first.id());
    /// # Ok::<(), cloakroom::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn take_cookie(&mut self, headers: &HeaderMap) -> bool {
        let config = self.layer.config();
        let read = |token: &[u8]| {
            let keys = config.token_keys.as_ref();
            token_keys::read(token, keys, config.clock.now()).ok()
        };
        if self.header != header::COOKIE {
            let value = headers.get(&self.header);
            let token = value.map(|value| {
                let value = value.as_bytes();
                value.strip_prefix(b"Bearer ").unwrap_or(value)
            });
            let (Some(value), Some((token, _))) = (value, token.and_then(read)) else {
                return false;
            };
            self.id = token.id;
            self.cookie = value.clone();
            return true;
        }
        let name = config.cookie.name();
        let set = headers.get_all(header::SET_COOKIE).iter().rev();
        let taken = set.map(HeaderValue::as_bytes).find_map(|set| {
            let pair = set.split(|byte| *byte == b';').next()?;
            let token = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some((read(token)?.0, pair))
        });
        let Some((token, pair)) = taken else {
            return false;
        };
        self.id = token.id;
        self.cookie = sensitive(pair);
        true
    }

    /// Returns the session that a request with this cookie would find now, or
    /// `None`. The call does not count as activity.
    ///
    /// # Errors
    ///
    /// As [`SessionHandle::peek`].
    pub async fn peek(&self) -> Result<Option<Session>, Error> {
        self.peek_at(&self.layer).await
    }

    /// Like [`peek`](Self::peek), for a request to another layer, such as a
    /// [`second_node`](super::second_node).
    ///
    /// # Errors
    ///
    /// As [`SessionHandle::peek`].
    pub async fn peek_at(&self, layer: &SessionLayer) -> Result<Option<Session>, Error> {
        let headers = HeaderMap::from_iter([(self.header.clone(), self.cookie())]);
        handle(layer, &headers).peek().await
    }
}

/// The cookie as a value that logs do not show.
fn sensitive(pair: &[u8]) -> HeaderValue {
    let mut cookie = HeaderValue::try_from(pair).expect("the cookie's name was checked");
    cookie.set_sensitive(true);
    cookie
}

fn handle(layer: &SessionLayer, headers: &HeaderMap) -> SessionHandle {
    let config = layer.config();
    let token_headers = config.transports.token_headers(headers);
    SessionHandle::new(config, token_headers, None)
}

/// Shows which session, and not what opens it.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
