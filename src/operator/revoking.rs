//! Ending sessions from outside of their requests.

use std::{collections::HashSet, time::Duration};

use crate::{
    commit::revoke::revoke,
    deadline::pause,
    error::{
        Error, ErrorKind,
        store::{StoreError, StoreErrorKind},
    },
    observe::event::EndReason,
    operator::{
        count::SessionCount,
        filter::SessionFilter,
        paging::SessionPage,
        sessions::{MAX_PAGE, Sessions},
    },
    record::{Kept, token::SessionId, user::UserId},
    session::Session,
    store::{Condition, Position, Query},
};

/// The operator must learn that sessions are left which this version cannot read, and so cannot end.
fn not_ended(incompatible: u64) -> StoreError {
    let what = format!(
        "{incompatible} sessions were not ended, because a newer version of cloakroom wrote them: end them with that version"
    );
    StoreError::new(StoreErrorKind::Incompatible, what)
}

/// How many sessions are listed at once when all of a list are ended.
const BATCH: usize = 100;

/// The sessions that [`Sessions::revoke_matching`] would end now. [`Sessions::preview`] returns it.
///
/// ```
/// use cloakroom::RevokePreview;
///
/// fn question(preview: &RevokePreview) -> String {
///     format!("End {} sessions?", preview.count)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RevokePreview {
    /// How many sessions match. Up to 1,000, only live sessions count. Above that, the number is that of
    /// [`count_matching`](Sessions::count_matching).
    pub count: SessionCount,
    /// The first page of them.
    pub page: SessionPage,
}

/// The progress of [`Sessions::revoke_matching`] or [`Sessions::revoke_all`], for their callback.
///
/// ```
/// use cloakroom::{Error, RevokeProgress, Sessions};
///
/// async fn end_all(sessions: &Sessions) -> Result<u64, Error> {
///     let report = |progress: RevokeProgress| {
///         println!("{} of {} ended", progress.ended, progress.listed);
///     };
///     sessions.revoke_all(report).await
/// }
/// ```
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
    /// ```
    /// # async fn run(sessions: cloakroom::Sessions) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
    /// if !sessions.revoke(id).await? {
    ///     println!("no such session");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The store's errors. The session may have ended or not.
    pub async fn revoke(&self, id: SessionId) -> Result<bool, Error> {
        let ended = self.end(id, EndReason::Revoked, |_, _| true).await?;
        Ok(ended.is_some())
    }

    /// Ends the session with this id if it belongs to `user`. Returns `false` if there is no such session,
    /// or if it belongs to another user.
    ///
    /// Use it on a page where users see and end their own sessions. A form can send any id, and this call
    /// does not end sessions of other users.
    ///
    /// ```
    /// use cloakroom::{Error, Session, SessionId, Sessions};
    ///
    /// /// Ends one of the user's devices. `id` comes from the form.
    /// async fn end(session: &Session, sessions: &Sessions, id: SessionId) -> Result<bool, Error> {
    ///     match session.user() {
    ///         Some(user) => sessions.revoke_for(user, id).await,
    ///         None => Ok(false),
    ///     }
    /// }
    /// ```
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

    /// Ends all sessions that the user has at the time of the call. Returns how many. [`Sessions`] has an
    /// example.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot list, `Incompatible` if a newer version of the crate wrote some of the sessions, and
    /// the store's errors. The others have ended.
    pub async fn revoke_user(&self, user: impl Into<UserId>) -> Result<u64, Error> {
        let user = user.into();
        let filter = SessionFilter::default().user(&user);
        let is_theirs = |_, (record, _): &Kept| record.user() == Some(user.as_str());
        self.end_all(filter, EndReason::Revoked, None, is_theirs)
            .await
    }

    /// Ends all sessions of this session's user, but not this session. Returns how many.
    ///
    /// It uses the stored session, so call it in a later request than the log-in.
    ///
    /// ```
    /// use axum::extract::State;
    /// use cloakroom::{Error, Session, Sessions};
    ///
    /// async fn log_out_other_devices(
    ///     State(sessions): State<Sessions>,
    ///     session: Session,
    /// ) -> Result<String, Error> {
    ///     let ended = sessions.revoke_others(&session).await?;
    ///     Ok(format!("{ended} devices logged out"))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `NoUser` if the session is not stored yet, or nobody has logged in. `Ended` if the session
    /// has ended. `Unsupported` if the store cannot list, `Incompatible` if a newer version of the crate wrote some of the
    /// sessions, and the store's errors. The others have ended.
    pub async fn revoke_others(&self, session: &Session) -> Result<u64, Error> {
        let stored = session.stored();
        let user = stored.as_ref().and_then(|stored| stored.record.user());
        // If the log-in is not stored yet, the stored session has no user.
        let user = user.filter(|user| session.user().as_deref() == Some(user));
        let (Some(stored), Some(user)) = (&stored, user) else {
            return Err(Error::new(
                ErrorKind::NoUser,
                "a session has no other sessions unless it is stored and has a user",
            ));
        };
        let filter = SessionFilter::default().user(user);
        let is_theirs = |_, (record, _): &Kept| record.user() == Some(user);
        self.end_all(filter, EndReason::Revoked, Some(stored.id()), is_theirs)
            .await
    }

    /// Ends all sessions that no request has used for longer than this. Returns how many.
    ///
    /// Their events have the reason [`Idle`](EndReason::Idle). The stored time of the last use may be too
    /// early by up to the layer's [`touch_after`](crate::SessionLayer::touch_after), so pass more than
    /// that.
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

    /// Returns how many sessions [`revoke_matching`](Self::revoke_matching) with this filter would end now,
    /// and the first `limit` of them. It ends nothing.
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

    /// Ends all sessions that match `filter` at the time of the call, and still match when the call reaches
    /// them. Returns how many this call has ended. If another operator ends the same session at the same
    /// time, only one of the two calls counts it.
    ///
    /// `progress` is called after each hundred sessions, and at least once.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use cloakroom::{Error, SessionFilter, Sessions};
    ///
    /// /// Ends the sessions of a flood of requests without a cookie.
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
    /// `Unsupported` if the store cannot list, and the store's errors. `Incompatible` if the filter has no other condition than the
    /// user, and a newer version of the crate wrote some of the sessions. The others have ended.
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
            // If the session has cycled since, the time of its new id does not matter.
            let selection = if id == listed { selection } else { &moved };
            selection.admits(record, *activity)
        };
        self.end_listed(&query, EndReason::Revoked, None, is_meant, progress)
            .await
    }

    /// Ends all sessions that exist at the time of the call, for example after a leak of the store's data.
    /// Returns how many. Their events have the reason [`RevokedAll`](EndReason::RevokedAll).
    ///
    /// `progress` is called after each hundred sessions, and at least once. Sessions that begin during the
    /// call stay, including those that begin by a log-in. [`RevokeProgress`] has an example.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot list, `Incompatible` if a newer version of the crate wrote some of the sessions, and
    /// the store's errors. The others have ended.
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

    /// `is_meant` gets the listed id, the session's current id, and its record.
    async fn end_listed(
        &self,
        query: &Query,
        reason: EndReason,
        spared: Option<SessionId>,
        is_meant: impl Fn(SessionId, SessionId, &Kept) -> bool,
        mut progress: impl FnMut(RevokeProgress),
    ) -> Result<u64, Error> {
        // Ordered by id. If a cycle gives a session an id that an earlier page has passed, its marker leads to it.
        let query = query.clone().by_id();
        let mut spared: Vec<SessionId> = spared.into_iter().collect();
        let (mut ended, mut after) = (HashSet::new(), None::<Position>);
        let (mut so_far, mut incompatible) = (RevokeProgress::default(), 0);
        // Without other conditions than the user, a session that cannot be read is meant too.
        let mut conditions = query.unordered().conditions();
        let are_meant = conditions.all(|condition| matches!(condition, Condition::User(_)));
        loop {
            let stored = self.page(&query, after.as_ref(), BATCH).await?;
            incompatible += stored.incompatible * u64::from(are_meant);
            self.follow(&mut spared).await?;
            so_far.listed += stored.sessions.len() as u64;
            for listed in stored.sessions {
                let record = &listed.record;
                // The session moved after the call began: its marker leads to it.
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
            if after.is_none() && incompatible > 0 {
                return Err(not_ended(incompatible).into());
            }
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
