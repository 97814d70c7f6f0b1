//! The input of one commit: [`Work`], a copy of the request's state, so that handlers can go on meanwhile. It also
//! replies to a machine's asks for merges and new records.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    commit::{
        drive::Answer,
        events,
        protocol::{Ask, Cause, Outcome, Reply},
        response::Committed,
    },
    config::Config,
    cookie::TransportIndex,
    error::{Error, ErrorKind},
    observe::event::EndReason,
    record::{
        Kept, Record,
        data::Data,
        labels::Labels,
        lifetime::is_past,
        renewal,
        token::{Secret, SessionId, Token, Verifier},
        version::Version,
    },
    state::{
        Generations, Identity, State, Stored, Usage, change_seq::ChangeSeq, changes::Changes,
        shared::Shared,
    },
};

/// When a commit happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// At the response head: everything.
    Head,
    /// At a `save`: data. A pending log-in or cycle of a stored session waits for the response head (rule C7).
    Save,
}

/// The input of one commit.
pub(crate) struct Work {
    /// By which the session's token is issued.
    transport: TransportIndex,
    pub(crate) stored: Option<Stored>,
    /// The marker that the load found in place of the session. Or the session as it was before it was found to have ended.
    pub(crate) marker: Option<Stored>,
    pub(crate) identity: Identity,
    pub(crate) changes: Option<Arc<Changes>>,
    labels: Option<Arc<Labels>>,
    pub(crate) is_displaced: bool,
    pub(crate) loaded_at: Option<Timestamp>,
    /// Nothing is lost where it fails.
    pub(crate) is_optional: bool,
    /// Something is to be done about the secret.
    pub(crate) renews: bool,
    pub(crate) until: ChangeSeq,
    pub(crate) generations: Generations,
    pub(crate) writer: u64,
    /// The token that the session has after this commit.
    token: Option<Token>,
    /// The token of a log-in that joined another one.
    joined: Option<Token>,
    /// Whether no visitor has the token yet.
    issues: bool,
    /// Whether there is more to store than secrets.
    saves: bool,
    /// Whether the session had expired.
    is_past: bool,
    draws: u32,
    /// When the id of a cycle came to be.
    begun_at: Option<Timestamp>,
}

/// How many ids are tried for a new session. Two equal ids are not to be expected, and an id whose creation may have
/// been applied is not tried again. A store that refuses this many is broken.
const MAX_DRAWS: u32 = 4;

impl Work {
    pub(crate) fn new(state: &State, shared: &Shared, occasion: Occasion, writer: u64) -> Self {
        let mut work = Self {
            transport: shared.transport(state),
            stored: state.stored.clone(),
            marker: state.marker.as_deref().cloned(),
            identity: state.identity.clone(),
            changes: state.changes.clone(),
            labels: state.labels.clone(),
            until: state.last_change(),
            is_displaced: state.is_displaced,
            loaded_at: state.loaded_at,
            is_optional: false,
            renews: occasion == Occasion::Head && is_renewal_due(state, shared),
            generations: state.generations,
            writer,
            token: None,
            joined: None,
            issues: false,
            saves: false,
            is_past: false,
            draws: 0,
            begun_at: None,
        };
        // In place, because the work is large.
        if occasion == Occasion::Save && work.stored.is_some() {
            if let Identity::LogIn(log_in) = &work.identity {
                // Holders of the old token must not read changes that came after the log-in.
                work.until = log_in.since;
                let earlier = work.changes.map(|changes| changes.until(work.until));
                work.changes = earlier.filter(|earlier| !earlier.is_empty()).map(Arc::new);
            }
            work.identity = Identity::Same;
        }
        work
    }

    /// The session `kept` with this request's token.
    pub(crate) fn stored(&self, id: SessionId, kept: Kept) -> Option<Stored> {
        let token = self
            .token
            .or(self.stored.as_ref().map(|stored| stored.token))?;
        (token.id == id).then(|| Stored::of(token, kept))
    }

    /// The next version of `former`, with `data`.
    pub(crate) fn next(
        &mut self,
        config: &Config,
        former: &Kept,
        data: Option<Data>,
        now: Timestamp,
    ) -> Reply<Kept> {
        match self.successor(config, former, data, now) {
            Ok(reply) => reply,
            Err(error) => Reply::Refused(Cause(error)),
        }
    }

    fn successor(
        &mut self,
        config: &Config,
        (record, activity): &Kept,
        data: Option<Data>,
        now: Timestamp,
    ) -> Result<Reply<Kept>, Error> {
        let Some(stored) = &self.stored else {
            return Ok(Reply::Ended);
        };
        let mut token = stored.token;
        let step = match self.renews {
            true => renewal::step(record, &token.secret, config.renew_every, now),
            false => None,
        };
        self.saves = data.is_some();
        self.issues = step.is_some_and(|step| step.issues);
        if data.is_none() && step.is_none() {
            return Ok(Reply::Unchanged);
        }
        if is_past(config.lifetimes.absolute_deadline(record), now) {
            self.is_past = true;
            return Ok(Reply::Ended);
        }
        let data = data.unwrap_or_else(|| record.data().clone());
        let rested = now.since(activity.last_seen_at);
        let mut next = record.successor(data, self.writer, rested);
        if let Some(changes) = &self.changes {
            next = changes.overriding(next);
        }
        if let Some(step) = step {
            let fresh = Secret::generate()?;
            next = next.renewed(step, &fresh, now);
            if step.issues {
                token.secret = fresh;
            }
        }
        self.token = Some(token);
        Ok(Reply::Merged(kept(config, next, now)))
    }

    /// Merges the changes with `latest`. Closures run here without a lock.
    fn merge(
        &mut self,
        config: &Config,
        latest: &Kept,
        now: Timestamp,
    ) -> Result<Reply<Kept>, Error> {
        let merged = match &mut self.changes {
            Some(changes) => {
                let changes = Arc::make_mut(changes);
                changes.rebase(latest.0.data(), config.max_data_bytes)?;
                changes.merged(&latest.0)
            }
            None => None,
        };
        if let Some(stored) = &mut self.stored {
            (stored.record, stored.activity) = latest.clone();
        }
        self.successor(config, latest, merged, now)
    }

    /// The record of a new session.
    pub(crate) fn begin(
        &mut self,
        config: &Config,
        base: Option<&Kept>,
        redraw: bool,
        now: Timestamp,
    ) -> Result<Reply<Kept>, Error> {
        let token = match self.token.filter(|_| !redraw) {
            Some(token) => token,
            None => self.draw()?,
        };
        self.issues = true;
        self.saves = true;
        let lifetimes = &config.lifetimes;
        let (verifier, version) = (Verifier::of(&token.secret), Version::first(self.writer));
        let realm = config.realm();
        let transport = config.transports.recorded(self.transport);
        let blank = || {
            let record = Record::new(verifier, version, now);
            record.with_realm(realm).with_transport(transport)
        };
        let is_over = |base: &Kept| is_past(lifetimes.absolute_deadline(&base.0), now);
        let start = match (base, &self.identity) {
            (Some(base), Identity::Cycle(_)) if is_over(base) => {
                self.is_past = true;
                return Ok(Reply::Ended);
            }
            (Some((base, _)), Identity::Cycle(cycle)) => {
                let moved = alone(Record::clone(base)).with_token(verifier, version);
                // The same if the move is tried again: it never changes while the id is in use.
                let begun_at = *self.begun_at.get_or_insert(now);
                let moved = moved.with_realm(realm).with_transport(transport);
                let moved = moved.with_begun_at(Some(begun_at));
                let moved = moved.issued(config.renew_every, now);
                moved.with_confirmation(cycle.confirmed_at)
            }
            (Some(base), Identity::LogIn(log_in))
                if !log_in.starts_empty && !is_over(base) && log_in.is_for(base.0.user()) =>
            {
                let moved = alone(Record::clone(&base.0)).with_token(verifier, version);
                let moved = moved.with_renewal(None).before_log_in();
                let moved = moved.with_realm(realm).with_transport(transport);
                moved.with_login(Some(log_in.login()))
            }
            (_, Identity::LogIn(log_in)) => blank().with_login(Some(log_in.login())),
            (_, Identity::Same | Identity::Cycle(_)) => blank(),
        };
        let start = match (&self.identity, &self.labels) {
            (Identity::Same | Identity::LogIn(_), Some(labels)) => start.with_labels(labels),
            _ => start,
        };
        let is_as_computed = match (base, &self.stored) {
            (Some((base, _)), Some(stored)) => base.version() == stored.record.version(),
            (None, None) => !self.is_displaced,
            _ => false,
        };
        if !is_as_computed && let Some(changes) = &mut self.changes {
            let max_bytes = config.max_data_bytes;
            Arc::make_mut(changes).rebase(start.data(), max_bytes)?;
        }
        if let (Some(base), Some(stored)) = (base, &mut self.stored) {
            (stored.record, stored.activity) = base.clone();
        }
        let record = match &self.changes {
            Some(changes) => {
                let data = changes.apply(start.data());
                changes.overriding(start.with_data(data))
            }
            None => start,
        };
        Ok(Reply::Begun(token.id, kept(config, record, now)))
    }

    fn draw(&mut self) -> Result<Token, Error> {
        if self.draws == MAX_DRAWS {
            return Err(Error::new(
                ErrorKind::Other,
                "the store lets no session begin, whatever its id",
            ));
        }
        let drawn = self.identity.token().filter(|_| self.draws == 0);
        self.draws += 1;
        let token = drawn.map_or_else(Token::generate, Ok)?;
        self.token = Some(token);
        Ok(token)
    }

    /// The session of the same user's faster log-in, with the changes and the secret of this one.
    fn join(
        &mut self,
        config: &Config,
        id: SessionId,
        target: &Kept,
        now: Timestamp,
    ) -> Result<Reply<Kept>, Error> {
        let Some(own) = self.token else {
            return Ok(Reply::Unchanged);
        };
        let (record, activity) = target;
        let is_of = config.is_of(record, self.transport);
        if !is_of || !config.accepts(record, now) {
            // A session that both realms took has gone on in the other one.
            return Ok(Reply::Unchanged);
        }
        let mut data = record.data().clone();
        if let Some(changes) = &mut self.changes {
            let changes = Arc::make_mut(changes);
            changes.rebase(&data, config.max_data_bytes)?;
            data = changes.apply(&data);
        }
        let rested = now.since(activity.last_seen_at);
        let mut next = record.successor(data, self.writer, rested);
        if let Some(changes) = &self.changes {
            next = changes.overriding(next);
        }
        Ok(match next.joined(&own.secret, now) {
            Some(next) => {
                self.joined = Some(Token { id, ..own });
                Reply::Merged(kept(config, next, now))
            }
            None => Reply::Unchanged,
        })
    }

    /// What the request is told of `outcome`, and the observers.
    ///
    /// # Errors
    ///
    /// If the changes were not saved.
    pub(crate) fn conclude(
        &self,
        config: &Config,
        outcome: Outcome<Kept>,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        events::notify(config, &outcome, EndReason::Destroyed, now);
        let begun = |id: SessionId, kept: Kept| match self.stored(id, kept) {
            Some(stored) => Committed::Begun(stored),
            None => Committed::Nothing,
        };
        Ok(match outcome {
            Outcome::Created { id, record }
            | Outcome::Begun { id, record }
            | Outcome::Moved { id, record, .. } => begun(id, record),
            Outcome::Joined { id, record, .. } => {
                match self.joined.filter(|token| token.id == id) {
                    Some(token) => Committed::Begun(Stored::of(token, record)),
                    None => Committed::Nothing,
                }
            }
            Outcome::Saved { former, record } => {
                let Some(token) = self.token else {
                    return Ok(Committed::Nothing);
                };
                if self.saves {
                    events::saved(config, token.id, &former.0, &record.0, now);
                }
                let stored = Stored::of(token, record);
                if self.issues {
                    Committed::Renewed(stored)
                } else {
                    Committed::Saved(stored)
                }
            }
            Outcome::Unchanged(kept) => match &self.stored {
                Some(stored) => Committed::Saved(Stored::of(stored.token, kept)),
                None => Committed::Nothing,
            },
            Outcome::Touched((record, _)) => match &self.stored {
                Some(stored) => {
                    let activity = config.lifetimes.activity(&record, now);
                    Committed::Touched(Stored::of(stored.token, (record, activity)))
                }
                None => Committed::Nothing,
            },
            Outcome::Ended if self.has_expired(config, now) => Committed::Expired,
            Outcome::Ended => Committed::Ended,
            Outcome::Outdone => {
                return Err(Error::new(
                    ErrorKind::Ended,
                    "newer log-ins of the same user leave no room for this one",
                ));
            }
            Outcome::Failed(Cause(error))
            | Outcome::InDoubt {
                error: Cause(error),
                ..
            } => {
                return Err(error);
            }
            _ => Committed::Nothing,
        })
    }

    /// Whether changes are lost because the session expired while the request was running, and may have been deleted.
    fn has_expired(&self, config: &Config, now: Timestamp) -> bool {
        let Some(stored) = &self.stored else {
            return false;
        };
        let moves = matches!(self.identity, Identity::Cycle(_));
        let (record, activity) = (&stored.record, stored.activity);
        let deadline = config.lifetimes.deadline(record, activity.last_seen_at);
        let is_over = is_past(deadline, now) || is_past(activity.expires_at, now);
        is_over && !self.is_past && (self.saves || moves)
    }
}

fn kept(config: &Config, record: Record, now: Timestamp) -> Kept {
    let activity = config.lifetimes.activity(&record, now);
    (Arc::new(record), activity)
}

/// As a session of its own: where it came from, and what was taken back there, stays with the old one.
fn alone(mut record: Record) -> Record {
    if record.origin().is_some() || record.bar().is_some() {
        record.set_extras(|extras| {
            extras.origin = None;
            extras.bar = None;
        });
    }
    record
}

impl Answer for Work {
    fn answer(&mut self, config: &Config, ask: Ask<'_, Kept>, now: Timestamp) -> Reply<Kept> {
        let answer = match ask {
            Ask::Merge(latest) => self.merge(config, latest, now),
            Ask::Begin { base, redraw } => self.begin(config, base, redraw, now),
            Ask::Join(id, target) => self.join(config, id, target, now),
            _ => Err(Error::new(ErrorKind::Other, "no question to a request")),
        };
        answer.unwrap_or_else(|error| Reply::Refused(Cause(error)))
    }
}

/// Whether the load is written as activity (rule L2). That is only done now and then.
pub(crate) fn is_touch_due(state: &State, config: &Config) -> bool {
    match (&state.stored, state.loaded_at) {
        (Some(stored), Some(loaded_at)) if state.usage == Usage::Loaded => config
            .lifetimes
            .is_touch_due(&stored.record, stored.activity, loaded_at),
        _ => false,
    }
}

/// Whether the secret must be renewed, at the time of the load.
pub(crate) fn is_renewal_due(state: &State, shared: &Shared) -> bool {
    let config = &shared.config;
    match (&state.stored, state.loaded_at) {
        (Some(stored), Some(loaded_at))
            if state.usage == Usage::Loaded && !state.is_token_fresh =>
        {
            let (record, secret) = (&stored.record, &stored.token.secret);
            renewal::step(record, secret, config.renew_every, loaded_at).is_some()
                && config.is_of(record, shared.transport(state))
        }
        _ => false,
    }
}
