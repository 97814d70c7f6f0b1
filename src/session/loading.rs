//! Loads a request's session, once: finds the token that opens it, or imports the session of another library.
//!
//! [`Shared::load_now`] does not wait: it is for a request without a token, and for a store in memory. Otherwise
//! [`Shared::load_waiting`] calls the store. [`found`](super::found) has the types of the result.

use std::{error::Error as _, mem, sync::Arc, time::Duration};

use tracing::{Instrument as _, Span, debug, debug_span, field, warn};

use crate::{
    clock::Timestamp,
    commit::{
        arrival::{help, help_now},
        import::{Imported, import},
        revoke::revoke,
    },
    cookie::{Presented, PresentedToken, Transport},
    deadline::within,
    error::Error,
    import::DynImport,
    observe::event::{EndReason, Rejection},
    record::{
        Kept,
        lifetime::is_past,
        renewal::{self, Verdict},
        token::Token,
    },
    session::found::{Found, Rejected},
    state::{State, Stored, Usage, shared::Shared},
    store::StoreCall,
};

/// If a session was last used this far in the future, a warning is logged (rule L7).
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

impl Shared {
    /// Loads the session. The result of the first load holds for the whole request.
    pub(super) async fn load(&self, usage: Usage) -> Result<(), Error> {
        match self.load_now(usage) {
            Ok(loaded) => loaded,
            // Boxed, so that the handler's own future stays small.
            Err(span) => Box::pin(self.load_waiting(usage, span)).await,
        }
    }

    /// The result, or the span of a load that has to wait.
    fn load_now(&self, usage: Usage) -> Result<Result<(), Error>, Span> {
        if let Some(loaded) = self.loaded(usage) {
            return Ok(loaded);
        }
        let span = debug_span!("session_load", session.id = field::Empty);
        match span.in_scope(|| self.look_up_now(usage)) {
            Some(loaded) => {
                self.name(&span);
                Ok(loaded)
            }
            None => Err(span),
        }
    }

    async fn load_waiting(&self, usage: Usage, span: Span) -> Result<(), Error> {
        let loading = async {
            let _pass = self.enter().await;
            match self.loaded(usage) {
                Some(loaded) => loaded,
                None => self.look_up(usage).await,
            }
        };
        let loaded = loading.instrument(span.clone()).await;
        self.name(&span);
        loaded
    }

    /// The common case: no token, or one token and a store in memory. `None` if the load has to wait.
    fn look_up_now(&self, usage: Usage) -> Option<Result<(), Error>> {
        let now = self.config.clock.now();
        let presented = self.config.presented(&self.token_headers, now);
        let mut found = Found::default();
        if presented.has_several() {
            return None;
        }
        if let Some(first) = presented.first() {
            let store = &self.config.store;
            let kept = store.at_once(StoreCall::Load, |room| Ok(room.load(first.token.id)))?;
            let kept = kept.ok()?;
            let verified = match self.check(kept, first, now) {
                Ok(kept) => match help_now(&self.config, first.token.id, kept, now).ok()? {
                    Some(kept) => Ok(kept),
                    None => Err(Rejected::of(first.token.id, None, Rejection::Unknown)),
                },
                rejected => rejected,
            };
            match verified {
                Ok(kept) => found.open(first, kept),
                Err(rejected) if rejected.is_copied => return None,
                Err(rejected) => {
                    found.marker = rejected.marker(&first.token);
                    found.is_displaced = rejected.why == Rejection::Moved;
                    found.rejected.push(rejected);
                }
            }
        }
        if self.may_import(&presented, &found) {
            return None;
        }
        Some(self.finish_load(&mut found, &presented, now, usage))
    }

    /// Calls the store, within the store timeout.
    async fn look_up(&self, usage: Usage) -> Result<(), Error> {
        let now = self.config.clock.now();
        let presented = self.config.presented(&self.token_headers, now);
        let found = within(self.config.store_timeout, self.find(&presented, now)).await;
        if let Err(error) = &found
            && let Some(suppressed) = self.config.failures.not_loaded.admit()
        {
            warn!(%error, cause = ?error.source(), suppressed, "the session was not loaded");
        }
        let mut found = found.unwrap_or_else(Found::failed);
        self.finish_load(&mut found, &presented, now, usage)
    }

    /// Updates the request's state with the result, and sends the events of rejected tokens.
    fn finish_load(
        &self,
        found: &mut Found,
        presented: &Presented,
        now: Timestamp,
        usage: Usage,
    ) -> Result<(), Error> {
        let is_unverified =
            found.stored.is_none() && self.has_unverified_old_cookie(presented, now);
        let (loaded, is_first) = {
            let mut state = self.state();
            let (loaded, is_first) = match state.load.clone() {
                Some(loaded) => (loaded, false),
                None => (state.accept_load(found, now, presented), true),
            };
            self.note_load();
            (loaded.and(state.use_for(usage)), is_first)
        };
        let is_any_rejected =
            presented.has_forged || presented.has_malformed || !found.rejected.is_empty();
        if is_unverified && is_first {
            self.report_unverified(now);
        }
        // Another clone of the handle may have loaded meanwhile, and has sent its events.
        if is_any_rejected && is_first {
            self.report(&found.rejected, presented, now);
        }
        loaded
    }

    #[cold]
    fn report(&self, rejected: &[Rejected], presented: &Presented, now: Timestamp) {
        let observers = self.config.observers();
        let report = |rejected: &Rejected| observers.notify_with(|| rejected.event(now));
        if presented.has_malformed {
            report(&Rejected::without_id(Rejection::Malformed));
        }
        if presented.has_forged {
            report(&Rejected::without_id(Rejection::Forged));
        }
        rejected.iter().for_each(report);
    }

    #[cold]
    fn report_unverified(&self, now: Timestamp) {
        let rejected = Rejected::without_id(Rejection::NotVerified);
        self.config.observers().notify_with(|| rejected.event(now));
        if let Some(suppressed) = self.config.failures.not_verified.admit() {
            warn!(
                suppressed,
                "a session cookie of the other library is not accepted: if that goes on, check the key of the import, \
                 and whether the library signs or encrypts its cookies"
            );
        }
    }

    /// The result of an earlier load. `None` before the first one.
    fn loaded(&self, usage: Usage) -> Option<Result<(), Error>> {
        if !self.is_loaded() {
            return None;
        }
        let mut state = self.state();
        let loaded = state.load.clone()?;
        Some(loaded.and(state.use_for(usage)))
    }

    /// Looks the tokens up and finds the one that opens a session (rules T5, T6).
    async fn find(&self, presented: &Presented, now: Timestamp) -> Result<Found, Error> {
        let mut found = Found::default();
        let (mut was_moved, mut copied) = (false, Vec::new());
        // Browsers guarantee that no other host has set this cookie.
        let is_decided = |found: &Found| {
            let is_own_name = self.config.cookie.is_host_bound() && !found.is_former;
            found.stored.is_some() && is_own_name
        };
        for presented in presented.iter() {
            let is_former = presented.is_former;
            if is_decided(&found) {
                break;
            }
            let token = presented.token;
            let verified = match self.verify(presented, now).await? {
                Ok(kept) => match help(&self.config, token.id, kept).await? {
                    Some(kept) => Ok(kept),
                    None => Err(Rejected::of(token.id, None, Rejection::Unknown)),
                },
                rejected => rejected,
            };
            match verified {
                Err(rejected) => {
                    found.marker = found.marker.or(rejected.marker(&token));
                    was_moved |= rejected.why == Rejection::Moved;
                    if rejected.is_copied && !is_former {
                        copied.push(token);
                    }
                    found.rejected.push(rejected);
                }
                Ok((record, activity)) => match &found.stored {
                    Some(other) if other.id() != token.id => {
                        let why = Rejection::Planted;
                        let other_record = Arc::clone(&other.record);
                        found.rejected.extend([
                            Rejected::of(other.id(), Some(other_record), why),
                            Rejected::of(token.id, Some(record), why),
                        ]);
                        if let Some(suppressed) = self.config.failures.planted.admit() {
                            warn!(
                                session.id = %token.id,
                                other.id = %other.id(),
                                suppressed,
                                "two session cookies are valid: one was planted, so the visitor is anonymous for this request"
                            );
                        }
                        found.stored = None;
                        found.marker = None;
                        found.is_displaced = true;
                        return Ok(found);
                    }
                    Some(_) => {}
                    None => found.open(presented, (record, activity)),
                },
            }
        }
        if presented.has_more && !is_decided(&found) {
            // A token that is not looked up may open a session too.
            if let Some(suppressed) = self.config.failures.too_many.admit() {
                warn!(
                    suppressed,
                    "too many session cookies: some were planted, so the visitor is anonymous for this request"
                );
            }
            if let Some(stored) = found.stored.take() {
                let record = Some(stored.record);
                let rejected = Rejected::of(stored.token.id, record, Rejection::Planted);
                found.rejected.push(rejected);
            }
            found.is_displaced = true;
            found.marker = None;
            return Ok(found);
        }
        let proven = found.stored.as_ref().map(Stored::id);
        // Beside a valid token of the same session, an old one is a leftover under another path or domain.
        for token in copied.iter().filter(|token| proven != Some(token.id)) {
            self.end_copied(token).await?;
        }
        found.is_displaced = was_moved && found.stored.is_none();
        if self.may_import(presented, &found) {
            Box::pin(self.import(&mut found)).await?;
        }
        Ok(found)
    }

    /// Loads the token's session. A cache may accept a token, but only the store itself may reject it.
    async fn verify(
        &self,
        presented: &PresentedToken,
        now: Timestamp,
    ) -> Result<Result<Kept, Rejected>, Error> {
        let (store, id) = (&self.config.store, presented.token.id);
        let verified = self.check(store.load(id).await?, presented, now);
        if verified.is_ok() || !store.is_cached() {
            return Ok(verified);
        }
        let latest = Box::pin(store.load_latest(id)).await?;
        Ok(self.check(latest, presented, now))
    }

    /// Checks the token against the record that is stored under its id.
    fn check(
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
        if !self.config.uses_transport(&record, presented.transport) {
            debug!(session.id = %token.id, "a token of another transport");
            return rejected(record, Rejection::OtherTransport);
        }
        let last_seen_at = activity.last_seen_at;
        if last_seen_at > now.saturating_add(MAX_CLOCK_SKEW)
            && let Some(suppressed) = self.config.failures.from_future.admit()
        {
            warn!(
                session.id = %token.id,
                ahead = ?last_seen_at.since(now),
                suppressed,
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
        if ending.await?.is_some()
            && let Some(suppressed) = config.failures.copied.admit()
        {
            warn!(session.id = %token.id, suppressed, "a replaced secret was used again: the cookie was copied, and the session was ended");
        }
        Ok(())
    }
}

impl Shared {
    /// Whether a session of another library may take the place of what was found. A client that has a token in a header does
    /// not use cookies (rule I10).
    fn may_import(&self, presented: &Presented, found: &Found) -> bool {
        let stored = found.stored.as_ref();
        let is_anonymous = stored.is_none_or(|stored| stored.record.user().is_none());
        is_anonymous
            && self.reads_old_cookies(presented)
            && !self.config.old_tokens(&self.token_headers).is_empty()
    }

    fn reads_old_cookies(&self, presented: &Presented) -> bool {
        let config = &self.config;
        let by_cookie = |index| *config.transports.get(index) == Transport::Cookie;
        config.import.is_some() && presented.transport.is_none_or(by_cookie)
    }

    /// Whether the request has cookies of the other library, and it has issued none of them. Under a name that the layer reads too,
    /// they are tokens of the layer.
    fn has_unverified_old_cookie(&self, presented: &Presented, now: Timestamp) -> bool {
        let cookie = &self.config.cookie;
        let is_own = |import: &DynImport| cookie.is_named(import.cookie_name(), now);
        self.reads_old_cookies(presented)
            && !self.config.import.as_ref().is_some_and(is_own)
            && self.config.old_tokens(&self.token_headers).are_unverified()
    }

    /// Imports the session of another library, unless the request has several old cookies (rule I7).
    async fn import(&self, found: &mut Found) -> Result<(), Error> {
        let tokens = self.config.old_tokens(&self.token_headers);
        let (Some(source), Some(token)) = (&self.config.import, tokens.only()) else {
            if let Some(suppressed) = self.config.failures.several_old.admit() {
                warn!(
                    suppressed,
                    "several session cookies of the other library: some were planted, none is imported"
                );
            }
            return Ok(());
        };
        let own = found.stored.as_ref().map(Stored::id);
        match import(&self.config, source, token, own).await? {
            Some(Imported { stored, is_issued }) => {
                *found = Found {
                    stored: Some(stored),
                    is_issued,
                    rejected: mem::take(&mut found.rejected),
                    ..Found::default()
                };
            }
            None if own.is_some() => {}
            None => found.rejected.push(Rejected::not_imported()),
        }
        Ok(())
    }
}

impl State {
    /// Updates the state with the result of the first load.
    fn accept_load(
        &mut self,
        found: &mut Found,
        now: Timestamp,
        presented: &Presented,
    ) -> Result<(), Error> {
        self.was_presented = !presented.is_empty();
        self.presented_by = presented.transport;
        self.loaded_at = Some(now);
        self.is_displaced = found.is_displaced;
        match found.stored.take() {
            Some(stored) => {
                self.is_under_former_name = found.is_former;
                self.is_token_stale = found.is_stale;
                self.is_token_fresh = found.is_issued;
                self.is_cookie_due = found.is_issued;
                self.was_live = true;
                self.had_user = stored.record.user().is_some();
                self.stored = Some(stored);
            }
            None => self.marker = found.marker.take(),
        }
        let loaded = found.failure.take().map_or(Ok(()), Err);
        self.load = Some(loaded.clone());
        loaded
    }
}
