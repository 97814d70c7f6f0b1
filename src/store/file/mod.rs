//! Sessions in a directory, for the processes of one machine: [`FileStore`].
//!
//! ```text
//! sessions/
//!   00/ … ff/         by the first byte of the id
//!     lock            held during each change in the folder
//!     00c1…           a session: header and record
//!     00d7….corrupt   a damaged one, set aside
//!   tmp/              files that are being written
//!   users/            for each user, by the SHA-256, an empty file for each session; in `ff…ff` for each record that
//!                     was created as a marker
//! ```

mod disk;
mod error;
mod header;
mod inner;
mod listing;
mod place;
mod sweep;
mod threads;
mod users;
mod walk;

use std::{fmt, panic::resume_unwind, path::Path, sync::Arc, thread, time::Duration};

use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use self::{
    error::{is_locked, locked_for_long},
    inner::FileInner,
};
use super::{
    Created, Former, Position, Query, Reaped, RemovalSink, SessionStore, StoreError,
    StoreErrorKind, StorePage, Touched, Updated,
};
use crate::{
    clock::Timestamp,
    deadline::back_off,
    error::ConfigError,
    record::{Activity, Kept, Record, token::SessionId},
};

/// Sessions in a directory. They outlive the process, and the processes of one
/// machine may share them.
///
/// A clone is cheap, and is the same store. Needs the feature `file`.
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
/// # Durability
///
/// Each session is a file. A write makes a new file, syncs it, renames it and
/// syncs its folder. After a crash of the process or the machine, either the former
/// record or the new one is there, and everything that was answered is kept.
///
/// A touch is an exception: it is written into the file's header without a
/// sync. If the machine loses power, the touches of the last half minute may be lost. Those
/// sessions may expire that much earlier.
///
/// # Sharing
///
/// A writer holds the lock file of one of 256 folders, so that
/// compare-and-swap is exact among all processes of the machine. Use a local
/// disk: locks and renames do not work as needed on every network file system.
///
/// If the directory is gone, or another one is in its place, every call is `Unavailable`. So an
/// unmounted disk does not look like a store without sessions. The store knows its directory by device and
/// inode: if a disk comes back under another device number, restart the process. Other programs may remove
/// empty folders in the directory; the store creates them again.
///
/// # Damage
///
/// All data has checksums. The store renames a damaged file to `*.corrupt`, logs a
/// `tracing` warning with the id, and never deletes the file. The visitor gets one
/// error, and a new session with the next request. A file of a newer format is
/// `Incompatible`, and stays until its session is deleted.
///
/// # Costs
///
/// A write takes two syncs of the disk; a load takes an open and two reads. They run on at most
/// 64 of tokio's blocking threads at once. A call that has begun is completed, even if the caller
/// drops it. A call that waits for the lock of another process holds no thread, and fails after 10
/// seconds. A sweep leaves out sessions whose folder stays locked. `delete_expired` reads the headers of at most 16,384 files in a call, and the next call
/// continues there. An index finds a user's sessions. Only the owner can read the directory and its
/// files.
#[derive(Clone)]
pub struct FileStore(Arc<FileInner>);

impl FileStore {
    /// Opens the store in the directory `path`, and creates the directory if it is missing.
    ///
    /// This blocks for some milliseconds. Call it when the program starts.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created, or files in it cannot be written,
    /// linked or locked. The error names the directory.
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

    /// Runs `work`, which changes the folder of `id`, as [`block`](Self::block) does.
    async fn block_in_folder<T, E>(
        &self,
        id: SessionId,
        work: impl Fn(&FileInner) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        StoreError: From<E>,
    {
        let turn = self.0.threads.enter_folder(id).await;
        // Held until the work is done, even if its caller is gone.
        let turn = Arc::new(turn);
        self.block(move |inner| {
            let _turn = &turn;
            work(inner)
        })
        .await
    }

    /// Runs `work` on a blocking thread, or here if there is no runtime. If another process holds a lock that it needs,
    /// it is run again later, so that no thread waits.
    async fn block<T, E>(
        &self,
        work: impl Fn(&FileInner) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        StoreError: From<E>,
    {
        let work = Arc::new(work);
        let started = Instant::now();
        let mut tries = 0;
        loop {
            match self.try_once(Arc::clone(&work)).await {
                Err(error) if is_locked(&error) => {
                    if started.elapsed() >= LOCKED_WITHIN {
                        return Err(locked_for_long());
                    }
                }
                done => return done,
            }
            if Handle::try_current().is_ok() {
                back_off(tries).await;
            } else {
                thread::sleep(PAUSE);
            }
            tries = (tries + 1).min(MAX_DOUBLINGS);
        }
    }

    async fn try_once<T, E>(
        &self,
        work: Arc<impl Fn(&FileInner) -> Result<T, E> + Send + Sync + 'static>,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        StoreError: From<E>,
    {
        let Ok(runtime) = Handle::try_current() else {
            return Ok(work(&self.0)?);
        };
        let permit = self.0.threads.permit().await;
        let inner = Arc::clone(&self.0);
        // Its log lines belong to the request.
        let subscriber = tracing::dispatcher::get_default(Clone::clone);
        let span = tracing::Span::current();
        let mut task = Task(runtime.spawn_blocking(move || {
            let _permit = permit;
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

/// How long a call waits for a lock that another process holds.
const LOCKED_WITHIN: Duration = Duration::from_secs(10);

/// The pause between two tries doubles so often, to 8 milliseconds: a lock is held for two syncs of the disk.
const MAX_DOUBLINGS: u32 = 3;

/// The pause between two tries without a runtime.
const PAUSE: Duration = Duration::from_millis(2);

/// Cancels the work if its caller is gone before it has begun, so that a disk that hangs gathers no backlog.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.0.root())
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
        self.block_in_folder(id, move |inner| inner.create(id, &record, activity))
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
        self.block_in_folder(id, move |inner| {
            inner.update(id, &record, activity, expected)
        })
        .await
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let expected = former.version();
        self.block_in_folder(id, move |inner| inner.touch(id, expected, activity))
            .await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.block_in_folder(id, move |inner| inner.delete(id))
            .await
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
        let query = query.clone();
        self.block(move |inner| inner.count(&query)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.block(FileInner::ping).await
    }

    fn report_removals(&self, sink: RemovalSink) {
        self.0.sinks.write().push(sink);
    }
}
