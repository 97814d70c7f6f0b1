//! Deletes expired sessions: [`FileInner::delete_expired`]. It reads only the headers.

use std::{
    fs::File,
    io::{self, ErrorKind},
    thread,
    time::Duration,
};

use tracing::warn;

use super::{disk, error::FileError, header::Header, inner::FileInner, walk::Walk};
use crate::{
    clock::Timestamp,
    record::token::SessionId,
    store::{Reaped, Removal, RemovalReason, RemovalSink},
};

/// How many headers one call reads, even if nothing has expired.
const MAX_HEADERS: usize = 16_384;

/// How often one call waits for locks that other calls hold, in total. If a sweep waited until a lock is free, it would keep
/// its thread even after its caller is gone.
const MAX_WAITS: u32 = 250;

/// A lock is held for two syncs of the disk.
const WAIT: Duration = Duration::from_millis(2);

impl FileInner {
    /// Continues where the last call ended, and reads each session at most once.
    pub(super) fn delete_expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Reaped, FileError> {
        self.check_place()?;
        disk::remove_left_overs(&self.temp())?;
        let sinks = self.sinks.read().clone();
        let mut removals = Vec::new();
        let swept = self.sweep(before, limit, !sinks.is_empty(), &mut removals);
        let swept = swept.and_then(|more| self.check_place().map(|()| more));
        let removed = removals.len();
        report(&sinks, removals);
        Ok(Reaped {
            removed,
            more: swept?,
        })
    }

    /// Whether there may be more.
    fn sweep(
        &self,
        before: Timestamp,
        limit: usize,
        with_records: bool,
        removals: &mut Vec<Removal>,
    ) -> io::Result<bool> {
        let start = *self.swept.lock();
        let (mut waits, mut locked) = (MAX_WAITS, 0_u64);
        let ahead = Walk::after(self.root(), start);
        let behind = Walk::after(self.root(), None)
            .take_while(|id| id.as_ref().map_or(true, |id| Some(*id) <= start));
        let mut has_more = false;
        for (looked, id) in ahead.chain(behind).enumerate() {
            let id = id?;
            if removals.len() == limit || looked == MAX_HEADERS {
                has_more = true;
                break;
            }
            *self.swept.lock() = Some(id);
            match self.reap(id, before, with_records, &mut waits) {
                Ok(removal) => removals.extend(removal),
                Err(FileError::Damaged) => {}
                // A later sweep deletes it.
                Err(FileError::Io(error)) if error.kind() == ErrorKind::WouldBlock => locked += 1,
                // One unreadable file must not stop the sweep.
                Err(error) => {
                    if let Some(suppressed) = self.unread.admit() {
                        warn!(%id, ?error, suppressed, "whether a session has expired cannot be read");
                    }
                }
            }
        }
        if locked > 0 {
            warn!(
                sessions = locked,
                "expired sessions were not deleted: another process holds the locks of their folders"
            );
        }
        Ok(has_more)
    }

    /// Deletes one session, if it has expired. `WouldBlock` if its folder stays locked.
    fn reap(
        &self,
        id: SessionId,
        before: Timestamp,
        with_record: bool,
        waits: &mut u32,
    ) -> Result<Option<Removal>, FileError> {
        let is_expired =
            |header: &Header| header.activity.expires_at.is_some_and(|at| at <= before);
        if !self
            .settle(id, Self::header)?
            .is_some_and(|header| is_expired(&header))
        {
            return Ok(None);
        }
        let _lock = self.lock_waiting(id, waits)?;
        // Read again under the lock: it may have been touched meanwhile.
        let header = self.set_aside_if_damaged(id, self.header(id))?;
        let Some(header) = header.filter(is_expired) else {
            return Ok(None);
        };
        let record = match with_record.then(|| self.read(id)) {
            None | Some(Err(FileError::Incompatible(_))) => None,
            Some(read) => self.set_aside_if_damaged(id, read)?,
        };
        // Not synced: if a loss of power brings it back, it is still expired.
        self.remove(id, header.user)?;
        Ok(Some(Removal::new(id, RemovalReason::Expired, record)))
    }
}

impl FileInner {
    /// Locks the folder of `id`. Waits for it while there are `waits` left.
    fn lock_waiting(&self, id: SessionId, waits: &mut u32) -> io::Result<File> {
        loop {
            match self.lock(id) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && *waits > 0 => {
                    *waits -= 1;
                    thread::sleep(WAIT);
                }
                locked => return locked,
            }
        }
    }
}

fn report(sinks: &[RemovalSink], removals: Vec<Removal>) {
    for removal in removals {
        for sink in sinks {
            sink.report(removal.clone());
        }
    }
}
