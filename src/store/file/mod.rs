//! Sessions in a directory, for the processes of one machine: [`FileStore`].
//!
//! ```text
//! sessions/
//!   00/ … ff/         by the first byte of the id
//!     lock            held by whoever changes something in the folder
//!     00c1…           a session: header and record
//!     00d7….corrupt   a damaged one, set aside
//!   tmp/              what is being written
//!   users/            for each user, by the SHA-256, an empty file for each session
//! ```

mod disk;
mod error;
mod header;
mod inner;
mod listing;
mod sweep;
mod users;
mod walk;

use std::{fmt, panic::resume_unwind, path::Path, sync::Arc};

use tokio::{runtime::Handle, task::JoinHandle};

use self::inner::FileInner;
use super::{
    Created, Former, Position, Query, Reaped, RemovalSink, SessionStore, StoreError,
    StoreErrorKind, StorePage, Touched, Updated,
};
use crate::{
    clock::Timestamp,
    error::ConfigError,
    record::{Activity, Kept, Record, token::SessionId, version::Version},
};

/// Sessions in a directory: they outlive the process, and any number of
/// processes on one machine may share them.
///
/// Cheap to clone; every clone is the same store. Needs the feature `file`.
///
/// ```
/// # fn main() -> Result<(), cloakroom::ConfigError> {
/// use cloakroom::{SessionLayer, store::FileStore};
///
/// # let path = std::env::temp_dir().join(format!("cloakroom-doc-{}", std::process::id()));
/// let store = FileStore::open(&path)?;
/// let layer = SessionLayer::new(store);
/// # std::fs::remove_dir_all(path).unwrap();
/// # Ok(())
/// # }
/// ```
///
/// # What it guarantees
///
/// A session is a file, by its id. It is written elsewhere, synced and
/// renamed, and its folder synced: after a crash, of the process or of the
/// machine, there is the former record or the new one, and what was answered is
/// kept. The exception is a touch, which is written into the file's header and
/// not synced: a loss of power may take the last half minute of touches back, so that
/// a session ends that much earlier.
///
/// Who writes holds the lock file of one of 256 folders, so compare-and-swap is
/// exact among all processes of the machine. Network file systems whose locks
/// or renames do not keep their promises are no place for it.
///
/// Everything is checksummed. A damaged file is set aside as `*.corrupt`,
/// reported by a `tracing` warning with the id, and never deleted; its visitor gets
/// one error (rule F4) and is new afterwards. A file of a newer format is
/// `Incompatible`, and left as it is until somebody deletes its session.
///
/// # What it costs
///
/// A write takes two syncs of the disk, a load an open and two reads,
/// on tokio's blocking threads. A dropped call that has begun is completed. `delete_expired` reads the
/// headers of at most 16,384 files in a call and goes on there in the next; a user's sessions
/// are found by an index. The directory, and all in it, is readable by its owner alone.
#[derive(Clone)]
pub struct FileStore(Arc<FileInner>);

impl FileStore {
    /// Opens the store in the directory `path`, making it where it is missing.
    ///
    /// Blocks, for some milliseconds: for the start of a program.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be made, or nothing can be written, linked or
    /// locked in it: an error that names it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let inner = FileInner::open(path).map_err(|error| {
            ConfigError::new(format!(
                "the session directory {} cannot be used: {error}; \
                 let it be a directory on a local disk that this process's user may write to",
                path.display()
            ))
        })?;
        Ok(Self(Arc::new(inner)))
    }

    /// Does `work` where it may block; outside of a runtime, here.
    async fn block<T, E>(
        &self,
        work: impl FnOnce(&FileInner) -> Result<T, E> + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        StoreError: From<E>,
    {
        let Ok(runtime) = Handle::try_current() else {
            return Ok(work(&self.0)?);
        };
        let inner = Arc::clone(&self.0);
        // What is logged belongs to the request.
        let subscriber = tracing::dispatcher::get_default(Clone::clone);
        let span = tracing::Span::current();
        let mut task = Task(runtime.spawn_blocking(move || {
            tracing::dispatcher::with_default(&subscriber, || {
                span.in_scope(|| work(&inner).map_err(StoreError::from))
            })
        }));
        match (&mut task.0).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => Err(StoreError::new(StoreErrorKind::Unavailable, error)),
        }
    }
}

/// Where the caller is gone before the work has begun, it never does: a disk that hangs gathers no backlog.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.0.root)
            .finish_non_exhaustive()
    }
}

impl SessionStore for FileStore {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let record = Arc::clone(record);
        self.block(move |inner| inner.create(id, &record, activity))
            .await
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        self.block(move |inner| inner.load(id)).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        let (record, expected) = (Arc::clone(record), former.version());
        self.block(move |inner| inner.update(id, &record, activity, expected))
            .await
    }

    async fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.block(move |inner| inner.touch(id, expected, activity))
            .await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.block(move |inner| inner.delete(id)).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.block(move |inner| inner.delete_expired(before, limit))
            .await
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let (query, after) = (query.clone(), after.cloned());
        self.block(move |inner| inner.list(&query, after.as_ref(), limit))
            .await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let selection = query.unordered().clone();
        self.block(move |inner| inner.count(&selection)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.block(FileInner::ping).await
    }

    fn report_removals(&self, sink: RemovalSink) {
        self.0.sinks.write().push(sink);
    }
}
