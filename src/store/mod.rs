//! Stores keep sessions: the [`SessionStore`] trait, its contract, and the stores of this crate.
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
//! - [`update`](SessionStore::update) and [`touch`](SessionStore::touch) change
//!   the record only if the stored one has the expected version, whether it has
//!   expired or not. They never insert. While the record is being deleted, they
//!   may answer `Conflict` or `Stale` instead of `Missing`.
//! - `update` stores the activity as it is given. A store that compares whole
//!   values may answer `Conflict` although the version is the expected one, if a
//!   touch has changed the activity since the [`Former`] was read. A touch has no such answer.
//! - `touch` moves both times of the activity forward, never back, and changes
//!   neither data nor version.
//! - [`delete`](SessionStore::delete) answers `false` if nothing was stored.
//!
//! **Failures.** Each failure of the backend becomes a [`StoreError`] with its
//! kind, and the backend's error as its source. By default, an error means that
//! it is unknown whether the call was or will be applied. If the store knows that
//! it was not applied and never will be, it marks the error as
//! [`not_applied`](StoreError::not_applied). That is the case if nothing was
//! sent, or if the backend refused the call or rolled it back. A false
//! `not_applied` loses data: the core tries again, or tells the visitor that
//! nothing happened.
//!
//! **Retries.** A store, or its driver, may send a call again after a lost reply. The
//! second reply then describes the state after the first, so the store must not
//! return it unchanged. If a repeated `create` finds a record, or a repeated
//! `update` finds another version, the store calls [`Record::has_written`] to find
//! out whether the first attempt was applied. If so, the answer is `Yes` or
//! `Saved`. If not, it is `Exists` or `Conflict`. If the record cannot tell, or is
//! gone, the call fails with an error that is not marked as `not_applied`. The same
//! holds for a repeated `delete` that finds nothing.
//!
//! **Cancellation.** A caller may drop a call at any await point. The call may then have been
//! applied, or be applied later, or never.
//!
//! **Expiry.** Stores do not judge expiry: [`load`](SessionStore::load) also returns
//! expired records. The core calls [`delete_expired`](SessionStore::delete_expired)
//! with a time five minutes ago. If a store also has a clock of its own, it deletes
//! only records that have expired by both clocks. If a backend deletes records by
//! itself, its expiry is `expires_at` plus five minutes.
//!
//! **Caches.** A cache in front of a store may answer `load`. Such a store returns
//! `true` from [`is_cached`](SessionStore::is_cached), and its
//! [`load_latest`](SessionStore::load_latest) asks the backend. The core calls
//! `load_latest` before it rejects a token, before it judges that a session has
//! expired, and after a conflict.
//!
//! **Lists.** [`list`](SessionStore::list) and [`count`](SessionStore::count) include every
//! session, expired or not, whose `create` was answered before the call, and which
//! was not deleted. A record that is created as a marker ([`Record::is_moved`]) is no
//! session and never becomes one: `count` leaves it out, and `list` may do so. A count may include markers that
//! replaced sessions. An index finds the sessions of a user.
//! A list leaves out a record that does not decode, and logs a warning. A store
//! rejects a [`Query`] with conditions or an order that it does not know, and
//! a [`Position`] that does not come from one of its lists.
//!
//! **Orders.** Lists by id, and lists with the newest sessions first, contain each session exactly once if it is
//! stored from the first page to the last. [`Record::begun_at`] does not change while a session has its id, so
//! only `create` writes to an index of it. A list of the sessions last seen is a single page. A position of one
//! order is invalid in another.
//!
//! **Optional calls.** `list`, `count` and [`ping`](SessionStore::ping)
//! answer `Unsupported` if a store does not offer them.
//!
//! `testing::conformance`, with the feature `testing`, tests a store against this contract.
//!
//! # The encoding
//!
//! [`Record::to_bytes`] returns a JSON object. It always has `format` (1 or 2),
//! `version`, `verifier`, `created_at` and `data` (an object of the session's
//! values). Times are milliseconds since the Unix epoch. These fields are there
//! only if they apply:
//!
//! | field | content |
//! | --- | --- |
//! | `realm` | the name of the cookie that the session was issued for, or the layer's `realm` |
//! | `transport` | the header that carries its tokens, in place of the cookie |
//! | `user`, `authenticated_at` | who logged in, and when |
//! | `idle_timeout`, `absolute_timeout` | the session's own timeouts, in milliseconds or `"never"` |
//! | `persistent` | the session's own setting |
//! | `confirmed_at` | when the user last confirmed who they are, after the log-in |
//! | `labels` | an object of the session's labels |
//! | `recent` | the writers of the versions before this one |
//! | `imported`, `ends_at` | that the session was imported from another library, and when it ends at the latest |
//! | `ranked_at` | orders the log-ins of a user in place of `authenticated_at` |
//! | `renewed_at` | when the current secret was issued |
//! | `pending`, `former` | pairs of a verifier and a time: when it was issued, or replaced |
//! | `begun_at` | when the session got its id, if a cycle gave it that id |
//! | `moved_from` | the id before a cycle, until the next write |
//! | `moved_at`, `moved_to` | in a marker: when the session moved, and to which id |
//!
//! A record is of format 2 if it has a field that no node may ignore: a `realm` other than that of `__Host-id`, `transport`,
//! `imported`, `ends_at`, `stamp`, or a field of an unfinished log-in or cycle. An older node rejects it.
//! Unknown fields of a known format are kept and written back. The [`Activity`] is
//! stored beside the record, and so are copies of the fields that a store indexes.
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
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
#[cfg(feature = "mysql")]
pub use self::sql::MySqlStore;
#[cfg(feature = "postgres")]
pub use self::sql::PostgresStore;
#[cfg(feature = "sqlite")]
pub use self::sql::SqliteStore;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use self::sql::{PendingMigration, SqlStore};
pub(crate) use self::{dynamic::Held, memory::MemoryInner};
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
    record::{Activity, Record, token::SessionId},
};

/// The result of [`SessionStore::create`].
///
/// ```
/// use cloakroom::store::Created;
///
/// /// The result of `INSERT … ON CONFLICT DO NOTHING`.
/// fn created(rows: u64) -> Created {
///     if rows == 1 { Created::Yes } else { Created::Exists }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Created {
    /// The record is stored.
    Yes,
    /// Another record is stored under this id, and stays as it is.
    Exists,
}

/// The result of [`SessionStore::update`].
///
/// ```
/// use cloakroom::{Version, store::Updated};
///
/// /// `UPDATE … WHERE id = ? AND version = ?` has changed `rows`. `stored` is the version that is there now.
/// fn updated(rows: u64, stored: Option<Version>) -> Updated {
///     match (rows, stored) {
///         (1, _) => Updated::Saved,
///         (_, Some(_)) => Updated::Conflict,
///         (_, None) => Updated::Missing,
///     }
/// }
/// ```
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

/// The result of [`SessionStore::touch`].
///
/// ```
/// use cloakroom::{Version, store::Touched};
///
/// /// `UPDATE … WHERE id = ? AND version = ?` has changed `rows`. `stored` is the version that is there now.
/// fn touched(rows: u64, stored: Option<Version>) -> Touched {
///     match (rows, stored) {
///         (1, _) => Touched::Yes,
///         (_, Some(_)) => Touched::Stale,
///         (_, None) => Touched::Missing,
///     }
/// }
/// ```
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

/// The result of [`SessionStore::delete_expired`].
///
/// ```
/// use cloakroom::store::Reaped;
///
/// /// A statement that deletes at most `limit` rows has deleted `removed`.
/// fn reaped(removed: usize, limit: usize) -> Reaped {
///     Reaped::new(removed, removed == limit)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Reaped {
    /// How many records were deleted, at most the limit.
    pub removed: usize,
    /// Whether there may be more expired records. If so, the caller calls again.
    pub more: bool,
}

impl Reaped {
    /// `removed` records were deleted, and perhaps there are `more`.
    #[must_use]
    pub fn new(removed: usize, more: bool) -> Self {
        Self { removed, more }
    }
}

/// A place that keeps sessions. The module describes [the contract](self#the-contract). `examples/custom_store.rs`
/// in the repository is a complete store.
///
/// Plain `async fn`s implement it:
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Activity, Record, SessionId, Timestamp};
/// use cloakroom::store::{Created, Former, Reaped, SessionStore, StoreError, Touched, Updated};
///
/// /// A store that keeps nothing.
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
///     async fn touch(&self, _: SessionId, _: Former<'_>, _: Activity) -> Result<Touched, StoreError> {
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

    /// Returns the record under `id`, expired or not. A cache may answer.
    fn load(
        &self,
        id: SessionId,
    ) -> impl Future<Output = Result<Option<(Arc<Record>, Activity)>, StoreError>> + Send;

    /// Returns the backend's record under `id`, without using a cache.
    ///
    /// By default it is [`load`](Self::load).
    fn load_latest(
        &self,
        id: SessionId,
    ) -> impl Future<Output = Result<Option<(Arc<Record>, Activity)>, StoreError>> + Send {
        self.load(id)
    }

    /// Replaces the stored record by `record` if it has the [version](Former::version) of `former`. Never
    /// inserts.
    fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> impl Future<Output = Result<Updated, StoreError>> + Send;

    /// Moves the activity forward if the stored record has the [version](Former::version) of `former`. Never moves it
    /// back.
    fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> impl Future<Output = Result<Touched, StoreError>> + Send;

    /// Deletes the record under `id`. Returns `false` if there was none.
    fn delete(&self, id: SessionId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deletes at most `limit` records whose `expires_at` is at or before `before`.
    fn delete_expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Reaped, StoreError>> + Send;

    /// Returns at most `limit` of the sessions that match `query`, in its order,
    /// beginning after the position `after`.
    ///
    /// A page may have fewer sessions, or none, before the end of the list. The list
    /// ends where [`StorePage::next`] is `None`.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot list, or does not know the query.
    /// `InvalidPosition` if `after` is not one of its positions.
    fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> impl Future<Output = Result<StorePage, StoreError>> + Send {
        let _ = (query, after, limit);
        async { Err(StoreError::unsupported("list sessions")) }
    }

    /// Returns how many of the stored sessions match `query`, including expired ones. Records that were created
    /// as [markers](Record::is_moved) do not count. Markers that replaced sessions count only if the store
    /// cannot tell them apart cheaply. The count may stop at the query's [limit](Query::count_limit).
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot count, or does not know the query.
    fn count(&self, query: &Query) -> impl Future<Output = Result<u64, StoreError>> + Send {
        let _ = query;
        async { Err(StoreError::unsupported("count sessions")) }
    }

    /// Asks the backend whether it works, without reading or writing a session. Use it for health checks.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store does not offer it.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Err(StoreError::unsupported("be pinged")) }
    }

    /// Whether a cache may answer [`load`](Self::load). By default `false`.
    ///
    /// If it is `true`, the core calls [`load_latest`](Self::load_latest) before it rejects a token.
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
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        (**self).touch(id, former, activity).await
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
