//! The operator's handle on all sessions: [`Sessions`].

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use crate::{
    commit::{arrival::has_arrived, revoke::revoke},
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

/// All sessions of a layer's store, to count, list and end them from outside of a request.
///
/// [`SessionLayer::sessions`](crate::SessionLayer::sessions) returns it. It is cheap to clone, can
/// be an axum state, and works outside of requests too. It keeps the store alive, but neither the
/// layer nor its background task.
///
/// ```
/// use cloakroom::{Error, SessionFilter, SessionLayer, Sessions};
///
/// /// "Log out everywhere", after a change of password for example.
/// async fn log_out_everywhere(sessions: &Sessions, user: &str) -> Result<(), Error> {
///     let ended = sessions.revoke_user(user).await?;
///     println!("{ended} sessions ended");
///     Ok(())
/// }
///
/// async fn print_all(sessions: &Sessions) -> Result<(), Error> {
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
///
/// # What it means to end a session
///
/// No node that shares the store accepts the session from its next load on. A request that is
/// using the session keeps nothing, and its response sets no cookie. A session that moves to
/// another id at the same time, by `cycle_id`, is followed and ended. A log-in at the same time is
/// a new session, and stays. (Rules M4, M7, P1.)
///
/// # Errors
///
/// Each call of the store, and each ending, may take the layer's
/// [`store_timeout`](crate::SessionLayer::store_timeout). If one fails, the call returns the error,
/// and the sessions that were ended until then stay ended: make the same call again. Methods that
/// list return [`Unsupported`](crate::ErrorKind::Unsupported) if the store cannot list.
#[derive(Clone)]
pub struct Sessions(Arc<Config>);

/// How many sessions a page has at most.
const MAX_PAGE: usize = 1000;

/// How many sessions are listed at once when all of a list are ended.
const BATCH: usize = 100;

/// After this many calls of the store, a page is returned with fewer sessions than its limit.
const MAX_CALLS: usize = 16;

impl Sessions {
    pub(crate) fn of(config: &Arc<Config>) -> Self {
        config.observers().activate();
        config.ensure_reporting();
        Self(Arc::clone(config))
    }

    /// The statistics of this process, without a call of the store.
    ///
    /// See [`Stats`] for when counting begins.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let held = self.0.store.store.held_in_memory();
        self.0.observers().counters.stats(self.0.clock.now(), held)
    }

    /// How many records the store has.
    ///
    /// That includes sessions that have expired and are not deleted yet, and for a minute the
    /// former id of a session that moved to another one.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot count, and the store's errors.
    pub async fn count(&self) -> Result<u64, Error> {
        self.within(async { Ok(self.0.store.count(&Query::default()).await?) })
            .await
    }

    /// The session with this id. `None` if there is none, if it has expired, or if it continues
    /// under another id. This is no activity.
    ///
    /// # Errors
    ///
    /// The store's errors.
    pub async fn get(&self, id: SessionId) -> Result<Option<SessionSummary>, Error> {
        let latest = self.within(async { Ok(self.0.store.load_latest(id).await?) });
        match latest.await? {
            Some(kept) if self.is_session(id, &kept).await? => {
                Ok(Some(SessionSummary::new(id, kept.0, kept.1)))
            }
            _ => Ok(None),
        }
    }

    /// A page of the live sessions that match `filter`, ordered by id. This is no activity.
    ///
    /// Pass `None` as `after` for the first page, and then the former page's
    /// [`next`](SessionPage::next). A page has at most `limit` sessions; `limit` is clamped to 1
    /// through 1000. It may have fewer, even none: the list ends where `next` is `None`.
    ///
    /// A session that is live and keeps its id from the first page to the last is listed exactly
    /// once. A session that came to its id by `cycle_id` costs one more call of the store, until a
    /// request writes to it. (Rule P2.)
    ///
    /// # Errors
    ///
    /// `BadCursor` if `after` belongs to another filter, `Unsupported` if the store cannot list,
    /// and the store's errors.
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
            let stored = self.page(&query, after.as_ref(), wanted).await?;
            for listed in stored.sessions {
                let kept = (Arc::clone(&listed.record), listed.activity);
                if self.is_session(listed.id, &kept).await? {
                    page.sessions.push(listed.into());
                }
            }
            after = stored.next;
            if after.is_none() || page.sessions.len() >= limit {
                break;
            }
        }
        page.next = after.map(|position| Cursor::new(filter, position));
        Ok(page)
    }

    /// Ends the session with this id. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// The store's errors. The session may have ended or not.
    pub async fn revoke(&self, id: SessionId) -> Result<bool, Error> {
        let ended = self.end(id, EndReason::Revoked, |_, _| true).await?;
        Ok(ended.is_some())
    }

    /// Ends the session with this id if it belongs to `user`. Returns false if there is none, and
    /// if it belongs to somebody else.
    ///
    /// Use it on a page where users see and end their own sessions: the id may come from a form.
    ///
    /// # Errors
    ///
    /// The store's errors. The session may have ended or not.
    pub async fn revoke_for(&self, user: &str, id: SessionId) -> Result<bool, Error> {
        let is_theirs = |_, (record, _): &Kept| record.user() == Some(user);
        let ended = self.end(id, EndReason::Revoked, is_theirs).await?;
        Ok(ended.is_some())
    }

    /// Ends all sessions that the user has when this is called. Returns how many.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot list, and the store's errors.
    pub async fn revoke_user(&self, user: &str) -> Result<u64, Error> {
        let filter = SessionFilter::default().user(user);
        let is_theirs = |_, (record, _): &Kept| record.user() == Some(user);
        self.end_all(filter, EndReason::Revoked, None, is_theirs)
            .await
    }

    /// Ends all sessions of this session's user, but not this session. Returns how many.
    ///
    /// It uses the session as it is stored: call it in a later request than the log-in.
    ///
    /// # Errors
    ///
    /// `NoUser` if the session is not stored yet, or nobody has logged in. `Ended` if the session
    /// has ended. `Unsupported` if the store cannot list, and the store's errors.
    pub async fn revoke_others(&self, session: &Session) -> Result<u64, Error> {
        let stored = session.stored();
        let user = stored.as_ref().and_then(|stored| stored.record.user());
        // A log-in that is not stored yet has no others.
        let user = user.filter(|user| session.user().as_deref() == Some(user));
        let (Some(stored), Some(user)) = (&stored, user) else {
            return Err(Error::new(
                ErrorKind::NoUser,
                "the others of a session are its user's: it must be stored, with a log-in",
            ));
        };
        let filter = SessionFilter::default().user(user);
        let is_theirs = |_, (record, _): &Kept| record.user() == Some(user);
        self.end_all(filter, EndReason::Revoked, Some(stored.id()), is_theirs)
            .await
    }

    /// Ends all sessions that no request has used for longer than this. Returns how many.
    ///
    /// Their events have the reason [`Idle`](EndReason::Idle). A session's last use may be up to the
    /// layer's [`touch_after`](crate::SessionLayer::touch_after) later than the store knows, so pass
    /// more than that.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot list, and the store's errors.
    pub async fn expire_idle(&self, longer_than: Duration) -> Result<u64, Error> {
        let filter = SessionFilter::default().idle_for(longer_than);
        let is_idle = |_, (_, activity): &Kept| {
            let before = self.0.clock.now().saturating_sub(longer_than);
            activity.last_seen_at < before
        };
        self.end_all(filter, EndReason::Idle, None, is_idle).await
    }

    /// Deletes the records that expired more than five minutes ago. Returns how many, including the
    /// former ids of sessions that moved to another one.
    ///
    /// The background task does the same at its interval. Call this from a job of your own if you
    /// have turned the task off with [`reap_every`](crate::SessionLayer::reap_every).
    ///
    /// # Errors
    ///
    /// The store's errors.
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
            let stored = self.page(&query, after.as_ref(), BATCH).await?;
            self.follow(&mut spared).await?;
            let is_meant = |id, kept: &Kept| {
                let origin = kept.0.moved_from();
                let mut ids = origin.into_iter().chain([id]);
                !ids.any(|id| spared.contains(&id)) && is_meant(id, kept)
            };
            for listed in stored.sessions {
                let record = &listed.record;
                // The marker of a session that moved while the list was made leads to it.
                let is_left = record.is_moved() && record.moved_to().is_none();
                if !is_left && !spared.contains(&listed.id) {
                    ended.extend(self.end(listed.id, reason, &is_meant).await?);
                }
            }
            after = stored.next;
            if after.is_none() {
                return Ok(ended.len() as u64);
            }
            // A store in memory never waits. Other tasks need to run too.
            pause(Duration::ZERO).await;
        }
    }

    /// Adds the ids that the last session of `chain` has had since, by cycles.
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
        self.within(revoke(&self.0, id, reason, is_meant)).await
    }

    async fn page(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, Error> {
        self.within(async { Ok(self.0.store.list(query, after, limit).await?) })
            .await
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        within(self.0.store_timeout, call).await
    }

    /// Whether it is live, and not the half of a move that is under way.
    async fn is_session(&self, id: SessionId, (record, activity): &Kept) -> Result<bool, Error> {
        let now = self.0.clock.now();
        if !self.0.lifetimes.is_live(record, *activity, now) {
            return Ok(false);
        }
        self.within(async { Ok(has_arrived(&self.0.store, id, record).await?) })
            .await
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
