//! Loads the session, once for each request: which of the presented tokens opens one, and whether it came under a
//! former cookie name.

use std::{error::Error as _, mem, sync::Arc, time::Duration};

use tracing::{Instrument as _, debug, debug_span, field, warn};

use crate::{
    clock::Timestamp,
    commit::{
        arrival::{help, help_now},
        import::{Imported, import, old_tokens},
        revoke::revoke,
    },
    cookie::{Presented, PresentedToken},
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

/// A session that was last used this far in the future is logged (rule L7).
const SUSPICIOUS: Duration = Duration::from_secs(60);

impl Shared {
    /// The result of the first load holds for the whole request.
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

    /// The common case: no token, or one token and a store in memory. `None` if the load has to wait.
    fn look_up_now(&self, usage: Usage) -> Option<Result<(), Error>> {
        let now = self.config.clock.now();
        let presented = self.config.presented(&self.carriers, now);
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
            let judged = match self.judge(kept, first, now) {
                Ok(kept) => match help_now(&self.config, first.token.id, kept, now).ok()? {
                    Some(kept) => Ok(kept),
                    None => Err(Rejected::of(first.token.id, None, Rejection::Unknown)),
                },
                rejected => rejected,
            };
            match judged {
                Ok(kept) => found.stored = Some((Stored::of(first.token, kept), *first)),
                Err(rejected) if rejected.is_copied => return None,
                Err(rejected) => {
                    found.marker = rejected.marker(&first.token);
                    found.displaced = rejected.why == Rejection::Moved;
                    found.rejected.push(rejected);
                }
            }
        }
        if self.may_import(&found) {
            return None;
        }
        Some(self.finish_load(Ok(found), &presented, now, usage))
    }

    async fn look_up(&self, usage: Usage) -> Result<(), Error> {
        let now = self.config.clock.now();
        let presented = self.config.presented(&self.carriers, now);
        let found = within(self.config.store_timeout, self.find(&presented, now)).await;
        if let Err(error) = &found
            && let Some(suppressed) = self.config.failures.not_loaded.admit()
        {
            warn!(%error, cause = ?error.source(), suppressed, "the session was not loaded");
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
        if presented.has_forged {
            rejected.insert(0, Rejected::without_id(Rejection::Forged));
        }
        if presented.has_malformed {
            rejected.insert(0, Rejected::without_id(Rejection::Malformed));
        }
        let loaded = {
            let mut state = self.state();
            // Another clone of the handle may have loaded meanwhile, and has sent its events.
            let loaded = match state.load.clone() {
                Some(loaded) => {
                    rejected.clear();
                    loaded
                }
                None => state.accept_load(found, now, presented),
            };
            loaded.and(state.use_for(usage))
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
        Some(loaded.and(state.use_for(usage)))
    }

    /// Looks the tokens up and finds the one that opens a session (rules T5, T6).
    async fn find(&self, presented: &Presented, now: Timestamp) -> Result<Found, Error> {
        let mut found = Found::default();
        let (mut was_moved, mut copied) = (false, Vec::new());
        // Browsers guarantee that no other host has set this cookie.
        let is_decisive = |found: &(Stored, PresentedToken)| {
            self.config.cookie.is_host_bound() && !found.1.is_former
        };
        for presented in presented.iter() {
            let is_former = presented.is_former;
            if found.stored.as_ref().is_some_and(is_decisive) {
                break;
            }
            let token = presented.token;
            let proof = match self.prove(presented, now).await? {
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
                            "two session cookies are valid: one was planted, so the visitor is anonymous for this request"
                        );
                        found.stored = None;
                        found.marker = None;
                        found.displaced = true;
                        return Ok(found);
                    }
                    Some(_) => {}
                    None => {
                        let stored = Stored::of(token, (record, activity));
                        found.stored = Some((stored, *presented));
                    }
                },
            }
        }
        if presented.has_more && !found.stored.as_ref().is_some_and(is_decisive) {
            // A token that is not looked up may open a session too.
            warn!(
                "too many session cookies: some were planted, so the visitor is anonymous for this request"
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
        // Beside a valid token of the same session, an old one is a leftover under another path or domain.
        for token in copied.iter().filter(|token| proven != Some(token.id)) {
            self.end_copied(token).await?;
        }
        found.displaced = was_moved && found.stored.is_none();
        if self.may_import(&found) {
            Box::pin(self.import(&mut found)).await?;
        }
        Ok(found)
    }

    /// Loads the token's session. A cache may accept a token, but only the store itself may reject it.
    async fn prove(
        &self,
        presented: &PresentedToken,
        now: Timestamp,
    ) -> Result<Result<Kept, Rejected>, Error> {
        let (store, id) = (&self.config.store, presented.token.id);
        let proof = self.judge(store.load(id).await?, presented, now);
        if proof.is_ok() || !store.is_cached() {
            return Ok(proof);
        }
        let latest = Box::pin(store.load_latest(id)).await?;
        Ok(self.judge(latest, presented, now))
    }

    fn judge(
        &self,
        kept: Option<Kept>,
        presented: &PresentedToken,
        now: Timestamp,
    ) -> Result<Kept, Rejected> {
        let token = &presented.token;
        let Some((record, activity)) = kept else {
            debug!("the token names no session");
            return Err(Rejected::of(token.id, None, Rejection::Unknown));
        };
        let rejected = |record, why| Err(Rejected::of(token.id, Some(record), why));
        let verdict = renewal::judge(&record, &token.secret, now);
        if verdict == Verdict::Unproven {
            debug!(session.id = %token.id, "the token has a wrong secret");
            return rejected(record, Rejection::Unproven);
        }
        if !self.config.accepts(&record, now) {
            debug!(session.id = %token.id, realm = record.realm().name(), "a token of another realm");
            return rejected(record, Rejection::OtherRealm);
        }
        if !self.config.is_of(&record, presented.transport) {
            debug!(session.id = %token.id, "a token of another transport");
            return rejected(record, Rejection::OtherTransport);
        }
        let last_seen_at = activity.last_seen_at;
        if last_seen_at.since(now) > SUSPICIOUS {
            warn!(
                session.id = %token.id,
                ahead = ?last_seen_at.since(now),
                "the session was last used in the future: check the clocks"
            );
        }
        let deadline = self.config.lifetimes.deadline(&record, last_seen_at);
        if is_past(deadline, now) {
            debug!(session.id = %token.id, "the token names an expired session");
            return rejected(record, Rejection::Expired);
        }
        if record.is_moved() {
            // An ended session is reported like one that never existed.
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

    /// Ends a session whose cookie was copied: an old secret came back (rule R3).
    async fn end_copied(&self, token: &Token) -> Result<(), Error> {
        let config = &self.config;
        let is_copied = |_, (record, _): &Kept| {
            renewal::judge(record, &token.secret, config.clock.now()) == Verdict::Copied
        };
        // Boxed because it is large and rarely needed.
        let ending = Box::pin(revoke(config, token.id, EndReason::Copied, None, is_copied));
        if ending.await?.is_some() {
            warn!(session.id = %token.id, "a replaced secret was used again: the cookie was copied, and the session was ended");
        }
        Ok(())
    }
}

impl Shared {
    /// Whether a session of another library may take the place of what was found.
    fn may_import(&self, found: &Found) -> bool {
        let stored = found.stored.as_ref();
        let is_anonymous = stored.is_none_or(|(stored, _)| stored.record.user().is_none());
        is_anonymous && self.config.import.is_some() && {
            let tokens = old_tokens(&self.config, &self.carriers.cookies);
            !tokens.is_empty()
        }
    }

    async fn import(&self, found: &mut Found) -> Result<(), Error> {
        let tokens = old_tokens(&self.config, &self.carriers.cookies);
        let (Some(source), Some(token)) = (&self.config.import, tokens.only()) else {
            warn!(
                "several session cookies of the other library: some were planted, none is imported"
            );
            return Ok(());
        };
        let for_user = found.stored.is_some();
        match import(&self.config, source, token, for_user).await? {
            Some(Imported { stored, is_issued }) => {
                let presented = PresentedToken::issued(stored.token);
                found.stored = Some((stored, presented));
                found.is_issued = is_issued;
                found.displaced = false;
                found.marker = None;
            }
            None if for_user => {}
            None => found.rejected.push(Rejected::not_imported()),
        }
        Ok(())
    }
}

impl State {
    /// Takes in the result of the load, once.
    fn accept_load(
        &mut self,
        found: Result<Found, Error>,
        now: Timestamp,
        presented: &Presented,
    ) -> Result<(), Error> {
        self.was_presented = !presented.is_empty();
        self.presented_by = presented.transport;
        self.loaded_at = Some(now);
        let loaded = found.map(|found| {
            self.is_displaced = found.displaced;
            if found.stored.is_none() {
                self.marker = found.marker;
            }
            if let Some((stored, presented)) = found.stored {
                self.is_under_former_name = presented.is_former;
                self.is_token_stale = presented.is_stale;
                self.is_token_fresh = found.is_issued;
                self.is_cookie_due = found.is_issued;
                self.was_live = true;
                self.had_user = stored.record.user().is_some();
                self.stored = Some(stored);
            }
        });
        self.load = Some(loaded.clone());
        loaded
    }
}

#[derive(Default)]
struct Found {
    /// With how its token came.
    stored: Option<(Stored, PresentedToken)>,
    displaced: bool,
    /// Whether it was imported, and the visitor gets its token.
    is_issued: bool,
    /// The marker that the visitor's token led to, if their session has moved.
    marker: Option<Box<Stored>>,
    rejected: Vec<Rejected>,
}

/// A cookie that does not open a session.
struct Rejected {
    id: Option<SessionId>,
    /// The record of the session that it names, if there is one.
    record: Option<Arc<Record>>,
    why: Rejection,
    /// Whether its secret is an old one of the session (rule R3).
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

    /// The marker of a session that has moved, if the token was valid for it.
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

    fn not_imported() -> Self {
        Self::without_id(Rejection::NotImported)
    }

    fn without_id(why: Rejection) -> Self {
        Self {
            id: None,
            record: None,
            why,
            is_copied: false,
        }
    }

    fn event(&self, now: Timestamp) -> Event {
        Event::rejected(self.id, self.record.as_deref(), now, self.why)
    }
}
