//! Where sessions are kept: the [`SessionStore`] trait, its contract, and the stores.
//!
//! [`MemoryStore`] is the default. Any other place becomes a store by
//! implementing [`SessionStore`], with plain `async fn`s.
//!
//! # The contract
//!
//! **Atomicity.** Each call takes effect as a whole or not at all. A write takes one
//! round trip on its successful path, and so does a load.
//!
//! - [`create`](SessionStore::create) never overwrites a record.
//! - [`update`](SessionStore::update) and [`touch`](SessionStore::touch) act
//!   only where the stored record has the expected version, and whatever its
//!   deadline. They never insert. While the record is being deleted they may
//!   answer `Conflict` or `Stale` instead of `Missing`.
//! - `update` stores the activity as it is given. A store that compares whole
//!   values may answer `Conflict` where the version is the expected one and a
//!   touch has moved the activity since the [`Former`] was read.
//! - `touch` moves both times of the activity forward only, and changes
//!   neither data nor version.
//! - [`delete`](SessionStore::delete) answers `false` where nothing was stored.
//!
//! **Failures.** Each failure of the backend becomes a [`StoreError`] with its
//! kind, and the backend's error as its source. An error leaves open whether
//! the call was applied, now or later. A store that knows that it was not, and
//! never will be, says so with [`not_applied`](StoreError::not_applied):
//! nothing was sent, or the backend refused the call, or rolled it back. To
//! say so wrongly loses data: the core then tries again, or tells the visitor
//! that nothing happened.
//!
//! **Retries.** A store, or its driver, may send a call again after a lost reply. It
//! does not hide that: the second reply describes the state after the first.
//! Where a `create` then finds a record, or an `update` another version, the
//! store compares the writers. [`Record::has_written`] tells whether the call
//! is in the stored record's history. If so, the answer is `Yes` or `Saved`. If not, it
//! is `Exists` or `Conflict`. Where the record cannot tell, or is gone, the
//! call fails with an error that leaves open whether it was applied; so does a
//! repeated `delete` that finds nothing.
//!
//! **Cancellation.** A caller may drop a call at any await point. The call was then applied, or
//! will be, or never is.
//!
//! **Expiry.** Stores do not judge expiry: [`load`](SessionStore::load) returns what is
//! stored. The core calls [`delete_expired`](SessionStore::delete_expired)
//! with a moment five minutes ago. A store with a clock of its own deletes
//! what has expired by both clocks, and sets a native expiry to `expires_at`
//! plus five minutes.
//!
//! **Caches.** A cache in front of a store may answer `load`. Such a store says so by
//! [`is_cached`](SessionStore::is_cached), and its
//! [`load_latest`](SessionStore::load_latest) asks the backend. The core calls
//! `load_latest` before it rejects a token, before it judges a session
//! expired, and after a conflict: a cache may only say yes.
//!
//! **Lists.** [`list`](SessionStore::list) and [`count`](SessionStore::count) see every
//! session whose `create` was answered before the call and whose
//! `delete` was not, expired or not. A user's sessions are found by an index.
//! A list leaves out a record that does not decode, with a warning. A store
//! refuses a [`Query`] with conditions or an order that it does not know, and
//! a [`Position`] that none of its lists ended at.
//!
//! **Orders.** A list by id, and one of the newest first, has each session exactly once that is stored
//! from its first page to its last. [`Record::begun_at`] belongs to an id and never changes: an
//! index of it is written in `create` alone. A list of the sessions last seen is a single page. A position
//! of one order is invalid in another.
//!
//! **Optional calls.** `list`, `count` and [`ping`](SessionStore::ping)
//! answer `Unsupported` where a store does not offer them.
//!
//! `testing::conformance`, with the feature `testing`, tests a store against this contract.
//!
//! # The encoding
//!
//! [`Record::to_bytes`] gives a JSON object: `format` (1), `version`,
//! `verifier`, `created_at` (milliseconds since the epoch), `begun_at` (when the session came to
//! its id, where a cycle gave it), `data` (an object
//! of the session's values), and where they apply `user`, `authenticated_at`,
//! `idle_timeout` and `absolute_timeout` (milliseconds or `"never"`),
//! `persistent`, `recent` (the writers of the versions before this one), `ranked_at`
//! (the time that a log-in counts by among its user's, where not its own),
//! `moved_from` (the id before a cycle, until the next write), and for what stays
//! where a session moved on `moved_at` and `moved_to` (the id after a cycle).
//! Where the secret was renewed there are `renewed_at` (when the current one was
//! given out), `pending` and `former`: lists of at most eight pairs of a verifier
//! and a time, of when a pending one was given out, and of when a former one was
//! overtaken. Unknown fields are kept and written back. The [`Activity`] is
//! stored beside it, and so are copies of what a store must index.
//!
#![doc = include_str!("../../STORES.md")]

mod call;
mod dynamic;
// `File::lock`.
#[cfg(feature = "file")]
#[clippy::msrv = "1.89"]
mod file;
mod former;
mod memory;
mod page;
mod query;
#[cfg(feature = "redis")]
mod redis;
mod removal;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
mod tiered;
mod top;

use std::sync::Arc;

#[cfg(feature = "file")]
pub use self::file::FileStore;
pub(crate) use self::memory::MemoryInner;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
#[cfg(feature = "mysql")]
pub use self::sql::MySqlStore;
#[cfg(feature = "postgres")]
pub use self::sql::PostgresStore;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use self::sql::SqlStore;
#[cfg(feature = "sqlite")]
pub use self::sql::SqliteStore;
pub use crate::error::store::{StoreError, StoreErrorKind};

pub use self::{
    call::StoreCall,
    dynamic::DynStore,
    former::Former,
    memory::{Flaw, FlawKind, MemoryStore, MemoryStoreBuilder, Restored, Snapshot, WhenFull},
    page::{Listed, Position, StorePage},
    query::{Condition, Order, Query, Selection},
    removal::{Removal, RemovalReason, RemovalSink},
    tiered::TieredStore,
};
use crate::{
    clock::Timestamp,
    record::{Activity, Record, token::SessionId, version::Version},
};

/// What [`SessionStore::create`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Created {
    /// The record is stored.
    Yes,
    /// Another record is stored under this id, and stays as it is.
    Exists,
}

/// What [`SessionStore::update`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Updated {
    /// The record is stored in place of the former one.
    Saved,
    /// The stored record has another version, and stays as it is.
    Conflict,
    /// No record is stored under this id.
    Missing,
}

/// What [`SessionStore::touch`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Touched {
    /// The activity is stored, or a later one was stored already.
    Yes,
    /// The stored record has another version, and stays as it is.
    Stale,
    /// No record is stored under this id.
    Missing,
}

/// What [`SessionStore::delete_expired`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Reaped {
    /// How many records were deleted, at most the limit.
    pub removed: usize,
    /// Whether more records may have expired: the caller asks again.
    pub more: bool,
}

impl Reaped {
    /// `removed` records were deleted, and perhaps there are `more`.
    #[must_use]
    pub fn new(removed: usize, more: bool) -> Self {
        Self { removed, more }
    }
}

/// A place that keeps sessions. Its contract is [the module's](self#the-contract).
///
/// Plain `async fn`s implement it:
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Activity, Record, SessionId, Timestamp, Version};
/// use cloakroom::store::{Created, Former, Reaped, SessionStore, StoreError, Touched, Updated};
///
/// /// Keeps nothing: every visitor stays new.
/// struct Nowhere;
///
/// impl SessionStore for Nowhere {
///     async fn create(&self, _: SessionId, _: &Arc<Record>, _: Activity) -> Result<Created, StoreError> {
///         Ok(Created::Yes)
///     }
///     async fn load(&self, _: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
///         Ok(None)
///     }
///     async fn update(&self, _: SessionId, _: &Arc<Record>, _: Activity, _: Former<'_>) -> Result<Updated, StoreError> {
///         Ok(Updated::Missing)
///     }
///     async fn touch(&self, _: SessionId, _: Version, _: Activity) -> Result<Touched, StoreError> {
///         Ok(Touched::Missing)
///     }
///     async fn delete(&self, _: SessionId) -> Result<bool, StoreError> {
///         Ok(false)
///     }
///     async fn delete_expired(&self, _: Timestamp, _: usize) -> Result<Reaped, StoreError> {
///         Ok(Reaped::default())
///     }
/// }
/// # let _ = cloakroom::SessionLayer::new(Nowhere);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session store",
    note = "implement `cloakroom::store::SessionStore` for it, or use `MemoryStore`; a shared store is `Arc<S>`"
)]
pub trait SessionStore: Send + Sync + 'static {
    /// Stores a new record. Never overwrites one.
    fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> impl Future<Output = Result<Created, StoreError>> + Send;

    /// Returns what is stored under `id`, expired or not. A cache may answer.
    fn load(
        &self,
        id: SessionId,
    ) -> impl Future<Output = Result<Option<(Arc<Record>, Activity)>, StoreError>> + Send;

    /// Returns what the backend has stored under `id`, and asks no cache.
    ///
    /// By default it is [`load`](Self::load).
    fn load_latest(
        &self,
        id: SessionId,
    ) -> impl Future<Output = Result<Option<(Arc<Record>, Activity)>, StoreError>> + Send {
        self.load(id)
    }

    /// Stores `record` in place of `former`, if the stored record has
    /// [that version](Former::version). Never inserts.
    fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> impl Future<Output = Result<Updated, StoreError>> + Send;

    /// Moves the activity forward, if the stored record has the version
    /// `expected`. Never moves it back.
    fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> impl Future<Output = Result<Touched, StoreError>> + Send;

    /// Deletes what is stored under `id`. Returns `false` if nothing was stored.
    fn delete(&self, id: SessionId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deletes at most `limit` records whose `expires_at` is at or before `before`.
    fn delete_expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Reaped, StoreError>> + Send;

    /// Returns the sessions that `query` asks for, in its order: at most
    /// `limit` of them, beginning after the position `after`.
    ///
    /// A page may have fewer sessions, or none, before the end of the list:
    /// only [`StorePage::next`] tells the end.
    ///
    /// # Errors
    ///
    /// `Unsupported` unless the store lists, and for a query that it does not
    /// know; `InvalidPosition` where `after` is none of its positions.
    fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> impl Future<Output = Result<StorePage, StoreError>> + Send {
        let _ = (query, after, limit);
        async { Err(StoreError::unsupported("list sessions")) }
    }

    /// Returns how many of the stored sessions `query` asks for. Expired ones
    /// and the markers of sessions that moved are included. It may stop at
    /// the query's [limit](Query::count_limit).
    ///
    /// # Errors
    ///
    /// `Unsupported` unless the store counts, and for a query that it does not
    /// know.
    fn count(&self, query: &Query) -> impl Future<Output = Result<u64, StoreError>> + Send {
        let _ = query;
        async { Err(StoreError::unsupported("count sessions")) }
    }

    /// Asks the backend whether it would answer, without reading or writing a
    /// session: for health checks.
    ///
    /// # Errors
    ///
    /// `Unsupported` unless the store offers it.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Err(StoreError::unsupported("be pinged")) }
    }

    /// Whether a cache may answer [`load`](Self::load), so that
    /// [`load_latest`](Self::load_latest) may know better. By default `false`.
    ///
    /// Where it is `false`, the core rejects a token that `load` does not find
    /// without asking a second time.
    fn is_cached(&self) -> bool {
        false
    }

    /// Asks the store to report, from now on, the sessions that it removes by
    /// itself. By default a store reports none.
    fn report_removals(&self, sink: RemovalSink) {
        let _ = sink;
    }
}

impl<S: SessionStore> SessionStore for Arc<S> {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        (**self).create(id, record, activity).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        (**self).load(id).await
    }

    async fn load_latest(
        &self,
        id: SessionId,
    ) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        (**self).load_latest(id).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        (**self).update(id, record, activity, former).await
    }

    async fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        (**self).touch(id, expected, activity).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        (**self).delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        (**self).delete_expired(before, limit).await
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        (**self).list(query, after, limit).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        (**self).count(query).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        (**self).ping().await
    }

    fn is_cached(&self) -> bool {
        (**self).is_cached()
    }

    fn report_removals(&self, sink: RemovalSink) {
        (**self).report_removals(sink);
    }
}
