//! The layer's settings, shared by every request: [`Config`].

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use http::request::Parts;
use tokio::sync::Semaphore;
use tracing::{error, warn};

use crate::{
    breaker::CircuitBreaker,
    clock::{Clock, SystemClock, Timestamp},
    cookie::{Presented, SessionCookie, TokenHeaders, Transport, TransportIndex, Transports},
    error::Error,
    import::{DynImport, OldTokens},
    observe::{
        context::EventContext, observers::Observers, removals::ensure_reporting, timed::TimedStore,
    },
    queue::Queues,
    random::{unique, unique_at},
    record::{
        Record, lifetime::Lifetimes, realm::Realm, timeout::Timeout, token::SessionId,
        token_keys::TokenKeys,
    },
    shutdown::Shutdown,
    store::DynStore,
    throttle::Throttle,
};

/// How many abandoned commits are undone at the same time. In an outage each of them waits for the
/// store, and for a connection to it.
const MAX_UNDOING: usize = 64;

/// The layer's settings, shared by every request.
// A copy's reference count has its line of memory for itself.
#[repr(align(128))]
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) store: TimedStore,
    /// The layer's name in metrics. `None`: the name of its cookie.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) cookie: SessionCookie,
    /// `None`: that of the cookie.
    pub(crate) realm: Option<Realm>,
    pub(crate) token_keys: Option<TokenKeys>,
    pub(crate) transports: Transports,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) max_data_bytes: usize,
    pub(crate) renew_every: Option<Duration>,
    pub(crate) check_ended_every: Duration,
    pub(crate) max_sessions_per_user: Option<usize>,
    pub(crate) store_timeout: Duration,
    pub(crate) circuit_breaker: Option<CircuitBreaker>,
    pub(crate) cache_headers: bool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether `clock` is the operating system's.
    has_system_clock: bool,
    /// Where commits of one session wait for one another, once they have conflicted.
    pub(crate) queues: Arc<Queues<SessionId>>,
    /// Permits for the tasks that undo what an abandoned commit has begun.
    pub(crate) undoing: Arc<Semaphore>,
    pub(crate) reap_every: Option<Duration>,
    /// Sessions of another library that continue here.
    pub(crate) import: Option<DynImport>,
    pub(crate) warned: Arc<Warned>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) shutdown: Shutdown,
    /// What events keep of the request that caused them.
    pub(crate) event_context: Option<KeepContext>,
    /// Reads the current stamp of a user. `None`: sessions are not compared with it.
    pub(crate) user_stamp: Option<UserStamp>,
    #[cfg(feature = "axum")]
    pub(crate) pages: Pages,
    /// The sources of labels for a session that begins or logs in, by the label's name.
    pub(crate) labels: Vec<(Box<str>, LabelSource)>,
    /// What browsers are asked to forget at a log-out.
    pub(crate) clear_site_data: Vec<&'static str>,
    pub(crate) no_store_for_users: bool,
}

/// Reads a label from a request.
pub(crate) type LabelSource = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// Asks the application for the stamp of a user.
pub(crate) type UserStamp = Arc<dyn Fn(String) -> StampFuture + Send + Sync>;

pub(crate) type StampFuture = Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, Error>> + Send>>;

/// Where visitors go to log in, to confirm who they are, and to log out.
#[cfg(feature = "axum")]
#[derive(Clone, Default)]
pub(crate) struct Pages {
    pub(crate) log_in: Option<Arc<str>>,
    pub(crate) confirm: Option<Arc<str>>,
    pub(crate) log_out: Option<Arc<str>>,
}

/// What events keep of a request with this head.
pub(crate) type KeepContext = Arc<dyn Fn(&Parts) -> EventContext + Send + Sync>;

/// Which warnings the layer has logged. Each is logged once.
#[derive(Default)]
pub(crate) struct Warned {
    /// A `Secure` cookie was set over plain http.
    pub(crate) of_lost_cookie: AtomicBool,
}

/// How many cookies of another library are verified. A browser has one, or a few where some were planted.
const MAX_OLD_COOKIES: usize = 16;

/// How often the layer logs what each request may bring about: a failure while the store is down, or what a client sends.
#[derive(Default)]
pub(crate) struct Failures {
    pub(crate) not_loaded: Throttle,
    pub(crate) not_kept: Throttle,
    pub(crate) not_touched: Throttle,
    /// Changes after the response head.
    pub(crate) not_saved: Throttle,
    /// The session of another library.
    pub(crate) not_deleted: Throttle,
    pub(crate) not_verified: Throttle,
    pub(crate) planted: Throttle,
    pub(crate) too_many: Throttle,
    pub(crate) several_old: Throttle,
    pub(crate) copied: Throttle,
    pub(crate) from_future: Throttle,
    pub(crate) cdn_header: Throttle,
    pub(crate) no_context: Throttle,
}

impl Config {
    /// Keeps sessions in `store`. Everything else has its default.
    pub(crate) fn new(store: DynStore) -> Self {
        let mut config = Self {
            store: TimedStore::new(store.clone(), Arc::new(Observers::new(Vec::new(), store))),
            name: None,
            cookie: SessionCookie::default(),
            realm: None,
            token_keys: None,
            transports: Transports::cookie(),
            lifetimes: Lifetimes::default(),
            max_data_bytes: 64 * 1024,
            renew_every: None,
            check_ended_every: Duration::from_secs(30),
            max_sessions_per_user: None,
            store_timeout: Duration::from_secs(5),
            circuit_breaker: Some(CircuitBreaker::default()),
            cache_headers: true,
            clock: Arc::new(SystemClock),
            has_system_clock: true,
            queues: Arc::default(),
            undoing: Arc::new(Semaphore::new(MAX_UNDOING)),
            reap_every: Some(Duration::from_secs(60)),
            import: None,
            warned: Arc::default(),
            failures: Arc::default(),
            shutdown: Shutdown::new(),
            event_context: None,
            user_stamp: None,
            #[cfg(feature = "axum")]
            pages: Pages::default(),
            labels: Vec::new(),
            clear_site_data: Vec::new(),
            no_store_for_users: false,
        };
        config.break_circuit();
        config
    }

    /// Separates the settings from their clones. Only the store, the clock and the listeners stay shared.
    #[cfg(feature = "testing")]
    pub(crate) fn separate(&mut self) {
        let store = self.store.store.clone();
        self.store.observers = Arc::new(self.store.observers.separate(store));
        self.queues = Arc::default();
        self.undoing = Arc::new(Semaphore::new(MAX_UNDOING));
    }

    pub(crate) fn set_clock(&mut self, clock: impl Clock) {
        self.has_system_clock = (&clock as &dyn Any).is::<SystemClock>();
        self.clock = Arc::new(clock);
    }

    /// The time of a commit, and the writer of its versions. Both come of one look at the system's clock, if that is
    /// the layer's.
    pub(crate) fn draw(&self) -> (Timestamp, u64) {
        if self.has_system_clock {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.unwrap_or_default();
            (Timestamp::EPOCH.saturating_add(now), unique_at(now))
        } else {
            (self.clock.now(), unique())
        }
    }

    /// The realm of the sessions that begin here.
    pub(crate) fn realm(&self) -> Realm {
        self.realm.unwrap_or(self.cookie.realm())
    }

    /// Whether the record's tokens are issued by this transport (rule T9).
    pub(crate) fn uses_transport(&self, record: &Record, transport: TransportIndex) -> bool {
        if self.transports.is_cookie_only() {
            return record.transport().is_none();
        }
        self.transports.is_used_by(record, transport)
    }

    /// Whether tokens of `record` are good here (rule T6).
    pub(crate) fn accepts(&self, record: &Record, now: Timestamp) -> bool {
        let realm = record.realm();
        realm == Realm::NONE || Some(realm) == self.realm || self.cookie.reads(realm, now)
    }

    /// The tokens in the request's headers.
    pub(crate) fn presented(&self, token_headers: &TokenHeaders, now: Timestamp) -> Presented {
        let keys = self.token_keys.as_ref();
        if self.transports.is_cookie_only() {
            return self.cookie.presented(token_headers, keys, now);
        }
        let cookie = &self.cookie;
        self.transports.presented(cookie, token_headers, keys, now)
    }

    /// The tokens of the other library in the request's cookies. None if the layer takes no tokens in cookies (rule I10).
    pub(crate) fn old_tokens(&self, token_headers: &TokenHeaders) -> OldTokens {
        let mut tokens = OldTokens::default();
        if let Some(import) = &self.import
            && self.transports.index_of(&Transport::Cookie).is_some()
            && self.clock.now() < import.until()
        {
            let values = token_headers.cookie_values(import.cookie_name());
            let values = values.take(MAX_OLD_COOKIES);
            values.for_each(|value| tokens.push(import.token(value)));
        }
        tokens
    }

    /// Gives the store a circuit breaker with the current settings.
    pub(crate) fn break_circuit(&mut self) {
        let (breaker, timeout) = (self.circuit_breaker, self.store_timeout);
        self.store.break_circuit(breaker, timeout, &self.clock);
    }

    /// What events keep of the request with this head. `None` if nobody listens.
    pub(crate) fn context_of(&self, head: &Parts) -> Option<EventContext> {
        let keep = self.event_context.as_ref()?;
        if !self.observers().has_listeners() {
            return None;
        }
        let kept = catch_unwind(AssertUnwindSafe(|| keep(head)));
        if kept.is_err()
            && let Some(suppressed) = self.failures.no_context.admit()
        {
            error!(suppressed, "the closure of `event_context` has panicked");
        }
        kept.ok()
    }

    pub(crate) fn observers(&self) -> &Arc<Observers> {
        &self.store.observers
    }

    /// Warns if the absolute timeout is shorter than the idle timeout.
    pub(crate) fn check_timeouts(&self) {
        let Some(absolute) = self.lifetimes.absolute else {
            return;
        };
        let anonymous = match self.lifetimes.anonymous_idle {
            Timeout::After(timeout) => Some(timeout),
            Timeout::Layer | Timeout::Never => None,
        };
        let longest = self.lifetimes.idle.max(anonymous);
        if let Some(idle) = longest.filter(|idle| *idle > absolute) {
            warn!(
                idle_timeout = ?idle,
                absolute_timeout = ?absolute,
                "the absolute timeout ends sessions before the idle timeout: set `absolute_timeout` as well"
            );
        }
    }

    /// Warns if the layer's own cookie replaces the one that is needed to go back to the other library.
    pub(crate) fn check_import(&self) {
        if let Some(import) = self.import.as_ref().filter(|import| import.keeps())
            && import.cookie_name() == self.cookie.name()
        {
            warn!(
                cookie = self.cookie.name(),
                "the layer's cookie replaces the cookie of the other library, so nobody can go back to it: give the layer's \
                 cookie another name"
            );
        }
    }

    /// Names the layer and its store in metrics.
    pub(crate) fn label_metrics(&self) {
        let name = self.name.as_deref().unwrap_or(self.cookie.name());
        self.observers().counters.label(name);
    }

    /// Asks the store, once, to report the sessions that it removes by itself, if anybody observes.
    pub(crate) fn ensure_reporting(&self) {
        // Most requests come here.
        if self.observers().is_active() {
            let store = &self.store.store;
            ensure_reporting(self.observers(), store, self.lifetimes, &self.clock);
        }
    }
}
