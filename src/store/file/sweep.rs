//! Deletes expired sessions: [`FileInner::delete_expired`]. It reads only the headers.

use std::io;

use tracing::warn;

use super::{disk, error::FileError, header::Header, inner::FileInner, walk::Walk};
use crate::{
    clock::Timestamp,
    record::token::SessionId,
    store::{Reaped, Removal, RemovalReason, RemovalSink},
};

/// How many headers one call reads, even if nothing has expired.
const MAX_HEADERS: usize = 16_384;

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
        let mut endings = Vec::new();
        let swept = self.sweep(before, limit, !sinks.is_empty(), &mut endings);
        let removed = endings.len();
        report(&sinks, endings);
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
        endings: &mut Vec<Removal>,
    ) -> io::Result<bool> {
        let start = *self.swept.lock();
        let ahead = Walk::after(self.root(), start);
        let behind = Walk::after(self.root(), None)
            .take_while(|id| id.as_ref().map_or(true, |id| Some(*id) <= start));
        for (looked, id) in ahead.chain(behind).enumerate() {
            let id = id?;
            if endings.len() == limit || looked == MAX_HEADERS {
                return Ok(true);
            }
            *self.swept.lock() = Some(id);
            match self.reap(id, before, with_records) {
                Ok(ending) => endings.extend(ending),
                Err(FileError::Damaged) => {}
                // One unreadable file must not stop the sweep.
                Err(error) => warn!(%id, ?error, "whether a session has expired cannot be read"),
            }
        }
        Ok(false)
    }

    /// Deletes one session, if it has expired.
    fn reap(
        &self,
        id: SessionId,
        before: Timestamp,
        with_record: bool,
    ) -> Result<Option<Removal>, FileError> {
        let is_expired =
            |header: &Header| header.activity.expires_at.is_some_and(|at| at <= before);
        if !self
            .settle(id, Self::header)?
            .is_some_and(|header| is_expired(&header))
        {
            return Ok(None);
        }
        let _lock = self.lock_patiently(id)?;
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

fn report(sinks: &[RemovalSink], endings: Vec<Removal>) {
    for ending in endings {
        for sink in sinks {
            sink.report(ending.clone());
        }
    }
}
