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
    shutdown::Shutdown,
    store::{Position, Query, StorePage},
};

/// A handle to count, list and end all sessions of a layer's store from outside of their requests.
///
/// [`SessionLayer::sessions`](crate::SessionLayer::sessions) returns it. It is cheap to clone, can
/// be an axum state, and works in handlers, jobs and command-line tools. It keeps the store alive, but
/// neither the layer nor its background task.
///
/// ```
/// use cloakroom::{Error, SessionFilter, SessionLayer, Sessions};
///
/// /// "Log out everywhere", for example after a change of the password.
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
/// # The effect of ending a session
///
/// From their next load on, all nodes that share the store reject the session. A request that is
/// using the session keeps nothing, and its response sets no cookie. If `cycle_id` moves the session
/// to another id at the same time, the call follows it and ends it. A log-in at the same time begins
/// a new session, which stays. ([Rules](crate#rules) M4, M7, P1.)
///
/// # Errors
///
/// The layer's [`store_timeout`](crate::SessionLayer::store_timeout) limits each call of the store, and
/// the ending of each session. If one of them fails, the method returns the error. Sessions that were
/// ended before stay ended: call the method again to end the others. Methods that list sessions return
/// [`Unsupported`](crate::ErrorKind::Unsupported) if the store cannot list.
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

    /// The layer's [`shutdown`](crate::SessionLayer::shutdown), for event streams of an operator's page.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.config.shutdown
    }

    /// A handle that acts on behalf of the operator with this name. The events of sessions that it ends
    /// contain the [name](crate::Event::operator), for an audit log.
    ///
    /// ```
    /// # async fn run(sessions: cloakroom::Sessions) -> Result<(), cloakroom::Error> {
    /// sessions.as_operator("olga").revoke_user("ann").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn as_operator(&self, name: &str) -> Self {
        Self {
            config: Arc::clone(&self.config),
            operator: Some(name.into()),
        }
    }

    /// Checks that the store answers, without reading or writing a session. Use it for a readiness
    /// check.
    ///
    /// ```
    /// use cloakroom::Sessions;
    /// use http::StatusCode;
    ///
    /// async fn ready(sessions: &Sessions) -> StatusCode {
    ///     match sessions.ping().await {
    ///         Ok(()) => StatusCode::OK,
    ///         Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    ///     }
    /// }
    /// ```
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
    /// [`Stats`] has an example, and says when counting begins.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let store = &self.config.store;
        let counters = &self.config.observers().counters;
        counters.stats(self.config.clock.now(), store.is_circuit_open())
    }

    /// How many sessions the store has.
    ///
    /// That includes sessions that have expired and are not deleted yet. Except with a
    /// [`MemoryStore`](crate::MemoryStore), it also includes sessions that ended or moved to another id, for the minutes until
    /// the store deletes their markers.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store cannot count, and the store's errors.
    pub async fn count(&self) -> Result<u64, Error> {
        self.within(async { Ok(self.config.store.count(&Query::default()).await?) })
            .await
    }

    /// How many sessions of the store match `filter`. The count stops at 10,000.
    ///
    /// It includes sessions that have expired and are not deleted yet. With an SQL store it also includes markers, as
    /// [`count`](Self::count) does.
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
    /// under another id. The call does not count as activity of the session.
    ///
    /// ```
    /// # async fn run(sessions: cloakroom::Sessions) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
    /// if let Some(session) = sessions.get(id).await? {
    ///     println!("{:?}, last seen {:?}", session.user(), session.last_seen_at());
    /// }
    /// # Ok(())
    /// # }
    /// ```
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

    /// A page of the live sessions that match `filter`, in its order. The call does not count as activity of
    /// the sessions. [`Sessions`] has an example.
    ///
    /// Pass `None` as `after` for the first page, and then the former page's
    /// [`next`](SessionPage::next). A page has at most `limit` sessions; `limit` is clamped to 1
    /// through 1000. A page may have fewer sessions, or none. The list ends when `next` is `None`.
    ///
    /// A session that is live and keeps its id from the first page to the last is listed exactly
    /// once. After a `cycle_id`, listing the session costs one more call of the store, until a
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

    /// The live sessions that match `filter`, the one that was used last first. Returns at most `limit`
    /// sessions; `limit` is clamped to 1 through 1000.
    ///
    /// The order changes with each request, so there is only one page. The filter's own order does
    /// not matter. The memory store and the SQL stores look at every session for this list. Other stores
    /// do not offer it.
    ///
    /// ```
    /// # async fn run(sessions: cloakroom::Sessions) -> Result<(), cloakroom::Error> {
    /// let users = cloakroom::SessionFilter::default().logged_in();
    /// for session in sessions.last_seen(&users, 20).await? {
    ///     println!("{:?} {:?}", session.user(), session.last_seen_at());
    /// }
    /// # Ok(())
    /// # }
    /// ```
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

    /// Deletes the records that expired more than five minutes ago. Returns how many, including
    /// markers of sessions that ended, or moved to another id.
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

    /// Whether the session is live, and not one of the two records of a move that is not finished.
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
