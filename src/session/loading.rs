//! Which of the tokens that a request brings opens a session: the load, once for each request.

use std::{error::Error as _, mem, sync::Arc, time::Duration};

use tracing::{Instrument as _, debug, debug_span, field, warn};

use crate::{
    clock::Timestamp,
    commit::ending::{end, help, help_now},
    cookie::Presented,
    deadline::within,
    error::Error,
    observe::event::{EndReason, Event, Rejection},
    record::{
        Activity, Kept, Record,
        lifetime::is_past,
        renewal::{self, Verdict},
        token::{SessionId, Token},
    },
    state::{State, Stored, Usage, shared::Shared},
    store::StoreCall,
};

/// A record that was last seen this far ahead of the clock is reported (rule L7).
const SUSPICIOUS: Duration = Duration::from_secs(60);

impl Shared {
    /// What came of the first load stands for the whole request.
    pub(super) async fn load(&self, usage: Usage) -> Result<(), Error> {
        if let Some(loaded) = self.loaded(usage) {
            return loaded;
        }
        let span = debug_span!("session_load", session.id = field::Empty);
        if let Some(loaded) = span.in_scope(|| self.look_up_now(usage)) {
            self.name(&span);
            return loaded;
        }
        // Boxed, so that the handler's own future stays small.
        let loaded = Box::pin(async {
            let _gate = self.enter().await;
            match self.loaded(usage) {
                Some(loaded) => loaded,
                None => self.look_up(usage).await,
            }
        });
        let loaded = loaded.instrument(span.clone()).await;
        self.name(&span);
        loaded
    }

    /// The ordinary visitor: no token, or one that a store in memory can tell about.
    /// `None` where that has to be waited for.
    fn look_up_now(&self, usage: Usage) -> Option<Result<(), Error>> {
        let presented = self.config.cookie.presented(&self.cookies);
        let now = self.config.clock.now();
        let mut found = Found::default();
        let mut tokens = presented.iter();
        let (first, second) = (tokens.next(), tokens.next());
        if second.is_some() {
            return None;
        }
        if let Some(first) = first {
            let store = &self.config.store;
            let kept = store.at_once(StoreCall::Load, |room| Ok(room.load(first.token.id)))?;
            let kept = kept.ok()?;
            let judged = match self.judge(kept, &first.token, now) {
                Ok(kept) => match help_now(&self.config, first.token.id, kept, now).ok()? {
                    Some(kept) => Ok(kept),
                    None => Err(Rejected::of(first.token.id, None, Rejection::Unknown)),
                },
                rejected => rejected,
            };
            match judged {
                Ok(kept) => found.stored = Some((Stored::of(first.token, kept), first.is_former)),
                Err(rejected) if rejected.is_copied => return None,
                Err(rejected) => {
                    found.marker = rejected.marker(&first.token);
                    found.displaced = rejected.why == Rejection::Moved;
                    found.rejected.push(rejected);
                }
            }
        }
        Some(self.finish_load(Ok(found), &presented, now, usage))
    }

    async fn look_up(&self, usage: Usage) -> Result<(), Error> {
        let now = self.config.clock.now();
        let presented = self.config.cookie.presented(&self.cookies);
        let found = within(self.config.store_timeout, self.find(&presented, now)).await;
        if let Err(error) = &found {
            warn!(%error, cause = ?error.source(), "the session was not loaded");
        }
        self.finish_load(found, &presented, now, usage)
    }

    fn finish_load(
        &self,
        mut found: Result<Found, Error>,
        presented: &Presented,
        now: Timestamp,
        usage: Usage,
    ) -> Result<(), Error> {
        let mut rejected = match &mut found {
            Ok(found) => mem::take(&mut found.rejected),
            Err(_) => Vec::new(),
        };
        if presented.has_malformed {
            rejected.insert(0, Rejected::malformed());
        }
        let loaded = {
            let mut state = self.state();
            // What another has loaded meanwhile may have changed since, and it has told of it.
            let loaded = match state.load.clone() {
                Some(loaded) => {
                    rejected.clear();
                    loaded
                }
                None => state.accept_load(found, now, !presented.is_empty()),
            };
            state.use_for(usage);
            loaded
        };
        for rejected in &rejected {
            let observers = self.config.observers();
            observers.notify_with(|| rejected.event(now));
        }
        loaded
    }

    fn loaded(&self, usage: Usage) -> Option<Result<(), Error>> {
        let mut state = self.state();
        let loaded = state.load.clone()?;
        state.use_for(usage);
        Some(loaded)
    }

    /// Which of the tokens proves itself (rule T5).
    async fn find(&self, presented: &Presented, now: Timestamp) -> Result<Found, Error> {
        let mut found = Found::default();
        let (mut was_moved, mut copied) = (false, Vec::new());
        // No other host can have set it.
        let is_decisive = |found: &(Stored, bool)| self.config.cookie.is_host_bound() && !found.1;
        for presented in presented.iter() {
            let is_former = presented.is_former;
            if found.stored.as_ref().is_some_and(is_decisive) {
                break;
            }
            let token = presented.token;
            let proof = match self.prove(&token, now).await? {
                Ok(kept) => match help(&self.config, token.id, kept).await? {
                    Some(kept) => Ok(kept),
                    None => Err(Rejected::of(token.id, None, Rejection::Unknown)),
                },
                rejected => rejected,
            };
            match proof {
                Err(rejected) => {
                    found.marker = found.marker.or(rejected.marker(&token));
                    was_moved |= rejected.why == Rejection::Moved;
                    if rejected.is_copied && !is_former {
                        copied.push(token);
                    }
                    found.rejected.push(rejected);
                }
                Ok((record, activity)) => match &found.stored {
                    Some((other, _)) if other.id() != token.id => {
                        let why = Rejection::Planted;
                        let other_record = Arc::clone(&other.record);
                        found.rejected.extend([
                            Rejected::of(other.id(), Some(other_record), why),
                            Rejected::of(token.id, Some(record), why),
                        ]);
                        warn!(
                            session.id = %token.id,
                            other.id = %other.id(),
                            "two session cookies prove themselves: one was planted, the visitor stays anonymous"
                        );
                        found.stored = None;
                        found.marker = None;
                        found.displaced = true;
                        return Ok(found);
                    }
                    Some(_) => {}
                    None => {
                        let stored = Stored::of(token, (record, activity));
                        found.stored = Some((stored, is_former));
                    }
                },
            }
        }
        if presented.has_more && !found.stored.as_ref().is_some_and(is_decisive) {
            // One that is not looked up may be good too.
            warn!(
                "more session cookies than are looked up: some were planted, the visitor stays anonymous"
            );
            if let Some((stored, _)) = found.stored.take() {
                let record = Some(stored.record);
                let rejected = Rejected::of(stored.token.id, record, Rejection::Planted);
                found.rejected.push(rejected);
            }
            found.displaced = true;
            found.marker = None;
            return Ok(found);
        }
        let proven = found.stored.as_ref().map(|(stored, _)| stored.id());
        // Beside one that is good it is a leftover under another path or domain.
        for token in copied.iter().filter(|token| proven != Some(token.id)) {
            self.end_copied(token).await?;
        }
        found.displaced = was_moved && found.stored.is_none();
        Ok(found)
    }

    /// A rejection is final only if the store says so past any cache.
    async fn prove(&self, token: &Token, now: Timestamp) -> Result<Result<Kept, Rejected>, Error> {
        let store = &self.config.store;
        let proof = self.judge(store.load(token.id).await?, token, now);
        if proof.is_ok() {
            return Ok(proof);
        }
        // A cache may only say yes.
        let latest = Box::pin(store.load_latest(token.id)).await?;
        Ok(self.judge(latest, token, now))
    }

    fn judge(&self, kept: Option<Kept>, token: &Token, now: Timestamp) -> Result<Kept, Rejected> {
        let Some((record, activity)) = kept else {
            debug!("a token of an unknown session");
            return Err(Rejected::of(token.id, None, Rejection::Unknown));
        };
        let rejected = |record, why| Err(Rejected::of(token.id, Some(record), why));
        let verdict = renewal::judge(&record, &token.secret, now);
        if verdict == Verdict::Unproven {
            debug!(session.id = %token.id, "a token that does not prove itself");
            return rejected(record, Rejection::Unproven);
        }
        let last_seen_at = activity.last_seen_at;
        if last_seen_at.since(now) > SUSPICIOUS {
            warn!(
                session.id = %token.id,
                ahead = ?last_seen_at.since(now),
                "a session was last seen in the future: check the clocks"
            );
        }
        let deadline = self.config.lifetimes.deadline(&record, last_seen_at);
        if is_past(deadline, now) {
            debug!(session.id = %token.id, "a token of an expired session");
            return rejected(record, Rejection::Expired);
        }
        if record.is_moved() {
            // One that has ended is as one that never was.
            return match record.leads_to() {
                Some(_) => rejected(record, Rejection::Moved),
                None => rejected(record, Rejection::Unknown),
            };
        }
        if verdict == Verdict::Copied {
            return Err(Rejected::copied(token.id, record));
        }
        Ok((record, activity))
    }

    /// Two have had the visitor's cookie, and only one of them is the visitor (rule R3).
    async fn end_copied(&self, token: &Token) -> Result<(), Error> {
        let config = &self.config;
        let is_copied = |_, (record, _): &Kept| {
            renewal::judge(record, &token.secret, config.clock.now()) == Verdict::Copied
        };
        // Boxed, because it is large and hardly ever needed.
        let ending = Box::pin(end(config, token.id, EndReason::Copied, is_copied));
        if ending.await?.is_some() {
            warn!(session.id = %token.id, "a secret came back after its time: the session was ended");
        }
        Ok(())
    }
}

impl State {
    /// Takes in what the store had, once.
    fn accept_load(
        &mut self,
        found: Result<Found, Error>,
        now: Timestamp,
        was_presented: bool,
    ) -> Result<(), Error> {
        self.was_presented = was_presented;
        self.loaded_at = Some(now);
        let loaded = found.map(|found| {
            self.is_displaced = found.displaced;
            if found.stored.is_none() {
                self.marker = found.marker;
            }
            if let Some((stored, is_former)) = found.stored {
                self.is_under_former_name = is_former;
                self.stored = Some(stored);
            }
        });
        self.load = Some(loaded.clone());
        loaded
    }
}

#[derive(Default)]
struct Found {
    /// And whether it came under a former name.
    stored: Option<(Stored, bool)>,
    displaced: bool,
    /// What the visitor's token led to, where the session has ended or moved.
    marker: Option<Box<Stored>>,
    rejected: Vec<Rejected>,
}

/// A cookie that opens nothing.
struct Rejected {
    id: Option<SessionId>,
    /// The session that it names, where there is one.
    record: Option<Arc<Record>>,
    why: Rejection,
    /// Its secret was the session's, and was replaced (rule R3).
    is_copied: bool,
}

impl Rejected {
    fn of(id: SessionId, record: Option<Arc<Record>>, why: Rejection) -> Self {
        Self {
            id: Some(id),
            record,
            why,
            is_copied: false,
        }
    }

    /// The marker that a token which was good has led to.
    fn marker(&self, token: &Token) -> Option<Box<Stored>> {
        let record = self
            .record
            .clone()
            .filter(|_| self.why == Rejection::Moved)?;
        let at = record.moved_at().unwrap_or(Timestamp::EPOCH);
        let activity = Activity {
            last_seen_at: at,
            expires_at: None,
        };
        Some(Box::new(Stored::of(*token, (record, activity))))
    }

    fn copied(id: SessionId, record: Arc<Record>) -> Self {
        Self {
            is_copied: true,
            ..Self::of(id, Some(record), Rejection::Unproven)
        }
    }

    fn malformed() -> Self {
        Self {
            id: None,
            record: None,
            why: Rejection::Malformed,
            is_copied: false,
        }
    }

    fn event(&self, now: Timestamp) -> Event {
        Event::rejected(self.id, self.record.as_deref(), now, self.why)
    }
}
