//! Saves the sessions of a memory store to a file, and restores them after a restart: [`Snapshot`].

mod file;
mod frame;
mod restore;

use std::{fmt, io, panic::resume_unwind, path::Path, sync::Arc};

use tokio::runtime::Handle;

pub use self::restore::{Flaw, FlawKind, Restored};
use self::{
    file::NewFile,
    frame::{Session, Writer},
};
use super::{
    Created, MemoryStore, StoreError,
    eviction::Tier,
    inner::{MemoryInner, Shard},
};
use crate::record::{Record, data::Data};

/// How many places of a table are read under one hold of its lock.
const BATCH: usize = 512;

/// How often reading starts again because the table was rebuilt. After that, it is read under one hold of its lock.
const PATIENCE: usize = 8;

impl MemoryStore {
    /// Writes all sessions to a file, for [`restore_from`](Self::restore_from) after a restart. Returns how
    /// many.
    ///
    /// Call it when the server has shut down. [`Snapshot::save_to`] says how the file is written. To leave
    /// out some values, use [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    ///
    /// The same as [`Snapshot::save_to`].
    pub async fn save_to(&self, path: impl AsRef<Path>) -> io::Result<usize> {
        self.snapshot().save_to(path).await
    }

    /// The store's sessions, to be written to a file. Use it instead of [`save_to`](Self::save_to) to leave
    /// out some values.
    ///
    /// ```
    /// # use cloakroom::store::MemoryStore;
    /// # #[tokio::main]
    /// # async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("cloakroom-doc-{}", std::process::id()));
    /// let store = MemoryStore::default();
    /// store.snapshot().without_keys(|key| key.starts_with("cache.")).save_to(&path).await?;
    ///
    /// let restarted = MemoryStore::default();
    /// let report = restarted.restore_from(&path).await?;
    /// assert!(report.is_some_and(|report| report.flaws.is_empty()));
    /// # std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            store: self.clone(),
            left_out: Vec::new(),
        }
    }

    /// Reads sessions from a file that [`save_to`](Self::save_to) has written, and puts them into the store.
    /// Returns how many were restored, and what was damaged. `None` if there is no such file, for example at
    /// the first start.
    ///
    /// A session that is already in the store stays unchanged, so restoring twice does no harm. If there are
    /// more sessions than the store has room for, it evicts or refuses sessions as usual.
    ///
    /// Sessions that expired meanwhile are restored too. No request can use them, and the next sweep deletes
    /// them and sends their events.
    ///
    /// This method does not remove the file. Remove it after restoring. Otherwise, after a crash, the next start
    /// would restore sessions that have ended since the save, for example by a log-out.
    ///
    /// # Damaged files
    ///
    /// Each session has a checksum, so a damaged one does not affect the others. It is reported in
    /// [`Restored::flaws`] with its position, and logged as a warning. The file is then kept under another
    /// name as well, so that the next save does not replace it.
    ///
    /// # Errors
    ///
    /// The errors of reading the file. Sessions that were restored before the error stay. `NotFound` if the folder
    /// of the file is missing, for example because its disk is not mounted: the next save would fail. `Unsupported` if the
    /// snapshot has another format, and `InvalidData` if the file is not a snapshot. Neither the store nor the
    /// file is changed then.
    pub async fn restore_from(&self, path: impl AsRef<Path>) -> io::Result<Option<Restored>> {
        let (store, path) = (self.clone(), path.as_ref().to_owned());
        let named = path.clone();
        let report = off_the_runtime(move || restore::restore(store.inner(), &path)).await;
        let report = report.map_err(|error| at(&named, "restored from", error))?;
        if let Some(report) = &report {
            report.warn(&named);
        }
        Ok(report)
    }
}

/// The sessions of a memory store, to be written to a file. [`MemoryStore::snapshot`] returns it.
///
/// ```
/// # use cloakroom::store::MemoryStore;
/// async fn save(store: &MemoryStore) -> std::io::Result<usize> {
///     store.snapshot().without_keys(|key| key.starts_with("cache.")).save_to("sessions").await
/// }
/// ```
#[must_use]
pub struct Snapshot {
    store: MemoryStore,
    left_out: Vec<Filter>,
}

type Filter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl Snapshot {
    /// Leaves out the values for whose keys `is_left_out` returns `true`, for example caches, or data that must not
    /// be on a disk. The sessions themselves are written.
    pub fn without_keys(
        mut self,
        is_left_out: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.left_out.push(Arc::new(is_left_out));
        self
    }

    /// Writes the sessions to a file. Returns how many.
    ///
    /// The file is written completely or not at all: it is written under a temporary name in the same folder,
    /// synced and then renamed. Only its owner can read it (mode 0600 on Unix). Nobody else may have write
    /// access, because anybody who can change the file can open any session.
    ///
    /// The work runs on the runtime's threads for blocking calls, or on this thread without a runtime. Dropping
    /// the future does not stop it. If requests are served during the save, the file has the state of each
    /// session at some moment of the save, and a session that begins or moves at that moment may be missing. For
    /// an exact copy, save after the server has shut down.
    ///
    /// # Errors
    ///
    /// The errors of writing the file. The former file is still there then. Only if the sync of the folder fails, which
    /// comes last, the new file is in its place.
    pub async fn save_to(self, path: impl AsRef<Path>) -> io::Result<usize> {
        let path = path.as_ref().to_owned();
        let named = path.clone();
        let saved = off_the_runtime(move || self.save(&path)).await;
        saved.map_err(|error| at(&named, "saved to", error))
    }

    fn save(&self, path: &Path) -> io::Result<usize> {
        let mut writer = Writer::new(NewFile::create(path)?)?;
        let mut saved = 0;
        for shard in &self.store.inner().shards {
            for (_, mut session) in shard.copies() {
                self.leave_out(&mut session.record);
                writer.session(&session)?;
                saved += 1;
            }
        }
        writer.end()?.put_in_place()?;
        Ok(saved)
    }

    fn leave_out(&self, record: &mut Arc<Record>) {
        let is_kept = |key: &str| !self.left_out.iter().any(|is_left_out| is_left_out(key));
        let data = record.data();
        if self.left_out.is_empty() {
            return;
        }
        // Called once for each key, because it may not return the same twice.
        let kept: Vec<_> = data.iter().filter(|(key, _)| is_kept(key)).collect();
        if kept.len() < data.len() {
            let data = Data::from_sorted(kept.into_iter());
            *record = Arc::new(Record::clone(record).with_data(data));
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// The sessions of a shard in the order of eviction.
    fn copies(&self) -> Vec<(u64, Session)> {
        let mut tries = 0..PATIENCE;
        loop {
            let batch = tries.next().map_or(usize::MAX, |_| BATCH);
            if let Some(mut copies) = self.copies_by(batch) {
                copies.sort_unstable_by_key(|(last_use, _)| *last_use);
                return copies;
            }
        }
    }

    /// `None` if the table was rebuilt between two holds of its lock, so that sessions may be missing.
    fn copies_by(&self, batch: usize) -> Option<Vec<(u64, Session)>> {
        let (mut copies, rebuilds) = {
            let table = self.table.read();
            (Vec::with_capacity(table.slots().len()), table.rebuilds())
        };
        let mut place = 0;
        loop {
            let table = self.table.read();
            let since = if batch == usize::MAX {
                // With one hold of the lock nothing can come between.
                table.rebuilds()
            } else {
                rebuilds
            };
            let slots = table.slots_from(place, batch, since)?;
            copies.extend(slots.map(|slot| {
                let last_use = slot.last_use();
                let session = Session {
                    id: slot.id,
                    activity: slot.activity(),
                    is_seen: last_use > Tier::New.last_key(),
                    record: Arc::clone(&slot.record),
                };
                (last_use, session)
            }));
            place = place.saturating_add(batch);
            if place >= table.places() {
                return Some(copies);
            }
        }
    }
}

impl MemoryInner {
    /// Inserts a session as it was.
    fn restore(&self, session: &Session) -> Result<Created, StoreError> {
        let created = self.create(session.id, &session.record, session.activity)?;
        if created == Created::Yes && session.is_seen {
            self.load(session.id);
        }
        Ok(created)
    }
}

/// Runs blocking work on one of the runtime's threads for blocking calls.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let Ok(runtime) = Handle::try_current() else {
        return work();
    };
    match runtime.spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(stopped) => Err(io::Error::other(stopped)),
        },
    }
}

fn at(path: &Path, what: &str, error: io::Error) -> io::Error {
    let what = format!("sessions cannot be {what} {}: {error}", path.display());
    io::Error::new(error.kind(), Failure { what, error })
}

/// An I/O error with its path.
#[derive(Debug)]
struct Failure {
    what: String,
    error: io::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
