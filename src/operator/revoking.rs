//! Ending sessions from outside of their requests.

use std::{collections::HashSet, time::Duration};

use crate::{
    commit::revoke::revoke,
    deadline::pause,
    error::{Error, ErrorKind},
    observe::event::EndReason,
    operator::{
        count::SessionCount,
        filter::SessionFilter,
        paging::SessionPage,
        sessions::{MAX_PAGE, Sessions},
    },
    record::{Kept, token::SessionId, user::UserId},
    session::Session,
    store::{Position, Query},
};

/// How many sessions are listed at once when all of a list are ended.
const BATCH: usize = 100;

/// What [`Sessions::revoke_matching`] would end now. [`Sessions::preview`] returns it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RevokePreview {
    /// How many sessions match: live ones alone up to 1,000, and above that as
    /// [`count_matching`](Sessions::count_matching) counts.
    pub count: SessionCount,
    /// The first page of them.
    pub page: SessionPage,
}

/// How far [`Sessions::revoke_matching`] or [`Sessions::revoke_all`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevokeProgress {
    /// How many sessions the store has listed.
    pub listed: u64,
    /// How many of them this call has ended.
    pub ended: u64,
}

impl Sessions {
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
    pub async fn revoke_for(&self, user: impl Into<UserId>, id: SessionId) -> Result<bool, Error> {
        let user = user.into();
        let is_theirs = |_, (record, _): &Kept| record.user() == Some(user.as_str());
        let ended = self.end(id, EndReason::Revoked, is_theirs).await?;
        Ok(ended.is_some())
    }

    /// Ends all sessions that the user has when this is called. Returns how many.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot list, and the store's errors.
    pub async fn revoke_user(&self, user: impl Into<UserId>) -> Result<u64, Error> {
        let user = user.into();
        let filter = SessionFilter::default().user(&user);
        let is_theirs = |_, (record, _): &Kept| record.user() == Some(user.as_str());
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
            let before = self.config().clock.now().saturating_sub(longer_than);
            activity.last_seen_at < before
        };
        self.end_all(filter, EndReason::Idle, None, is_idle).await
    }

    /// What [`revoke_matching`](Self::revoke_matching) with this filter would end now: how many
    /// sessions, and the first `limit` of them.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot list or count, and the store's errors.
    pub async fn preview(
        &self,
        filter: &SessionFilter,
        limit: usize,
    ) -> Result<RevokePreview, Error> {
        let all = self.list(filter, None, MAX_PAGE).await?;
        let found = all.sessions.len() as u64;
        let count = match &all.next {
            None => SessionCount::up_to(found, found),
            Some(_) => self.count_matching(filter).await?,
        };
        let page = self.list(filter, None, limit).await?;
        Ok(RevokePreview { count, page })
    }

    /// Ends all sessions that match `filter` when this is called, and still do when it comes to them.
    /// Returns how many this call has ended: those that another operator ends at the same time are
    /// counted once, by one of the two calls.
    ///
    /// `progress` is called after each hundred sessions, at least once.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use cloakroom::{Error, SessionFilter, Sessions};
    ///
    /// /// A flood of new visitors who are none.
    /// async fn end_flood(sessions: &Sessions, since: SystemTime) -> Result<u64, Error> {
    ///     let flood = SessionFilter::default().anonymous().begun_within(since..);
    ///     println!("{} sessions", sessions.preview(&flood, 10).await?.count);
    ///     sessions
    ///         .as_operator("ann")
    ///         .revoke_matching(&flood, |progress| println!("{} ended", progress.ended))
    ///         .await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `EmptyFilter` if the filter has no condition: [`revoke_all`](Self::revoke_all) ends all sessions.
    /// `Unsupported` if the store cannot list, and the store's errors.
    pub async fn revoke_matching(
        &self,
        filter: &SessionFilter,
        progress: impl FnMut(RevokeProgress),
    ) -> Result<u64, Error> {
        if filter.is_everything() {
            return Err(Error::new(
                ErrorKind::EmptyFilter,
                "a filter without a condition would end every session: use `revoke_all`",
            ));
        }
        let query = filter.at(self.config().clock.now());
        let selection = query.unordered();
        let moved = selection.whenever_begun();
        let is_meant = |listed, id, (record, activity): &Kept| {
            // A cycle does not save a session by the time of its new id.
            let selection = if id == listed { selection } else { &moved };
            selection.admits(record, *activity)
        };
        self.end_listed(&query, EndReason::Revoked, None, is_meant, progress)
            .await
    }

    /// Ends all sessions that there are when this is called: after a leak of the store's data, for
    /// example. Returns how many. Their events have the reason
    /// [`RevokedAll`](EndReason::RevokedAll).
    ///
    /// `progress` is called after each hundred sessions, at least once. Sessions that begin in the
    /// meantime, also by a log-in, stay.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot list, and the store's errors.
    pub async fn revoke_all(&self, progress: impl FnMut(RevokeProgress)) -> Result<u64, Error> {
        let now = self.config().clock.now();
        let is_meant = |listed, id, (record, _): &Kept| id != listed || record.begun_at() <= now;
        let query = Query::default();
        self.end_listed(&query, EndReason::RevokedAll, None, is_meant, progress)
            .await
    }

    async fn end_all(
        &self,
        filter: SessionFilter,
        reason: EndReason,
        spared: Option<SessionId>,
        is_meant: impl Fn(SessionId, &Kept) -> bool,
    ) -> Result<u64, Error> {
        let query = filter.at(self.config().clock.now());
        let is_meant = |_, id, kept: &Kept| is_meant(id, kept);
        self.end_listed(&query, reason, spared, is_meant, |_| {})
            .await
    }

    /// `is_meant` is told the id that was listed, the id that the session has by now, and its record.
    async fn end_listed(
        &self,
        query: &Query,
        reason: EndReason,
        spared: Option<SessionId>,
        is_meant: impl Fn(SessionId, SessionId, &Kept) -> bool,
        mut progress: impl FnMut(RevokeProgress),
    ) -> Result<u64, Error> {
        // By id, so that a marker leads to a session that a page before has missed.
        let query = query.clone().by_id();
        let mut spared: Vec<SessionId> = spared.into_iter().collect();
        let (mut ended, mut after) = (HashSet::new(), None::<Position>);
        let mut so_far = RevokeProgress::default();
        loop {
            let stored = self.page(&query, after.as_ref(), BATCH).await?;
            self.follow(&mut spared).await?;
            so_far.listed += stored.sessions.len() as u64;
            for listed in stored.sessions {
                let record = &listed.record;
                // The marker of a session that moved while the list was made leads to it.
                let is_left = record.is_moved() && record.moved_to().is_none();
                if is_left || spared.contains(&listed.id) {
                    continue;
                }
                let is_meant = |id, kept: &Kept| {
                    let origin = kept.0.moved_from();
                    let mut ids = origin.into_iter().chain([id]);
                    !ids.any(|id| spared.contains(&id)) && is_meant(listed.id, id, kept)
                };
                ended.extend(self.end(listed.id, reason, &is_meant).await?);
            }
            so_far.ended = ended.len() as u64;
            progress(so_far);
            after = stored.next;
            if after.is_none() {
                return Ok(so_far.ended);
            }
            // A store in memory never waits. Other tasks need to run too.
            pause(Duration::ZERO).await;
        }
    }

    /// Adds the ids that the last session of `chain` has had since, by cycles.
    async fn follow(&self, chain: &mut Vec<SessionId>) -> Result<(), Error> {
        while let Some(last) = chain.last() {
            let latest = self.within(async { Ok(self.config().store.load_latest(*last).await?) });
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
        let operator = self.operator();
        self.within(revoke(self.config(), id, reason, operator, is_meant))
            .await
    }
}
