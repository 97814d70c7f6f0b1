//! The layer: [`SessionLayer`], builder and [`Layer`].

use std::{fmt, sync::Arc, time::Duration};

use http::request::Parts;
use tower_layer::Layer;

use crate::{
    breaker::CircuitBreaker,
    clock::Clock,
    config::Config,
    cookie::{SessionCookie, Transports},
    http::{service::SessionService, setup::Setup},
    import::{DynImport, Import},
    observe::{context::EventContext, event::Listener},
    operator::sessions::Sessions,
    record::{realm::Realm, timeout::Timeout, token_keys::TokenKeys},
    shutdown::Shutdown,
    store::{DynStore, MemoryStore, SessionStore},
};

/// A [`Layer`] that gives every request of a service a session. Its methods change the settings.
///
/// Put it around everything that uses the session: with axum, call `Router::layer` after the routes
/// are added. It is cheap to clone. Each method returns a changed layer. Services that
/// [`layer`](Layer::layer) returned before keep their settings.
///
/// Several tokio runtimes may share one layer, in a `static` for example, with a store in memory or
/// on disk. When a runtime ends, the background task that deletes expired sessions ends with it, and
/// starts again in the runtime of the next request. A store on a server is bound to the runtime in which
/// it connected: build one for each runtime.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{SessionLayer, store::MemoryStore};
///
/// let layer = SessionLayer::new(MemoryStore::default())
///     .idle_timeout(Duration::from_secs(30 * 60))
///     .absolute_timeout(None);
/// ```
pub struct SessionLayer {
    pub(super) setup: Arc<Setup>,
}

impl SessionLayer {
    /// A layer that keeps sessions in `store`. All other settings have their defaults.
    ///
    /// The store's type appears nowhere else. To use one store in several places, clone it: all
    /// clones of one store in this crate share their sessions.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, SessionLayer};
    ///
    /// let store = MemoryStore::builder().max_bytes(64 * 1024 * 1024).build();
    /// let layer = SessionLayer::new(store);
    /// ```
    pub fn new(store: impl SessionStore) -> Self {
        Self {
            setup: Setup::new(Config::new(DynStore::new(store))),
        }
    }

    /// The name and the attributes of the session cookie. Default: [`SessionCookie::default`],
    /// which is `__Host-id`.
    ///
    /// It takes the builder that [`SessionCookie::new`] returns, or a [`SessionCookie`].
    ///
    /// ```
    /// use cloakroom::{SessionCookie, SessionLayer};
    ///
    /// let layer = SessionLayer::default().cookie(SessionCookie::new("shop"));
    /// ```
    ///
    /// # Panics
    ///
    /// If browsers would not accept the cookie. The message says which attribute is wrong, and
    /// what to do. To get an error instead of a panic, call
    /// [`SessionCookieBuilder::build`](crate::SessionCookieBuilder::build) first.
    #[must_use]
    #[track_caller]
    pub fn cookie<C>(self, cookie: C) -> Self
    where
        C: TryInto<SessionCookie>,
        C::Error: fmt::Display,
    {
        match cookie.try_into() {
            Ok(cookie) => self.with(|config| config.cookie = cookie),
            Err(error) => panic!("{error}"),
        }
    }

    /// The realm of the layer's sessions. Default: the full name of the cookie, such as `__Host-id`.
    ///
    /// A layer accepts only tokens of its own realm. If two layers with different cookie names share a
    /// store, neither accepts a token that the other has issued: a visitor of the shop cannot become
    /// one of the staff by renaming a cookie. To share sessions, give both layers the same realm.
    /// Layers with the same cookie name share their sessions by default.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, SessionCookie, SessionLayer};
    ///
    /// let store = MemoryStore::default();
    /// let shop = SessionLayer::new(store.clone())
    ///     .cookie(SessionCookie::new("shop"))
    ///     .realm("customers");
    /// // Accepts the tokens of the shop's sessions too.
    /// let forum = SessionLayer::new(store.clone())
    ///     .cookie(SessionCookie::new("forum"))
    ///     .realm("customers");
    /// // Accepts neither.
    /// let staff = SessionLayer::new(store).cookie(SessionCookie::new("staff"));
    /// ```
    ///
    /// - A session has the realm in which it began. It moves to the layer's realm when it logs in
    ///   or cycles.
    /// - A layer also accepts sessions whose realm is its cookie's name, or a name in
    ///   [`also_read`](crate::SessionCookieBuilder::also_read). So you can set a realm later, or rename the
    ///   cookie, and no visitor is logged out.
    /// - Every layer accepts sessions that were stored before realms existed, until they log in or cycle.
    /// - Realms separate tokens, not users: [`Sessions`] lists and ends the sessions of all realms,
    ///   and [`max_sessions_per_user`](Self::max_sessions_per_user) counts them. If the same user
    ///   id means different people in two realms, use a store for each.
    ///
    /// Records of another realm than `__Host-id` have format 2. A node with an older version of the crate
    /// answers 503 for such a session, instead of accepting it under any name.
    ///
    /// # Panics
    ///
    /// If the name is longer than 4096 bytes, or the program has more than 65,534 realms. ([Rule](crate#rules) T6.)
    #[must_use]
    #[track_caller]
    pub fn realm(self, name: impl AsRef<str>) -> Self {
        let realm = Realm::named(name.as_ref());
        let realm =
            realm.expect("a realm's name has at most 4096 bytes, and there are few of them");
        self.with(|config| config.realm = Some(realm))
    }

    /// Which headers carry tokens. Default: [`Transport::Cookie`](crate::Transport::Cookie).
    ///
    /// Use another transport for clients other than browsers, such as a mobile app. If there are several, they are
    /// searched in the order of the list. The first one in which the request has a token decides: no other is
    /// searched, even if the token is not valid.
    ///
    /// ```
    /// use cloakroom::{SessionLayer, Transport};
    ///
    /// // Browsers use a cookie, and the app a header. A client without a token gets a cookie, unless the
    /// // handler calls `session.set_transport(Transport::Bearer)` before it logs a user in.
    /// let layer = SessionLayer::default().transport([Transport::Cookie, Transport::Bearer]);
    ///
    /// // An API without browsers: `X-Session` in requests and responses.
    /// let name = http::HeaderName::from_static("x-session");
    /// let layer = SessionLayer::default().transport(Transport::Header(name));
    /// ```
    ///
    /// - A token is accepted only by the transport that it was issued for. Sessions from before this setting have cookies.
    /// - The response that issues a token has it in the same header: `Authorization: Bearer …` for `Bearer`. The client
    ///   must store the latest value that it receives: a log-in, a cycle and `renew_every` replace the token. An empty
    ///   value means that the token is no longer valid, and the client should delete it.
    /// - If a request has a session cookie, its response never has a token in a header, because a script could read it. The
    ///   token is in a cookie. So put `Transport::Cookie` first if browsers use the layer.
    /// - If a header occurs twice, both values are ignored. An `Authorization: Bearer` header whose value does not have the
    ///   form of a token is ignored too: it may be meant for other code.
    /// - Scripts of other origins read the header only if CORS lets them: name it in `Access-Control-Expose-Headers`
    ///   (`CorsLayer::expose_headers`), and the request's header in `Access-Control-Allow-Headers`. To let a script read
    ///   the challenge of a 401, expose `WWW-Authenticate` too.
    /// - A token never appears in a URL.
    ///
    /// Records of such sessions have format 2. A node with an older version of the crate answers 503 for them.
    ///
    /// # Panics
    ///
    /// If the list is empty or has a transport twice, or a header has another meaning, such as `Host`. ([Rule](crate#rules) T9.)
    #[must_use]
    #[track_caller]
    pub fn transport(self, transports: impl Into<Transports>) -> Self {
        let transports = transports.into();
        transports.check();
        self.with(|config| config.transports = transports)
    }

    /// Gives each token a message authentication code, so that a forged token never reaches the
    /// store. Default: `None`, no keys.
    ///
    /// Use it if a flood of forged tokens would cost too many queries. All nodes need the same
    /// keys. [`TokenKeys`] has an example, and says how to add keys while there are sessions, and how to
    /// rotate them. ([Rule](crate#rules) T8.)
    #[must_use]
    pub fn token_keys(self, keys: impl Into<Option<TokenKeys>>) -> Self {
        let keys = keys.into();
        self.with(|config| config.token_keys = keys)
    }

    /// The layer's name in [metrics](crate::Stats#as-metrics). Default: the full name of its
    /// cookie, such as `__Host-id`.
    ///
    /// Clones of a layer count together. They use the name of the clone that was first put around a
    /// service.
    #[must_use]
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        self.with(|config| config.name = Some(name.into()))
    }

    /// The time after its last request when a session expires. Default: 1 hour. `None`: never.
    ///
    /// The session expires at this or the [`absolute_timeout`](Self::absolute_timeout), whichever
    /// comes first. The layer logs a warning if this is longer than the absolute timeout, which is
    /// 24 hours by default: to keep visitors logged in for two weeks, set both.
    ///
    /// A change of this setting also applies to existing sessions. A shorter timeout applies at once. A
    /// longer one applies from the session's next request, because the store deletes a session at the
    /// deadline that the last request wrote. The same holds for the absolute timeout, and if several
    /// layers with different timeouts share one store. ([Rule](crate#rules) L3.)
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::SessionLayer;
    ///
    /// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    ///
    /// let layer = SessionLayer::default()
    ///     .idle_timeout(14 * DAY)
    ///     .absolute_timeout(90 * DAY)
    ///     .persistent(true);
    /// ```
    #[must_use]
    pub fn idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|config| config.lifetimes.idle = timeout.into())
    }

    /// The idle timeout of visitors who have not logged in. Default: the same as
    /// [`idle_timeout`](Self::idle_timeout). `None`: never.
    #[must_use]
    pub fn anonymous_idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into().map_or(Timeout::Never, Timeout::After);
        self.with(|config| config.lifetimes.anonymous_idle = timeout)
    }

    /// The time after its creation, or its user's last log-in, when a session expires, even if it is in
    /// use. Default: 24 hours. `None`: never.
    #[must_use]
    pub fn absolute_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|config| config.lifetimes.absolute = timeout.into())
    }

    /// Whether browsers keep the cookie when they are closed. Default: false.
    ///
    /// A persistent cookie has a `Max-Age`: the session's remaining time in whole seconds, rounded
    /// up, and at most 400 days. It is renewed whenever the session is written or touched. The
    /// remaining time is the shorter of the idle and the absolute one: with an idle timeout of 14
    /// days and the default absolute timeout, `Max-Age` is at most a day.
    #[must_use]
    pub fn persistent(self, persistent: bool) -> Self {
        self.with(|config| config.lifetimes.persistent = persistent)
    }

    /// The shortest time between two writes of a session's activity. Default: a tenth of the idle
    /// timeout, or 6 minutes without one.
    ///
    /// A request that only reads the session does not write to the store if the last write of activity
    /// is more recent than this. In exchange, a session may expire this much early. It never expires
    /// late. A value above half of the idle timeout counts as half of it.
    #[must_use]
    pub fn touch_after(self, duration: Duration) -> Self {
        self.with(|config| config.lifetimes.touch_after = Some(duration))
    }

    /// How often a session gets a new secret, and the visitor a new cookie. Default: `None`,
    /// never. Less than a minute counts as a minute.
    ///
    /// A copied cookie soon becomes worthless, and the crate notices if it is used. The session's id,
    /// user, data and timeouts stay as they are.
    ///
    /// The old secret is valid until the new one has been presented, and 60 seconds longer, so lost
    /// responses and concurrent requests do not log the visitor out. An old secret that is used
    /// later ends the session, with the event [`Ended`](crate::EventKind::Ended) and the reason
    /// [`Copied`](crate::EndReason::Copied): two clients have the cookie, and the crate cannot
    /// tell which one is the visitor. The last eight old secrets are recognised.
    ///
    /// Only requests that load the session renew the secret. `peek` does not. The clocks of all
    /// nodes should agree to within a few seconds. ([Rules](crate#rules) R1 to R3.)
    #[must_use]
    pub fn renew_every(self, interval: impl Into<Option<Duration>>) -> Self {
        self.with(|config| config.renew_every = interval.into())
    }

    /// How often [`Session::ended`](crate::Session::ended) asks the store whether the session
    /// still exists. Default: 30 seconds.
    ///
    /// If this process ends the session, `ended` resolves at once. If another process ends it, `ended`
    /// resolves within this interval. Each session that a task waits for costs one load in each interval.
    #[must_use]
    pub fn check_ended_every(self, interval: Duration) -> Self {
        self.with(|config| config.check_ended_every = interval)
    }

    /// The most bytes that the keys and the JSON values of a session may have together. Default: 64 KiB.
    ///
    /// A change beyond this fails with [`TooLarge`](crate::ErrorKind::TooLarge), and leaves the
    /// session as it was.
    #[must_use]
    pub fn max_data_bytes(self, bytes: usize) -> Self {
        self.with(|config| config.max_data_bytes = bytes)
    }

    /// The most sessions that a user may have. Default: `None`, any number. 0 counts as 1.
    ///
    /// A log-in beyond the limit ends the user's session with the oldest log-in, with the event
    /// [`Ended`](crate::EventKind::Ended) and the reason [`Limit`](crate::EndReason::Limit). The
    /// limit also holds when several nodes log the same user in at the same time. The newest
    /// log-ins stay, by the clocks of the nodes, which should agree.
    ///
    /// If the limit cannot be kept, the log-in is rolled back and answered with a 503. That happens if
    /// the user's other sessions cannot be listed and ended within half of the
    /// [`store_timeout`](Self::store_timeout), or if newer log-ins reach the limit before this one is
    /// answered. With a store that cannot [list](SessionStore::list) sessions, every log-in fails, and
    /// the log says why. ([Rule](crate#rules) P3.)
    #[must_use]
    pub fn max_sessions_per_user(self, sessions: impl Into<Option<usize>>) -> Self {
        let most = sessions.into().map(|sessions| sessions.max(1));
        self.with(|config| config.max_sessions_per_user = most)
    }

    /// The time limit for one load, or for one commit with all its retries. Default: 5 seconds.
    ///
    /// A load that takes longer fails with [`Timeout`](crate::ErrorKind::Timeout), which is a 503.
    /// A commit that takes longer replaces the response with an empty 503.
    #[must_use]
    pub fn store_timeout(self, timeout: Duration) -> Self {
        self.with(|config| config.store_timeout = timeout)
    }

    /// The circuit breaker, which lets requests fail at once while the store is down. Default:
    /// [`CircuitBreaker::default`], 50 failures in a row and a pause of 1 second. `None`: no circuit
    /// breaker.
    ///
    /// After a number of failures in a row the circuit opens: each request that needs the store
    /// gets its 503 at once instead of after [`store_timeout`](Self::store_timeout). In each pause, one
    /// call goes to the store and probes it. The first call that succeeds closes the circuit. A call that
    /// the breaker refuses was certainly not applied. The layer logs both changes, sends listeners
    /// [`CircuitOpened`](crate::EventKind::CircuitOpened) and
    /// [`CircuitClosed`](crate::EventKind::CircuitClosed), and counts refused calls in
    /// [`CallStats::refused`](crate::CallStats::refused).
    ///
    /// A [`MemoryStore`] has no circuit breaker. A layer whose settings change has one of its own.
    #[must_use]
    pub fn circuit_breaker(self, breaker: impl Into<Option<CircuitBreaker>>) -> Self {
        self.with(|config| config.circuit_breaker = breaker.into())
    }

    /// The graceful shutdown of the server. Default: one that never begins.
    ///
    /// When it begins, [`Session::shutting_down`](crate::Session::shutting_down) resolves, and the layer's
    /// background task ends. [`Shutdown`] has an example.
    #[must_use]
    pub fn shutdown(self, shutdown: &Shutdown) -> Self {
        self.with(|config| config.shutdown = shutdown.clone())
    }

    /// How often a background task deletes expired sessions from the store. Default: 60 seconds.
    /// `None`: this layer deletes none.
    ///
    /// A session is deleted at least five minutes after it expired. Until then it takes room, but
    /// no request can use it. The task starts with the first request in a tokio runtime, and ends
    /// when the last clone of the layer and of its services is dropped. If several nodes share one
    /// store, one such task is enough; several do no harm.
    #[must_use]
    pub fn reap_every(self, interval: impl Into<Option<Duration>>) -> Self {
        self.with(|config| config.reap_every = interval.into())
    }

    /// Lets sessions of another library continue as sessions of this crate. Default: none.
    ///
    /// A visitor with the other library's cookie, and without a session of this crate, gets the session that they had
    /// there. The module [`import`](crate::import) has an example, and describes the limits. A second call replaces the
    /// first.
    #[must_use]
    pub fn import(self, import: impl Import) -> Self {
        self.with(|config| config.import = Some(DynImport::new(import)))
    }

    /// Whether responses that depend on the session get `Vary` and `Cache-Control` headers.
    /// Default: true.
    ///
    /// A response that sets the session cookie becomes `Cache-Control: no-store`, and loses the
    /// headers that tell CDNs what to store, such as `CDN-Cache-Control`. A response whose request
    /// used the session gets `Vary: Cookie`, and `Cache-Control: private` if it has no
    /// `Cache-Control`. ([Rules](crate#rules) H1 to H4.)
    ///
    /// Set it to false only if something else keeps these responses out of shared caches: a cache
    /// that stores one gives a visitor's page, or their session, to others.
    #[must_use]
    pub fn cache_headers(self, cache_headers: bool) -> Self {
        self.with(|config| config.cache_headers = cache_headers)
    }

    /// The clock that decides when sessions expire. Default: [`SystemClock`](crate::SystemClock).
    ///
    /// In tests, set a clock that the test moves: the `FixedClock` of the feature `testing`, or a closure.
    ///
    /// ```
    /// use cloakroom::{SessionLayer, Timestamp};
    ///
    /// // 2026-01-01 00:00 UTC, for ever.
    /// let layer = SessionLayer::default().clock(|| Timestamp::from_millis(1_767_225_600_000));
    /// ```
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.with(|config| config.set_clock(clock))
    }

    /// A handle to count, list and end all sessions of this layer's store, and to read statistics.
    ///
    /// Call it after all other methods. The handle uses the settings that the layer has now. Its
    /// statistics cover services of this layer and its clones. A layer that is changed later has
    /// statistics of its own.
    ///
    /// ```
    /// use cloakroom::{SessionLayer, Sessions};
    ///
    /// let layer = SessionLayer::default().max_sessions_per_user(5);
    /// let sessions: Sessions = layer.sessions();
    /// ```
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::of(&self.setup.config)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.setup.config)
    }

    /// Calls `listener` for each [`Event`](crate::Event): sessions that begin, log in, change or end, and rejected
    /// cookies. Default: no listener.
    ///
    /// Each call adds a listener. They are called in the order in which they were added.
    ///
    /// ```
    /// use cloakroom::{Event, EventKind, SessionLayer};
    ///
    /// let layer = SessionLayer::default().on_event(|event: &Event| {
    ///     if let EventKind::LoggedIn { to, .. } = event.kind() {
    ///         println!("a user logged in, session {to}");
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn on_event(self, listener: impl Listener) -> Self {
        self.setup.config.observers().add(Arc::new(listener));
        self
    }

    /// Adds a value from the request to the events that the request causes, such as the peer's address
    /// for an audit log. Default: none.
    ///
    /// `keep` runs before the request is handled, if there is a listener. It gets the request's
    /// method, URI, headers and extensions. [`Event::context`](crate::Event::context) returns its
    /// result to listeners.
    ///
    /// ```
    /// use cloakroom::{Event, SessionLayer};
    ///
    /// struct Asked(String);
    ///
    /// let layer = SessionLayer::default()
    ///     .event_context(|head| Asked(format!("{} {}", head.method, head.uri.path())))
    ///     .on_event(|event: &Event| {
    ///         if let Some(Asked(request)) = event.context() {
    ///             println!("{request}: {:?}", event.kind());
    ///         }
    ///     });
    /// ```
    #[must_use]
    pub fn event_context<T>(self, keep: impl Fn(&Parts) -> T + Send + Sync + 'static) -> Self
    where
        T: Send + Sync + 'static,
    {
        let keep = move |head: &Parts| EventContext::new(keep(head));
        self.with(|config| config.event_context = Some(Arc::new(keep)))
    }

    /// The same settings over the same store, as another machine has them.
    #[cfg(feature = "testing")]
    pub(crate) fn second_node(&self) -> Self {
        self.clone().with(Config::separate)
    }

    pub(super) fn with(self, set: impl FnOnce(&mut Config)) -> Self {
        // A layer with other settings has a reaper and warnings of its own. Layers that share a store share its observers.
        let mut config = Config::clone(&self.setup.config);
        config.warned = Arc::default();
        set(&mut config);
        config.break_circuit();
        Self {
            setup: Setup::new(config),
        }
    }
}

impl Clone for SessionLayer {
    fn clone(&self) -> Self {
        Self {
            setup: self.setup.near(),
        }
    }
}

/// A [`MemoryStore`] and all settings at their defaults.
impl Default for SessionLayer {
    fn default() -> Self {
        Self::new(MemoryStore::default())
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("cookie", &self.setup.config.cookie)
            .field("lifetimes", &self.setup.config.lifetimes)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.setup.prepare();
        SessionService::new(inner, self.setup.near())
    }
}
