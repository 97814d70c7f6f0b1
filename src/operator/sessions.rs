//! The operator's handle on all sessions: [`Sessions`].

use std::{fmt, sync::Arc};

use crate::{
    commit::arrival::has_arrived,
    config::Config,
    deadline::within,
    error::Error,
    observe::{stats::Stats, summary::SessionSummary},
    operator::{
        count::SessionCount,
        filter::SessionFilter,
        paging::{Cursor, SessionPage},
        reaper::Sweep,
    },
    record::{Kept, token::SessionId},
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
/// a new session, and stays. ([Rules](crate#rules) M4, M7, P1.)
///
/// # Errors
///
/// Each call of the store, and each ending, may take the layer's
/// [`store_timeout`](crate::SessionLayer::store_timeout). If one fails, the call returns the error,
/// and the sessions that were ended until then stay ended: make the same call again. Methods that
/// list return [`Unsupported`](crate::ErrorKind::Unsupported) if the store cannot list.
#[derive(Clone)]
pub struct Sessions {
    config: Arc<Config>,
    operator: Option<Arc<str>>,
}

/// How many sessions a page has at most.
pub(super) const MAX_PAGE: usize = 1000;

/// Where counts by a filter stop.
const MAX_COUNT: u64 = 10_000;

/// After this many calls of the store, a page is returned with fewer sessions than its limit.
const MAX_CALLS: usize = 16;

impl Sessions {
    pub(crate) fn of(config: &Arc<Config>) -> Self {
        config.observers().activate();
        config.label_metrics();
        config.ensure_reporting();
        Self {
            config: Arc::clone(config),
            operator: None,
        }
    }

    /// This handle on behalf of the operator with this name: the events of the sessions that it ends
    /// [have it](crate::Event::operator), for an audit log.
    #[must_use]
    pub fn as_operator(&self, name: &str) -> Self {
        Self {
            config: Arc::clone(&self.config),
            operator: Some(name.into()),
        }
    }

    /// Asks the store whether it would answer, without reading or writing a session: for a readiness
    /// check.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot be pinged, and the store's errors.
    pub async fn ping(&self) -> Result<(), Error> {
        self.within(async { Ok(self.config.store.ping().await?) })
            .await
    }

    /// The statistics of this process, without a call of the store.
    ///
    /// See [`Stats`] for when counting begins.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let store = &self.config.store;
        let (held, is_circuit_open) = (store.store.held_in_memory(), store.is_circuit_open());
        let counters = &self.config.observers().counters;
        counters.stats(self.config.clock.now(), held, is_circuit_open)
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
        self.within(async { Ok(self.config.store.count(&Query::default()).await?) })
            .await
    }

    /// How many records of the store match `filter`, counted up to 10,000.
    ///
    /// It includes the same as [`count`](Self::count) does.
    ///
    /// ```
    /// # async fn run(sessions: cloakroom::Sessions) -> Result<(), cloakroom::Error> {
    /// let filter = cloakroom::SessionFilter::default().logged_in();
    /// let count = sessions.count_matching(&filter).await?;
    /// println!("{count} users are here"); // "412", or "more than 10000"
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot count, and the store's errors.
    pub async fn count_matching(&self, filter: &SessionFilter) -> Result<SessionCount, Error> {
        let query = filter.at(self.config.clock.now());
        let query = query.counting_up_to(MAX_COUNT + 1);
        let count = self.within(async { Ok(self.config.store.count(&query).await?) });
        Ok(SessionCount::up_to(count.await?, MAX_COUNT))
    }

    /// The session with this id. `None` if there is none, if it has expired, or if it continues
    /// under another id. This is no activity.
    ///
    /// # Errors
    ///
    /// The store's errors.
    pub async fn get(&self, id: SessionId) -> Result<Option<SessionSummary>, Error> {
        let latest = self.within(async { Ok(self.config.store.load_latest(id).await?) });
        match latest.await? {
            Some(kept) if self.is_session(id, &kept).await? => {
                Ok(Some(SessionSummary::new(id, kept.0, kept.1)))
            }
            _ => Ok(None),
        }
    }

    /// A page of the live sessions that match `filter`, in its order. This is no activity.
    ///
    /// Pass `None` as `after` for the first page, and then the former page's
    /// [`next`](SessionPage::next). A page has at most `limit` sessions; `limit` is clamped to 1
    /// through 1000. It may have fewer, even none: the list ends where `next` is `None`.
    ///
    /// A session that is live and keeps its id from the first page to the last is listed exactly
    /// once. A session that came to its id by `cycle_id` costs one more call of the store, until a
    /// request writes to it. ([Rule](crate#rules) P2.)
    ///
    /// # Errors
    ///
    /// `BadCursor` if `after` belongs to another filter, `Unsupported` if the store cannot list, or
    /// not in this order, and the store's errors.
    pub async fn list(
        &self,
        filter: &SessionFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<SessionPage, Error> {
        let after = after.map(|cursor| cursor.after(filter)).transpose()?;
        let mut after = after.cloned();
        let query = filter.at(self.config.clock.now());
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

    /// The live sessions that match `filter` and were used last, the latest first: at most `limit`,
    /// which is clamped to 1 through 1000.
    ///
    /// The order changes with each request, so this is no list with pages. The filter's own order does
    /// not matter. A memory store and the SQL stores look at every session for it.
    ///
    /// # Errors
    ///
    /// `Unsupported` with all other stores, and the store's errors.
    pub async fn last_seen(
        &self,
        filter: &SessionFilter,
        limit: usize,
    ) -> Result<Vec<SessionSummary>, Error> {
        let query = filter.at(self.config.clock.now()).last_seen_first();
        let limit = limit.clamp(1, MAX_PAGE);
        // Some of them are markers of sessions that moved or ended.
        let stored = self.page(&query, None, limit.saturating_mul(2)).await?;
        let mut found = Vec::new();
        for listed in stored.sessions {
            let kept = (Arc::clone(&listed.record), listed.activity);
            if self.is_session(listed.id, &kept).await? {
                found.push(listed.into());
            }
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
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
        Ok(Sweep::of(&self.config).once().await? as u64)
    }

    pub(super) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(super) fn operator(&self) -> Option<&Arc<str>> {
        self.operator.as_ref()
    }

    pub(super) async fn page(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, Error> {
        self.within(async { Ok(self.config.store.list(query, after, limit).await?) })
            .await
    }

    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        within(self.config.store_timeout, call).await
    }

    /// Whether it is live, and not the half of a move that is under way.
    async fn is_session(&self, id: SessionId, (record, activity): &Kept) -> Result<bool, Error> {
        let now = self.config.clock.now();
        if !self.config.lifetimes.is_live(record, *activity, now) {
            return Ok(false);
        }
        self.within(async { Ok(has_arrived(&self.config.store, id, record).await?) })
            .await
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
