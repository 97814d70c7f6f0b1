//! The input of one commit: [`Work`], a copy of the request's state, so that handlers can go on meanwhile. It also
//! replies to a machine's asks for merges and new records.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    commit::{
        drive::Answer,
        due::is_renewal_due,
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
        Generations, Identity, State, Stored, Strong, change_seq::ChangeSeq, changes::Changes,
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
    /// The transport of the session's token.
    transport: TransportIndex,
    pub(crate) stored: Option<Stored>,
    /// The marker that the load found instead of the session, or the last known record of a session that has ended.
    // Boxed: rarely there, and every write moves this struct.
    pub(crate) marker: Option<Box<Stored>>,
    pub(crate) identity: Identity,
    pub(crate) changes: Option<Strong<Changes>>,
    labels: Option<Arc<Labels>>,
    pub(crate) is_displaced: bool,
    pub(crate) loaded_at: Option<Timestamp>,
    /// Whether no change is lost if the commit fails: it only touches or renews.
    pub(crate) is_optional: bool,
    /// Whether the session's secret is renewed, or a pending one becomes current.
    pub(crate) renews: bool,
    pub(crate) until: ChangeSeq,
    pub(crate) generations: Generations,
    pub(crate) writer: u64,
    /// The token that the session has after this commit.
    token: Option<Token>,
    /// The session of the log-in that this one joined.
    joined: Option<SessionId>,
    /// Whether no visitor has the token yet.
    issues: bool,
    /// Whether there is more to store than secrets.
    saves: bool,
    /// Whether the session had expired.
    is_past: bool,
    draws: u32,
    /// When the cycle gave the session its id.
    begun_at: Option<Timestamp>,
}

/// How many ids are tried for a new session. Two equal random ids do not occur in practice, and an id is not tried again
/// if its creation may have been applied. A store that refuses this many is broken.
const MAX_DRAWS: u32 = 4;

impl Work {
    // Built where it stays, because it is large.
    #[inline]
    pub(crate) fn new(state: &State, shared: &Shared, occasion: Occasion, writer: u64) -> Self {
        Self {
            transport: shared.transport(state),
            stored: state.stored.clone(),
            marker: state.marker.clone(),
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
        }
    }

    /// Leaves a pending log-in or cycle of a stored session to the commit at the response head (rule C7).
    pub(crate) fn leave_identity(&mut self) {
        if let Identity::LogIn(log_in) = &self.identity {
            // Holders of the old token must not read changes that came after the log-in.
            self.until = log_in.since;
            let earlier = self.changes.take().map(|changes| changes.until(self.until));
            self.changes = earlier
                .filter(|earlier| !earlier.is_empty())
                .map(Strong::new);
        }
        self.identity = Identity::Same;
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
            changes.set_overrides(&mut next);
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
        self.rebase(config, latest.0.data())?;
        let changes = self.changes.as_ref();
        let merged = changes.and_then(|changes| changes.merged(&latest.0));
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
        let verifier = Verifier::of(&token.secret);
        let Some(start) = self.start(config, base, verifier, now) else {
            self.is_past = true;
            return Ok(Reply::Ended);
        };
        let is_as_computed = match (base, &self.stored) {
            (Some((base, _)), Some(stored)) => base.version() == stored.record.version(),
            (None, None) => !self.is_displaced,
            _ => false,
        };
        if !is_as_computed {
            self.rebase(config, start.data())?;
        }
        if let (Some(base), Some(stored)) = (base, &mut self.stored) {
            (stored.record, stored.activity) = base.clone();
        }
        let mut record = start;
        if let Some(changes) = &self.changes {
            record.set_data(changes.apply(record.data()));
            changes.set_overrides(&mut record);
        }
        Ok(Reply::Begun(token.id, kept(config, record, now)))
    }

    /// The record of a new session before the changes of this request. `None` if a cycle finds that the session has
    /// expired.
    fn start(
        &mut self,
        config: &Config,
        base: Option<&Kept>,
        verifier: Verifier,
        now: Timestamp,
    ) -> Option<Record> {
        let start = match (base, &self.identity) {
            (None, Identity::Same) => self.blank(config, verifier, now),
            _ => self.moved(config, base, verifier, now)?,
        };
        Some(match (&self.identity, &self.labels) {
            (Identity::Same | Identity::LogIn(_), Some(labels)) => start.with_labels(labels),
            _ => start,
        })
    }

    fn blank(&self, config: &Config, verifier: Verifier, now: Timestamp) -> Record {
        let record = Record::new(verifier, Version::first(self.writer), now);
        let record = record.with_realm(config.realm());
        match config.transports.recorded(self.transport) {
            None => record,
            transport => record.with_transport(transport),
        }
    }

    /// The record of a session that comes from `base`, or of a log-in. It is a blank one if nothing is taken over.
    #[cold]
    fn moved(
        &mut self,
        config: &Config,
        base: Option<&Kept>,
        verifier: Verifier,
        now: Timestamp,
    ) -> Option<Record> {
        let lifetimes = &config.lifetimes;
        let is_over = |base: &Kept| is_past(lifetimes.absolute_deadline(&base.0), now);
        let version = Version::first(self.writer);
        let realm = config.realm();
        let transport = config.transports.recorded(self.transport);
        Some(match (base, &self.identity) {
            (Some(base), Identity::Cycle(_)) if is_over(base) => return None,
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
            (_, Identity::LogIn(log_in)) => {
                let blank = self.blank(config, verifier, now);
                blank.with_login(Some(log_in.login()))
            }
            (_, Identity::Same | Identity::Cycle(_)) => self.blank(config, verifier, now),
        })
    }

    #[cold]
    fn rebase(&mut self, config: &Config, base: &Data) -> Result<(), Error> {
        match &mut self.changes {
            Some(changes) => Strong::make_mut(changes).rebase(base, config.max_data_bytes),
            None => Ok(()),
        }
    }

    fn draw(&mut self) -> Result<Token, Error> {
        if self.draws == MAX_DRAWS {
            return Err(Error::new(
                ErrorKind::Other,
                "the store reports that every new id is taken",
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
        let uses_transport = config.uses_transport(record, self.transport);
        if !uses_transport || !config.accepts(record, now) {
            // The session continues in another realm.
            return Ok(Reply::Unchanged);
        }
        let mut data = record.data().clone();
        self.rebase(config, &data)?;
        if let Some(changes) = &self.changes {
            data = changes.apply(&data);
        }
        let rested = now.since(activity.last_seen_at);
        let mut next = record.successor(data, self.writer, rested);
        if let Some(changes) = &self.changes {
            changes.set_overrides(&mut next);
        }
        Ok(match next.joined(&own.secret, now) {
            Some(next) => {
                self.joined = Some(id);
                Reply::Merged(kept(config, next, now))
            }
            None => Reply::Unchanged,
        })
    }

    /// Sends the events of `outcome`, and returns the result for the request.
    ///
    /// # Errors
    ///
    /// If the changes were not saved.
    pub(crate) fn committed(
        &self,
        config: &Config,
        outcome: Outcome<Kept>,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        events::notify(config, &outcome, EndReason::Destroyed, now);
        Ok(match outcome {
            Outcome::Created { id, record } => self.begun(id, record),
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
            other => return self.committed_otherwise(config, other, now),
        })
    }

    fn begun(&self, id: SessionId, kept: Kept) -> Committed {
        match self.stored(id, kept) {
            Some(stored) => Committed::Begun(stored),
            None => Committed::Nothing,
        }
    }

    /// The result of any other outcome: of a log-in, a move, a touch, an end or a failure.
    #[cold]
    fn committed_otherwise(
        &self,
        config: &Config,
        outcome: Outcome<Kept>,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        Ok(match outcome {
            Outcome::Begun { id, record } | Outcome::Moved { id, record, .. } => {
                self.begun(id, record)
            }
            Outcome::Joined { id, record, .. } => match self.token {
                Some(own) if self.joined == Some(id) => {
                    Committed::Begun(Stored::of(Token { id, ..own }, record))
                }
                _ => Committed::Nothing,
            },
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

/// The record as a session of its own, without the origin and the bar of the old one.
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
