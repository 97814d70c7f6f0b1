//! Listing sessions: [`Room::list`], all by a walk, a user's by the index.

use std::{io, path::Path};

use tracing::warn;

use super::{
    room::Room,
    trouble::Trouble,
    users::{UserKey, Users},
    walk::Walk,
};
use crate::{
    record::token::SessionId,
    store::{Filter, Listed, Page},
};

/// How many records one page looks at, where few get through the filter.
const MAX_RECORDS: usize = 1024;

impl Room {
    pub(super) fn list(
        &self,
        filter: &Filter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Page, Trouble> {
        let user = filter.user.as_deref().map(UserKey::of);
        let mut page = Page::default();
        let mut last = after;
        for (looked, id) in candidates(&self.root, &self.users, user, after)?.enumerate() {
            let id = id?;
            if page.sessions.len() == limit || looked == MAX_RECORDS.max(limit) {
                page.next = last;
                break;
            }
            last = Some(id);
            let kept = match self.settle(id, Self::read) {
                Err(Trouble::Io(error)) => return Err(error.into()),
                // Reported when it was set aside.
                Err(Trouble::Damaged) => continue,
                Err(error) => {
                    warn!(%id, ?error, "a session is left out of a list: it does not decode");
                    continue;
                }
                Ok(kept) => kept,
            };
            let admitted = kept.filter(|(record, activity)| filter.admits(record, *activity));
            match (admitted, user) {
                (Some((record, activity)), _) => page.sessions.push(Listed {
                    id,
                    record,
                    activity,
                }),
                (None, Some(user)) => self.remove_stale_entry(user, id)?,
                (None, None) => {}
            }
        }
        Ok(page)
    }

    /// Takes out of the index what was left there by a process that ended in between.
    fn remove_stale_entry(&self, user: UserKey, id: SessionId) -> Result<(), Trouble> {
        let _lock = self.lock(id)?;
        let header = match self.header(id) {
            Err(Trouble::Io(error)) => return Err(error.into()),
            // Nobody knows whose it is.
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
