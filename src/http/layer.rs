//! The layer: [`SessionLayer`], builder and [`Layer`].

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use crate::{
    clock::Clock,
    config::Config,
    cookie::SessionCookie,
    http::service::SessionService,
    observe::{event::Listener, population::Population},
    operator::{reaper::Reaper, sessions::Sessions},
    record::timeout::Timeout,
    store::{DynStore, MemoryStore, SessionStore},
};

/// Puts a session around every request of a service.
///
/// Put it outside of whatever uses the session. It is cheap to clone, and
/// knows its store at run time only: the store's type appears nowhere else.
/// The methods change the layer they are called on; what
/// [`layer`](Layer::layer) gave before keeps its settings.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{SessionLayer, store::MemoryStore};
///
/// let layer = SessionLayer::new(MemoryStore::default())
///     .idle_timeout(Duration::from_secs(30 * 60))
///     .absolute_timeout(None);
/// ```
#[derive(Clone)]
pub struct SessionLayer {
    config: Arc<Config>,
    reaper: Arc<Reaper>,
}

impl SessionLayer {
    /// Keeps sessions in `store`, everything else as the defaults say.
    pub fn new(store: impl SessionStore) -> Self {
        Self {
            config: Arc::new(Config::new(DynStore::new(store))),
            reaper: Arc::default(),
        }
    }

    /// The cookie's name and attributes. Default: [`SessionCookie::default`].
    #[must_use]
    pub fn cookie(self, cookie: SessionCookie) -> Self {
        self.with(|config| config.cookie = cookie)
    }

    /// A session ends this long after it was last seen. Default: 1 hour; `None`: never (rule L1).
    #[must_use]
    pub fn idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|config| config.lifetimes.idle = timeout.into())
    }

    /// As [`idle_timeout`](Self::idle_timeout), for visitors who have not
    /// logged in. Default: the same.
    #[must_use]
    pub fn anonymous_idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into().map_or(Timeout::Never, Timeout::After);
        self.with(|config| config.lifetimes.anonymous_idle = timeout)
    }

    /// A session ends this long after it began, or its user logged in, seen
    /// or not. Default: 24 hours; `None`: never (rule L1).
    #[must_use]
    pub fn absolute_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|config| config.lifetimes.absolute = timeout.into())
    }

    /// Whether the cookie outlives the browser: with Max-Age, at most 400
    /// days (rule L6). Default: false.
    #[must_use]
    pub fn persistent(self, persistent: bool) -> Self {
        self.with(|config| config.lifetimes.persistent = persistent)
    }

    /// How long ago a session must have been seen for the store to be told
    /// that it was seen again. Default: a tenth of the idle timeout, or 6
    /// minutes without one; at most half the idle timeout. A session may end
    /// this much early, never late (rule L1).
    #[must_use]
    pub fn touch_after(self, duration: Duration) -> Self {
        self.with(|config| config.lifetimes.touch_after = Some(duration))
    }

    /// How often a session gets a new secret, and the visitor a new cookie, while
    /// the session goes on: what somebody may have copied soon opens nothing.
    /// Default: `None`, never. Less than a minute is taken as a minute.
    ///
    /// The old secret proves the session until the new one has been presented,
    /// and 60 seconds longer, for requests that are under way: a lost response
    /// costs nothing (rule R1). After that, whoever brings it ends the session,
    /// with the event [`Ended`](crate::EventKind::Ended) for the reason
    /// [`Copied`](crate::EndReason::Copied) (rule R3): two have the cookie, and
    /// nobody knows which is the visitor. The last eight are recognised.
    ///
    /// A request renews it, or presents it, where it loads the session: one that
    /// peeks does neither. The clocks of nodes should agree to a few seconds.
    #[must_use]
    pub fn renew_every(self, interval: impl Into<Option<Duration>>) -> Self {
        self.with(|config| config.renew_every = interval.into())
    }

    /// How often [`Session::ended`](crate::Session::ended) asks the store, which
    /// is how it learns of what other nodes end. Default: 30 seconds. Each
    /// session waited for costs a load each time.
    #[must_use]
    pub fn check_ended_every(self, interval: Duration) -> Self {
        self.with(|config| config.check_ended_every = interval)
    }

    /// How many bytes of keys and JSON values a session may have. Default: 64 KiB.
    #[must_use]
    pub fn max_data_bytes(self, bytes: usize) -> Self {
        self.with(|config| config.max_data_bytes = bytes)
    }

    /// How many sessions a user has at most. Default: `None`, any number; 0 is taken as 1.
    ///
    /// A log-in beyond it ends the one whose log-in is the oldest, with the
    /// event `Ended` for the reason [`Limit`](crate::EndReason::Limit). However
    /// many log in at once, on however many nodes, no more are left when they
    /// are answered: the newest by the nodes' clocks, which should agree. A
    /// log-in whose clock is not past the newest one's, because it was set back
    /// say, counts as a millisecond later than that. One that newer
    /// ones have outdone before its answer is on the way, or whose user's other
    /// sessions cannot be listed and ended in half of the `store_timeout`, is taken
    /// back and answered with 503. A store that cannot list sessions, which
    /// [`SessionStore::list`] says of itself, thus fails every log-in, and says so in the log.
    #[must_use]
    pub fn max_sessions_per_user(self, sessions: impl Into<Option<usize>>) -> Self {
        let most = sessions.into().map(|sessions| sessions.max(1));
        self.with(|config| config.max_sessions_per_user = most)
    }

    /// How long one whole load, and one whole commit, may take. Default: 5 seconds.
    #[must_use]
    pub fn store_timeout(self, timeout: Duration) -> Self {
        self.with(|config| config.store_timeout = timeout)
    }

    /// How often expired sessions are deleted in the background. Default: 60
    /// seconds; `None`: not by this layer.
    ///
    /// The task starts with the first request that comes in on a tokio
    /// runtime, and ends with the last clone of the layer and its services.
    #[must_use]
    pub fn reap_every(self, interval: impl Into<Option<Duration>>) -> Self {
        self.with(|config| config.reap_every = interval.into())
    }

    /// Whether responses get `Vary` and `Cache-Control` as rules H1 to H3 say. Default: true.
    #[must_use]
    pub fn cache_headers(self, cache_headers: bool) -> Self {
        self.with(|config| config.cache_headers = cache_headers)
    }

    /// Tells the time. Default: [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.with(|config| config.clock = Arc::new(clock))
    }

    /// The operator's handle on all sessions of this layer. Take it when the
    /// layer is set up: its statistics are of the settings as they are now.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::of(&self.config)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }

    /// Tells `listener` of everything that happens to sessions, after those that
    /// were registered before it. Default: none.
    #[must_use]
    pub fn on_event(self, listener: impl Listener) -> Self {
        self.with(|config| {
            let mut listeners = config.population().listeners.clone();
            listeners.push(Arc::new(listener));
            config.store.population = Arc::new(Population::new(listeners));
        })
    }

    fn with(mut self, set: impl FnOnce(&mut Config)) -> Self {
        // Settings of its own: a reaper and statistics of its own.
        self.reaper = Arc::default();
        let config = Arc::make_mut(&mut self.config);
        let listeners = config.population().listeners.clone();
        config.store.population = Arc::new(Population::new(listeners));
        set(config);
        self
    }
}

/// A [`MemoryStore`] and every default.
impl Default for SessionLayer {
    fn default() -> Self {
        Self::new(MemoryStore::default())
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("cookie", &self.config.cookie)
            .field("lifetimes", &self.config.lifetimes)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.config.population().ensure_reporting(&self.config);
        SessionService::new(inner, Arc::clone(&self.config), Arc::clone(&self.reaper))
    }
}
