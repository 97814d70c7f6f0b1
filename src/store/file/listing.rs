//! Lists and counts: all sessions by reading the folders, a user's by the index.

use std::{io, path::Path, sync::Arc};

use tracing::warn;

use super::{
    error::FileError,
    inner::FileInner,
    users::{UserKey, Users},
    walk::Walk,
};
use crate::{
    error::store::StoreError,
    record::token::SessionId,
    store::{Listed, Order, Position, Query, Selection, StorePage, top::Top},
};

/// How many records one page reads if few match.
const MAX_RECORDS: usize = 1024;

impl FileInner {
    pub(super) fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        match query.order() {
            Order::NewestFirst => self.newest(query, after, limit),
            Order::Id | Order::LastSeenFirst => {
                let selection = query.ordered_by_id()?;
                let after = after.map(Position::id).transpose()?;
                Ok(self.page(selection, after, limit)?)
            }
        }
    }

    /// No index has this order, so this reads every record that may match.
    fn newest(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let mut top = Top::new(query, after, limit)?;
        let mut reached = None;
        loop {
            let page = self.page(query.unordered(), reached, MAX_RECORDS)?;
            for listed in page.sessions {
                let (id, activity) = (listed.id, listed.activity);
                let record = Arc::clone(&listed.record);
                top.offer(id, &record, activity, || listed);
            }
            reached = page.next.as_ref().map(Position::id).transpose()?;
            if reached.is_none() {
                return Ok(top.into_page());
            }
        }
    }

    /// How many sessions match. Records that do not decode count if no record has to be read.
    pub(super) fn count(&self, query: &Query) -> Result<u64, FileError> {
        let selection = query.unordered();
        let most = query.count_limit().unwrap_or(u64::MAX);
        let mut count = 0;
        if selection.is_everything() {
            for id in Walk::after(self.root(), None) {
                id?;
                count += 1;
            }
            count -= self.markers()?.min(count);
            // Folders that are gone look empty.
            self.check_place()?;
            return Ok(count);
        }
        let mut after = None;
        loop {
            let page = self.page(selection, after, MAX_RECORDS)?;
            let sessions = page.sessions.iter();
            count += sessions.filter(|listed| !listed.record.is_moved()).count() as u64;
            // Every position of a page is an id.
            after = page.next.and_then(|next| next.id().ok());
            if after.is_none() || count >= most {
                return Ok(count);
            }
        }
    }

    /// How many records were created as markers.
    fn markers(&self) -> Result<u64, FileError> {
        let mut count = 0;
        for id in self.users.sessions(UserKey::MARKERS, None)? {
            if self.path(id).try_exists()? {
                count += 1;
            } else {
                self.remove_stale_entry(UserKey::MARKERS, id)?;
            }
        }
        Ok(count)
    }

    fn page(
        &self,
        selection: &Selection,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<StorePage, FileError> {
        let user = selection.user().map(UserKey::of);
        let mut page = StorePage::default();
        let mut last = after;
        for (looked, id) in candidates(self.root(), &self.users, user, after)?.enumerate() {
            let id = id?;
            if page.sessions.len() == limit || looked == MAX_RECORDS.max(limit) {
                page.next = last.map(Position::after);
                break;
            }
            last = Some(id);
            let kept = match self.settle(id, Self::read) {
                Err(FileError::Io(error)) => return Err(error.into()),
                // Reported when it was set aside.
                Err(FileError::Damaged) => continue,
                Err(error) => {
                    if let Some(suppressed) = self.unread.admit() {
                        warn!(%id, ?error, suppressed, "a session is left out of a list: it does not decode");
                    }
                    page.leave_out(&error.into());
                    continue;
                }
                Ok(kept) => kept,
            };
            let admitted = kept.filter(|(record, activity)| selection.admits(record, *activity));
            match (admitted, user) {
                (Some((record, activity)), _) => {
                    page.sessions.push(Listed::new(id, record, activity));
                }
                (None, Some(user)) => self.remove_stale_entry(user, id)?,
                (None, None) => {}
            }
        }
        // Folders that are gone look empty.
        self.check_place()?;
        Ok(page)
    }

    /// Removes an entry of the index that a process left there when it died.
    fn remove_stale_entry(&self, user: UserKey, id: SessionId) -> Result<(), FileError> {
        let _lock = match self.lock(id) {
            // The entry stays for a later list.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            locked => locked?,
        };
        let header = match self.header(id) {
            Err(FileError::Io(error)) => return Err(error.into()),
            // Nobody can tell which user the record has.
            Err(_) => return Ok(()),
            Ok(header) => header,
        };
        if header.is_none_or(|header| header.user != Some(user)) {
            self.users.remove(user, id);
        }
        Ok(())
    }
}

type Ids<'a> = Box<dyn Iterator<Item = io::Result<SessionId>> + 'a>;

fn candidates<'a>(
    root: &'a Path,
    users: &Users,
    user: Option<UserKey>,
    after: Option<SessionId>,
) -> io::Result<Ids<'a>> {
    Ok(match user {
        Some(user) => Box::new(users.sessions(user, after)?.into_iter().map(Ok)),
        None => Box::new(Walk::after(root, after)),
    })
}
