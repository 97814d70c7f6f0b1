//! A memory store's sessions in a file, so that they survive a restart:
//! [`Snapshot`], and reading it again.

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

/// How many places of a table are looked at under one hold of its lock.
const BATCH: usize = 512;

/// How often a table may be rebuilt in between before all of it is looked at in one hold.
const PATIENCE: usize = 8;

impl MemoryStore {
    /// Writes all sessions to a file; see [`snapshot`](Self::snapshot), which
    /// can leave some of their keys out.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::save_to`].
    pub async fn save_to(&self, path: impl AsRef<Path>) -> io::Result<usize> {
        self.snapshot().save_to(path).await
    }

    /// What is written to a file, to be [restored](Self::restore_from) when the
    /// process has been started again.
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

    /// Puts the sessions of a [snapshot](Self::snapshot) into the store, and
    /// says what became of them; `None`: there is no such file, as before the
    /// first restart.
    ///
    /// A session that is in the store already stays as it is, so restoring
    /// twice does no harm. The bounds hold: what does not fit evicts others, or
    /// is refused, by the ordinary rules.
    ///
    /// Nothing is judged here, as stores judge nothing: a session that expired
    /// meanwhile comes back, opens nothing, and ends as every expired one does,
    /// in the first sweep, by the layer's clock. Whoever listens for endings
    /// hears of it even where he began to listen after this.
    ///
    /// The file stays where it is. After a crash it is therefore there still,
    /// and would bring back what ended since it was written, sessions that
    /// were logged out included: remove it after restoring, unless you prefer
    /// that to losing the sessions.
    ///
    /// # What is damaged
    ///
    /// Each session has a checksum: a damaged one costs itself alone. It is
    /// reported with its position in [`Restored::flaws`] and by a warning, and
    /// the file is kept under another name beside it, out of the next one's way.
    ///
    /// # Errors
    ///
    /// Those of reading the file: what was restored before stays. `Unsupported`
    /// for a snapshot of another format, `InvalidData` for a file that is no
    /// snapshot: then neither store nor file are changed.
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

/// A memory store's sessions, about to be written to a file. From [`MemoryStore::snapshot`].
#[must_use]
pub struct Snapshot {
    store: MemoryStore,
    left_out: Vec<Filter>,
}

type Filter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl Snapshot {
    /// Leaves out the values under the keys for which `is_left_out` says so:
    /// what is cheap to make again, or must not be on a disk. The sessions stay.
    pub fn without_keys(
        mut self,
        is_left_out: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.left_out.push(Arc::new(is_left_out));
        self
    }

    /// Writes the sessions to a file, and says how many they were.
    ///
    /// The file is complete or not there: it is written under a temporary name
    /// in the same folder, synced, and put in the place of the former one. It can
    /// be read by its owner alone (mode 0600 on Unix), and must not be written by
    /// anybody else: whoever can, can give himself any session.
    ///
    /// The work is done on the runtime's threads for blocking calls, or, without
    /// a runtime, on this one. Requests are served meanwhile; each session is
    /// then written as it is at some moment in between, and one that begins or
    /// gets another id just then may be missing: for an exact copy, save
    /// when the server has shut down. Dropping the future does not stop the work.
    ///
    /// # Errors
    ///
    /// Those of writing the file. The former one is then still there.
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
        // Asked once for each key: it may not say the same twice.
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
    /// Its sessions, the ones to be evicted first foremost.
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

    /// `None`: the table was rebuilt between two holds of its lock, so that some may be missing.
    fn copies_by(&self, batch: usize) -> Option<Vec<(u64, Session)>> {
        let (mut copies, rebuilds) = {
            let table = self.table.read();
            (Vec::with_capacity(table.slots().len()), table.rebuilds())
        };
        let mut place = 0;
        loop {
            let table = self.table.read();
            let since = if batch == usize::MAX {
                // Nothing comes between where there is one hold.
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
    /// Puts a session back as it was.
    fn restore(&self, session: &Session) -> Result<Created, StoreError> {
        let created = self.create(session.id, &session.record, session.activity)?;
        if created == Created::Yes && session.is_seen {
            self.load(session.id);
        }
        Ok(created)
    }
}

/// Does what blocks where it may.
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

/// The system's error, with the path it is about.
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
