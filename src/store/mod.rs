//! Where sessions are kept: the [`SessionStore`] trait, its contract, and the stores.
//!
//! [`MemoryStore`] is the default. Any other place becomes a store by
//! implementing [`SessionStore`], with plain `async fn`s.
//!
//! # The contract
//!
//! - Each call is atomic by itself, and on its successful path one round trip.
//! - [`create`](SessionStore::create) never overwrites.
//! - [`update`](SessionStore::update) and [`touch`](SessionStore::touch) act
//!   only where the stored record has exactly the expected version, whatever
//!   its deadline, and never insert. Racing a delete they may say `Conflict` or
//!   `Stale` where `Missing` would be true too.
//! - `touch` moves both times of the activity forward only, and changes
//!   neither data nor version.
//! - [`delete`](SessionStore::delete) of nothing is `false`.
//! - Stores do not judge expiry: [`load`](SessionStore::load) returns what is
//!   there. The core calls [`delete_expired`](SessionStore::delete_expired)
//!   with a moment five minutes ago; a store with a clock of its own deletes
//!   only what has passed by both, and sets a native expiry to `expires_at`
//!   plus five minutes.
//! - [`load_latest`](SessionStore::load_latest) is asked before a token is
//!   rejected, before a session is judged expired, and after every conflict: a
//!   cache in front of a store may only say yes.
//! - [`list`](SessionStore::list) and [`count`](SessionStore::count) see every
//!   session whose `create` was answered before they were asked and whose
//!   `delete` was not, expired or not. A list goes by id, byte by byte; a
//!   user's sessions are found by an index. A record that does not decode is
//!   left out, with a warning. A store that cannot list says `Unsupported`.
//! - Each failure of a backend becomes a [`StoreError`] with its kind, and the
//!   backend's error as its source.
//!
//! A call may be dropped at any await point: it then either happened or did not.
//!
//! `testing::conformance`, with the feature `testing`, holds a store to all of this.
//!
//! # The encoding
//!
//! [`Record::to_bytes`] gives a JSON object: `format` (1), `version`,
//! `verifier`, `created_at` (milliseconds since the epoch), `data` (an object
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

mod dynamic;
mod ending;
// `File::lock`.
#[cfg(feature = "file")]
#[clippy::msrv = "1.89"]
mod file;
mod listing;
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
mod tiered;

use std::sync::Arc;

#[cfg(feature = "file")]
pub use self::file::FileStore;
pub(crate) use self::memory::Room;
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
    dynamic::DynStore,
    ending::{EndedSink, Ending, EndingReason},
    listing::{Filter, Listed, Page},
    memory::{Flaw, FlawKind, MemoryStore, MemoryStoreBuilder, Restored, Snapshot, WhenFull},
    tiered::TieredStore,
};
use crate::{
    clock::Timestamp,
    record::{Activity, Record, token::SessionId, version::Version},
};

/// What [`SessionStore::create`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Created {
    /// The record is stored.
    Yes,
    /// There is a record of this id; it is untouched.
    Exists,
}

/// What [`SessionStore::update`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Updated {
    /// The record is stored in place of the expected version.
    Saved,
    /// The stored record has another version; it is untouched.
    Conflict,
    /// There is no record of this id.
    Missing,
}

/// What [`SessionStore::touch`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    /// The activity is stored, or the stored one was later already.
    Yes,
    /// The stored record has another version; it is untouched.
    Stale,
    /// There is no record of this id.
    Missing,
}

/// What [`SessionStore::delete_expired`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reaped {
    /// How many records were deleted, at most the limit.
    pub removed: usize,
    /// Whether more may be expired: the caller asks again.
    pub more: bool,
}

/// A home for sessions. Its contract is [the module's](self#the-contract).
///
/// Plain `async fn` implements it:
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Activity, Record, SessionId, Timestamp, Version};
/// use cloakroom::store::{Created, Reaped, SessionStore, StoreError, Touched, Updated};
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
///     async fn update(&self, _: SessionId, _: &Arc<Record>, _: Activity, _: Version) -> Result<Updated, StoreError> {
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
    /// Stores a new record; never overwrites one.
    fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> impl Future<Output = Result<Created, StoreError>> + Send;

    /// What is stored under `id`, expired or not; a cache may answer.
    fn load(
        &self,
        id: SessionId,
    ) -> impl Future<Output = Result<Option<(Arc<Record>, Activity)>, StoreError>> + Send;

    /// What is stored under `id` in truth: no cache may answer. By default, [`load`](Self::load).
    fn load_latest(
        &self,
        id: SessionId,
    ) -> impl Future<Output = Result<Option<(Arc<Record>, Activity)>, StoreError>> + Send {
        self.load(id)
    }

    /// Stores `record` in place of the version `expected`, and of no other; never inserts.
    fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> impl Future<Output = Result<Updated, StoreError>> + Send;

    /// Moves the activity of the version `expected` forward; never back.
    fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> impl Future<Output = Result<Touched, StoreError>> + Send;

    /// Deletes whatever is stored under `id`; `false` if there was nothing.
    fn delete(&self, id: SessionId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deletes at most `limit` records whose `expires_at` is at or before `before`.
    fn delete_expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Reaped, StoreError>> + Send;

    /// The sessions that `filter` lets through, in the order of their ids,
    /// beginning after the id `after`; at most `limit` of them, and perhaps
    /// fewer: only a [`Page::next`] of `None` is the end.
    ///
    /// # Errors
    ///
    /// `Unsupported`, unless the store offers it.
    fn list(
        &self,
        filter: &Filter,
        after: Option<SessionId>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send {
        let _ = (filter, after, limit);
        async { Err(StoreError::unsupported("list sessions")) }
    }

    /// How many sessions are stored, expired ones and markers of moved ones included.
    ///
    /// # Errors
    ///
    /// `Unsupported`, unless the store offers it.
    fn count(&self) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Err(StoreError::unsupported("count sessions")) }
    }

    /// Asks the store to report the sessions that it ends by itself, from now
    /// on. By default it reports none.
    fn report_endings(&self, sink: EndedSink) {
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
        expected: Version,
    ) -> Result<Updated, StoreError> {
        (**self).update(id, record, activity, expected).await
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
        filter: &Filter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        (**self).list(filter, after, limit).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        (**self).count().await
    }

    fn report_endings(&self, sink: EndedSink) {
        (**self).report_endings(sink);
    }
}
