//! The operator's handle on all sessions: [`Sessions`].

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use crate::{
    commit::{revoke::end, unborn::is_born},
    config::Config,
    deadline::{pause, within},
    error::{Error, ErrorKind},
    observe::{event::EndReason, stats::Stats, summary::SessionSummary},
    operator::{
        paging::{Cursor, SessionFilter, SessionPage},
        reaper::Sweep,
    },
    record::{Kept, token::SessionId},
    session::Session,
    store::{Position, Query, StorePage},
};

/// All sessions of a layer's store, for whoever runs the service: to count,
/// list and end them.
///
/// From [`SessionLayer::sessions`](crate::SessionLayer::sessions). Cheap to
/// clone; it may be an axum state, and is used outside of any request as well.
/// It keeps the store, but neither the layer nor its background task.
///
/// What it ends is dead for every node that shares the store at its next load.
/// A request of such a session that is under way keeps nothing and sets no
/// cookie (rule M4). A session that goes on under another id meanwhile, by
/// `cycle_id`, is followed; a log-in is a new session, and is not (rule M7).
///
/// Each call of the store, and each ending, has the layer's `store_timeout`.
/// Where one fails, what was ended until then stays ended; the same call may be
/// made again. A store that cannot list gives
/// [`Unsupported`](crate::ErrorKind::Unsupported) to what needs a list.
///
/// ```
/// use cloakroom::{Error, SessionFilter, SessionLayer, Sessions};
///
/// /// "Log out everywhere": after the password was changed, say.
/// async fn forget(sessions: &Sessions, user: &str) -> Result<(), Error> {
///     let ended = sessions.revoke_user(user).await?;
///     println!("{ended} sessions ended");
///     Ok(())
/// }
///
/// async fn show(sessions: &Sessions) -> Result<(), Error> {
///     let (filter, mut next) = (SessionFilter::default(), None);
///     loop {
///         let page = sessions.list(&filter, next.as_ref(), 100).await?;
///         for session in &page.sessions {
///             println!("{} {:?}", session.id(), session.user());
///         }
///         match page.next {
///             Some(cursor) => next = Some(cursor),
///             None => return Ok(()),
///         }
///     }
/// }
///
/// let sessions = SessionLayer::default().sessions();
/// ```
#[derive(Clone)]
pub struct Sessions(Arc<Config>);

/// How many sessions a page has at most.
const MAX_PAGE: usize = 1000;

/// How many sessions are asked for at once where all of a list are to be ended.
const BATCH: usize = 100;

/// How many calls of the store a page is worth, before it is left short.
const MAX_CALLS: usize = 16;

impl Sessions {
    pub(crate) fn of(config: &Arc<Config>) -> Self {
        config.population().watch();
        config.population().ensure_reporting(config);
        Self(Arc::clone(config))
    }

    /// What has happened in this process since this handle was first taken, or
    /// a listener was registered. Asks nothing of the store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let held = self.0.store.store.held_in_memory();
        self.0.population().tally.stats(self.0.clock.now(), held)
    }

    /// How many sessions the store holds: those included that have expired and
    /// are not deleted yet, and what stays for a minute where a session moved on.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the store does not count, and those of the store.
    pub async fn count(&self) -> Result<u64, Error> {
        self.within(async { Ok(self.0.store.count(&Query::default()).await?) })
            .await
    }

    /// The session of this id; `None` where there is none, it has expired, or
    /// goes on under another id.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn get(&self, id: SessionId) -> Result<Option<SessionSummary>, Error> {
        let latest = self.within(async { Ok(self.0.store.load_latest(id).await?) });
        match latest.await? {
            Some(kept) if self.is_session(id, &kept).await? => {
                Ok(Some(SessionSummary::new(id, kept.0, kept.1)))
            }
            _ => Ok(None),
        }
    }

    /// The live sessions that `filter` lets through, in the order of their
    /// ids; `after` is the former page's [`next`](SessionPage::next).
    ///
    /// At most `limit` of them (1 to 1000; anything else is taken as the
    /// nearest), perhaps fewer, or none: only a `next` of `None` is the end.
    /// A session that keeps its id from the first page to the last is listed
    /// exactly once, if it is live all the while. One that `cycle_id` has brought
    /// under its id costs a call of the store more, until a request writes to it.
    ///
    /// # Errors
    ///
    /// `BadCursor` where `after` is of another filter, `Unsupported` where the
    /// store does not list, and those of the store.
    pub async fn list(
        &self,
        filter: &SessionFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<SessionPage, Error> {
        let after = after.map(|cursor| cursor.after(filter)).transpose()?;
        let mut after = after.cloned();
        let query = filter.at(self.0.clock.now());
        let limit = limit.clamp(1, MAX_PAGE);
        let mut page = SessionPage::default();
        for _ in 0..MAX_CALLS {
            let wanted = limit - page.sessions.len();
            let part = self.part(&query, after.as_ref(), wanted).await?;
            for listed in part.sessions {
                let kept = (Arc::clone(&listed.record), listed.activity);
                if self.is_session(listed.id, &kept).await? {
                    page.sessions.push(listed.into());
                }
            }
            after = part.next;
            if after.is_none() || page.sessions.len() >= limit {
                break;
            }
        }
        page.next = after.map(|position| Cursor::new(filter, position));
        Ok(page)
    }

    /// Ends a session; whether there was one.
    ///
    /// # Errors
    ///
    /// Those of the store: then it may have ended or not.
    pub async fn revoke(&self, id: SessionId) -> Result<bool, Error> {
        let ended = self.end(id, EndReason::Revoked, |_, _| true).await?;
        Ok(ended.is_some())
    }

    /// Ends a session if it is this user's: for a page where users see their
    /// own. `false` for another's as for none.
    ///
    /// # Errors
    ///
    /// Those of the store: then it may have ended or not.
    pub async fn revoke_for(&self, user: &str, id: SessionId) -> Result<bool, Error> {
        let is_his = |_, (record, _): &Kept| record.user() == Some(user);
        let ended = self.end(id, EndReason::Revoked, is_his).await?;
        Ok(ended.is_some())
    }

    /// Ends every session that the user has when this is called; how many.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the store does not list, and those of the store.
    pub async fn revoke_user(&self, user: &str) -> Result<u64, Error> {
        let filter = SessionFilter::default().user(user);
        let is_his = |_, (record, _): &Kept| record.user() == Some(user);
        self.end_all(filter, EndReason::Revoked, None, is_his).await
    }

    /// Ends every session of the session's user but this one; how many.
    ///
    /// It goes by the session as it is stored: a log-in of the same request
    /// comes after.
    ///
    /// # Errors
    ///
    /// `NoUser` where the session is not stored yet or nobody has logged in,
    /// `Ended` where it has ended meanwhile, `Unsupported` where the store does
    /// not list, and those of the store.
    pub async fn revoke_others(&self, session: &Session) -> Result<u64, Error> {
        let stored = session.stored();
        let user = stored.as_ref().and_then(|stored| stored.record.user());
        let (Some(stored), Some(user)) = (&stored, user) else {
            return Err(Error::new(
                ErrorKind::NoUser,
                "the others of a session are its user's: it must be stored, with a log-in",
            ));
        };
        let filter = SessionFilter::default().user(user);
        let is_his = |_, (record, _): &Kept| record.user() == Some(user);
        self.end_all(filter, EndReason::Revoked, Some(stored.id()), is_his)
            .await
    }

    /// Ends every session that was not seen for longer than this, which is
    /// exact to the layer's `touch_after`; how many. Their end is told as
    /// [`Idle`](EndReason::Idle).
    ///
    /// # Errors
    ///
    /// `Unsupported` where the store does not list, and those of the store.
    pub async fn expire_idle(&self, longer_than: Duration) -> Result<u64, Error> {
        let filter = SessionFilter::default().idle_for(longer_than);
        let is_idle = |_, (_, activity): &Kept| {
            let before = self.0.clock.now().saturating_sub(longer_than);
            activity.last_seen_at < before
        };
        self.end_all(filter, EndReason::Idle, None, is_idle).await
    }

    /// Deletes what expired more than five minutes ago, as the background task does; how many.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn reap(&self) -> Result<u64, Error> {
        Ok(Sweep::of(&self.0).once().await? as u64)
    }

    async fn end_all(
        &self,
        filter: SessionFilter,
        reason: EndReason,
        spared: Option<SessionId>,
        is_meant: impl Fn(SessionId, &Kept) -> bool,
    ) -> Result<u64, Error> {
        let query = filter.at(self.0.clock.now());
        let mut spared: Vec<SessionId> = spared.into_iter().collect();
        let (mut ended, mut after) = (HashSet::new(), None::<Position>);
        loop {
            let part = self.part(&query, after.as_ref(), BATCH).await?;
            self.follow(&mut spared).await?;
            let is_meant = |id, kept: &Kept| {
                let origin = kept.0.moved_from();
                let mut ids = origin.into_iter().chain([id]);
                !ids.any(|id| spared.contains(&id)) && is_meant(id, kept)
            };
            for listed in part.sessions {
                let record = &listed.record;
                if record
                    .moved_from()
                    .is_some_and(|from| ended.contains(&from))
                {
                    // A cycle that has come too late: nobody will have its token.
                    self.within(async { Ok(self.0.store.delete(listed.id).await?) })
                        .await?;
                    continue;
                }
                // Where a session moves while the list is made, its marker leads to it.
                let is_left = record.is_moved() && record.moved_to().is_none();
                if !is_left && !spared.contains(&listed.id) {
                    ended.extend(self.end(listed.id, reason, &is_meant).await?);
                }
            }
            after = part.next;
            if after.is_none() {
                return Ok(ended.len() as u64);
            }
            // A store in memory never waits: others want to run too.
            pause(Duration::ZERO).await;
        }
    }

    /// Adds the ids to which a cycle has taken the last of `chain`.
    async fn follow(&self, chain: &mut Vec<SessionId>) -> Result<(), Error> {
        while let Some(last) = chain.last() {
            let latest = self.within(async { Ok(self.0.store.load_latest(*last).await?) });
            match latest.await? {
                None => return Err(Error::ended()),
                Some((record, _)) => match record.moved_to() {
                    Some(next) => chain.push(next),
                    None if record.is_moved() => return Err(Error::ended()),
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndReason,
        is_meant: impl Fn(SessionId, &Kept) -> bool,
    ) -> Result<Option<SessionId>, Error> {
        self.within(end(&self.0, id, reason, is_meant)).await
    }

    async fn part(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, Error> {
        self.within(async { Ok(self.0.store.list(query, after, limit).await?) })
            .await
    }

    async fn within<T>(&self, talk: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        within(self.0.store_timeout, talk).await
    }

    /// Whether it is live, and not on its way to be under another id.
    async fn is_session(&self, id: SessionId, (record, activity): &Kept) -> Result<bool, Error> {
        let now = self.0.clock.now();
        if !self.0.lifetimes.is_live(record, *activity, now) {
            return Ok(false);
        }
        self.within(async { Ok(is_born(&self.0.store, id, record).await?) })
            .await
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
