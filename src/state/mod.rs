//! What one request knows of its session: the [`State`], and the [`Shared`](shared::Shared) part around it.
//!
//! The handler's side changes the state, a commit reads it and takes in what the store said. This folder
//! uses the settings and records below it. It asks the store for nothing, and knows neither sessions nor
//! commits.

pub(crate) mod change_seq;
pub(crate) mod changes;
pub(crate) mod decision;
mod overrides;
pub(crate) mod shared;
pub(crate) mod unconfirmed;
pub(crate) mod view;

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    config::Config,
    error::{Error, ErrorKind},
    record::{
        Activity, Kept, Login, Record,
        data::Data,
        renewal,
        token::{SessionId, Token},
    },
    state::{
        change_seq::ChangeSeq, changes::Changes, decision::Undecided, unconfirmed::UnconfirmedSave,
        view::View,
    },
};

#[derive(Default)]
pub(crate) struct State {
    pub(crate) usage: Usage,
    /// What came of loading, once somebody has asked for the session.
    pub(crate) load: Option<Result<(), Error>>,
    pub(crate) loaded_at: Option<Timestamp>,
    /// The record these changes are on top of; `None`: the session is new.
    pub(crate) stored: Option<Stored>,
    /// What the visitor brought was moved, planted, or has ended since: only
    /// a log-in stores anything.
    pub(crate) is_displaced: bool,
    pub(crate) identity: Identity,
    pub(crate) changes: Option<Arc<Changes>>,
    /// The last moment of the changes before these.
    confirmed: ChangeSeq,
    /// The visitor brought a token, whatever it was worth.
    pub(crate) was_presented: bool,
    /// What the visitor's token led to, where the session has ended or moved: a log-in may follow it, and so
    /// does a log-out.
    pub(crate) marker: Option<Box<Stored>>,
    /// Destroyed by this request and still in the store.
    pub(crate) destroyed: Option<Box<Stored>>,
    pub(crate) was_destroyed: bool,
    /// The visitor does not have the token under this cookie's name yet.
    pub(crate) is_cookie_due: bool,
    /// It was drawn by this request: nobody has it yet.
    pub(crate) is_token_fresh: bool,
    /// What was loaded came under a former name: to be re-issued where it is used.
    pub(crate) is_under_former_name: bool,
    pub(crate) is_head_gone: bool,
    /// The commit at the head has come to its end.
    pub(crate) is_committed: bool,
    pub(crate) generations: Generations,
    /// A save that was given up or cancelled before the store had answered.
    // Boxed, as `destroyed`: rarely there, and every request moves this.
    pub(crate) unconfirmed_save: Option<Box<UnconfirmedSave>>,
    /// The pending changes were computed on another record than the stored one.
    pub(crate) is_stale: bool,
    /// What was pending at this moment went with the response, and nobody has been told yet.
    lost_with_response: Option<ChangeSeq>,
    /// Who waits for the end of the session that the response head decides on.
    undecided: Option<Box<Undecided>>,
}

/// How often the session took a turn that a commit under way must not undo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generations {
    pub(crate) destroyed: u32,
    pub(crate) identified: u32,
}

/// A session as the store had it when last asked.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) token: Token,
    pub(crate) record: Arc<Record>,
    pub(crate) activity: Activity,
}

impl Stored {
    pub(crate) fn of(token: Token, (record, activity): Kept) -> Self {
        Self {
            token,
            record,
            activity,
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.token.id
    }

    pub(crate) fn kept(&self) -> Kept {
        (Arc::clone(&self.record), self.activity)
    }
}

/// How far the request went with the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Usage {
    #[default]
    Untouched,
    Peeked,
    Loaded,
}

/// Under which id and for whom the session goes on.
#[derive(Clone, Default)]
pub(crate) enum Identity {
    #[default]
    Same,
    /// Under this token, unless a commit has tried it already.
    Cycle(Option<Box<Token>>),
    // Boxed: rarely there, and every request moves this.
    LogIn(Box<LogIn>),
}

#[derive(Clone)]
pub(crate) struct LogIn {
    /// Of the session that begins, unless a commit has tried it already.
    pub(crate) token: Option<Token>,
    pub(crate) user: Box<str>,
    pub(crate) at: Timestamp,
    /// Nothing is taken over: the session was another user's (rule M8).
    pub(crate) starts_empty: bool,
    /// What was done later belongs to the new session alone.
    pub(crate) since: ChangeSeq,
}

impl Identity {
    /// The token that was drawn for the session to come.
    pub(crate) fn token(&self) -> Option<Token> {
        match self {
            Self::Same => None,
            Self::Cycle(token) => token.as_deref().copied(),
            Self::LogIn(log_in) => log_in.token,
        }
    }

    /// Another token: a session may have been left under the one drawn before.
    pub(crate) fn redraw(&mut self) {
        let drawn = Token::generate().ok();
        match self {
            Self::Same => {}
            Self::Cycle(token) => *token = drawn.map(Box::new),
            Self::LogIn(log_in) => log_in.token = drawn,
        }
    }

    /// Takes that token: a session whose creation was left open does not begin under it again.
    pub(crate) fn take_token(&mut self) -> Option<Token> {
        match self {
            Self::Same => None,
            Self::Cycle(token) => token.take().map(|token| *token),
            Self::LogIn(log_in) => log_in.token.take(),
        }
    }
}

impl LogIn {
    pub(crate) fn login(&self) -> Login {
        Login {
            user: self.user.clone(),
            at: self.at,
        }
    }
}

impl State {
    /// The pending changes and the data beneath them.
    pub(crate) fn edit(&mut self) -> (&mut Changes, &Data) {
        let base = match &self.stored {
            Some(stored) => stored.record.data(),
            None => Data::none(),
        };
        let changes = self
            .changes
            .get_or_insert_with(|| Arc::new(Changes::on(base, self.confirmed)));
        (Arc::make_mut(changes), base)
    }

    pub(crate) fn view(&self) -> View {
        let stored = self.stored.as_ref();
        View {
            record: stored.map(|stored| Arc::clone(&stored.record)),
            changes: self.changes.clone(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        let base = match &self.stored {
            Some(stored) => stored.record.data(),
            None => Data::none(),
        };
        match &self.changes {
            Some(changes) => changes.get(base, key),
            None => base.get(key),
        }
    }

    /// The last moment at which something was changed.
    pub(crate) fn last_change(&self) -> ChangeSeq {
        match &self.changes {
            Some(changes) => changes.last(),
            None => self.confirmed,
        }
    }

    /// That moment, with what was changed until then to be had by itself.
    pub(crate) fn mark(&mut self) -> ChangeSeq {
        if let Some(changes) = &mut self.changes {
            Arc::make_mut(changes).mark();
        }
        self.last_change()
    }

    /// Whether a cookie with the token would not put the visitor back to an earlier one.
    pub(crate) fn may_issue(&self, stored: &Stored, config: &Config, now: Timestamp) -> bool {
        let (record, secret) = (&stored.record, &stored.token.secret);
        self.is_token_fresh || renewal::is_repeatable(record, secret, config.renew_every, now)
    }

    pub(crate) fn drop_changes(&mut self) -> bool {
        self.confirmed = self.last_change();
        self.changes.take().is_some()
    }

    /// There is no response, or one that says that nothing was kept: what is
    /// pending goes with it (rules C2, F2).
    fn abandon(&mut self) {
        if self.is_modified() {
            self.lost_with_response = Some(self.last_change());
        }
        self.is_head_gone = true;
        self.is_committed = true;
        self.is_cookie_due = false;
        self.unconfirmed_save = None;
        self.destroyed = None;
        self.identity = Identity::Same;
        self.drop_changes();
    }

    /// `TooLate`, once, where something was lost with the response.
    pub(crate) fn check_kept(&mut self) -> Result<(), Error> {
        match self.lost_with_response.take() {
            Some(_) => Err(Error::too_late(
                "what was pending at the end of the request",
            )),
            None => Ok(()),
        }
    }

    /// Whether the pending changes make a difference.
    pub(crate) fn is_modified(&self) -> bool {
        if self.destroyed.is_some() || !matches!(self.identity, Identity::Same) {
            return true;
        }
        match (&self.changes, &self.stored) {
            (None, _) => false,
            (Some(changes), None) => changes.leave_values(),
            (Some(changes), Some(stored)) => changes.merged(&stored.record).is_some(),
        }
    }

    /// What was done until then makes no difference to what is stored: its closures are let go of.
    pub(crate) fn forget_what_changed_nothing(&mut self, until: ChangeSeq) {
        if let Some(stored) = self.stored.clone() {
            self.confirm(stored, until);
        } else if self.is_head_gone && self.keeps_id() {
            self.drop_changes();
        }
    }

    /// Whether neither a log-in nor a cycle is pending.
    pub(crate) fn keeps_id(&self) -> bool {
        matches!(self.identity, Identity::Same)
    }

    /// Whether the pending changes are on top of the stored session `id`.
    pub(crate) fn is_on(&self, id: SessionId) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.id() == id)
    }

    /// Replaces the record under changes that were computed on another one.
    pub(crate) fn replace_record(
        &mut self,
        id: SessionId,
        record: Arc<Record>,
        activity: Activity,
    ) {
        if let Some(stored) = &mut self.stored
            && stored.id() == id
        {
            if let Some(changes) = &mut self.changes {
                Arc::make_mut(changes).measure(record.data());
            }
            (stored.record, stored.activity) = (record, activity);
            self.is_stale = true;
        }
    }

    /// The store no longer has the session: what is pending has nowhere to go
    /// (rule M4), but for a log-in and what came after it (rule M7).
    pub(crate) fn end(&mut self) {
        self.stored = None;
        self.is_cookie_due = false;
        self.is_displaced = true;
        match &self.identity {
            Identity::LogIn(log_in) => {
                if let Some(changes) = &mut self.changes {
                    Arc::make_mut(changes).forget_until(log_in.since, Data::none());
                }
            }
            Identity::Same | Identity::Cycle(_) => {
                self.identity = Identity::Same;
                self.drop_changes();
            }
        }
    }

    /// Binds `user`, at the commit.
    pub(crate) fn log_in(&mut self, user: Box<str>, at: Timestamp) -> Result<(), Error> {
        if self.is_head_gone {
            return Err(Error::too_late("log_in"));
        }
        let token = self
            .identity
            .take_token()
            .map_or_else(Token::generate, Ok)?;
        // Forgetting another user's values is for the new session: a save must not do it to theirs.
        let (since, started_empty) = match &self.identity {
            Identity::LogIn(former) => (former.since, former.starts_empty),
            Identity::Same | Identity::Cycle(_) => (self.mark(), false),
        };
        let is_other = self.user().is_some_and(|current| *current != *user);
        if is_other {
            self.edit().0.reset();
        }
        // So are the timeouts that this request has set for the user.
        if let Some(changes) = &mut self.changes {
            Arc::make_mut(changes).set_overrides_anew();
        }
        self.generations.identified += 1;
        self.identity = Identity::LogIn(Box::new(LogIn {
            token: Some(token),
            user,
            at,
            starts_empty: is_other || started_empty,
            since,
        }));
        Ok(())
    }

    /// Goes on under another id, at the commit.
    pub(crate) fn cycle(&mut self) -> Result<(), Error> {
        if self.is_head_gone {
            return Err(Error::too_late("cycle_id"));
        }
        if self.stored.is_some() && self.keeps_id() {
            self.generations.identified += 1;
            self.identity = Identity::Cycle(Some(Box::new(Token::generate()?)));
        }
        Ok(())
    }

    /// Under which id the session goes on, once the pending log-in or cycle is committed.
    pub(crate) fn next_id(&self) -> Option<SessionId> {
        let attempted = self.unconfirmed_save.as_ref();
        let attempted = attempted.filter(|save| save.former.is_none());
        let token = self
            .identity
            .token()
            .or(attempted.map(|save| save.stored.token));
        token.filter(|_| !self.keeps_id()).map(|token| token.id)
    }

    pub(crate) fn destroy(&mut self) {
        self.generations.destroyed += 1;
        self.was_destroyed = true;
        // A new session may be there, though nobody has heard of it.
        let attempted = self.unconfirmed_save.take().map(|attempt| attempt.stored);
        if let Some(stored) = self.stored.take().or(attempted) {
            self.destroyed = Some(Box::new(stored));
        } else if let Some(marker) = self.marker.take() {
            self.destroyed = Some(marker);
        }
        self.identity = Identity::Same;
        self.drop_changes();
        self.is_cookie_due = false;
    }

    /// Destroyed by this request, and no other begun since.
    pub(crate) fn is_destroyed(&self) -> bool {
        let begins_another = match (&self.changes, &self.identity) {
            (_, Identity::LogIn(_)) => true,
            (Some(changes), _) => changes.leave_values(),
            (None, _) => false,
        };
        self.was_destroyed && self.stored.is_none() && !begins_another
    }

    /// `Ended` where what the visitor brought has ended, and he did not log in.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        let logs_in = matches!(self.identity, Identity::LogIn(_));
        if self.is_displaced && !logs_in {
            Err(Error::ended())
        } else {
            Ok(())
        }
    }

    pub(crate) fn user(&self) -> Option<&str> {
        match (&self.identity, &self.stored) {
            (Identity::LogIn(log_in), _) => Some(&log_in.user),
            (_, Some(stored)) => stored.record.user(),
            (_, None) => None,
        }
    }

    /// The visitor must not stay locked out by a record that does not decode (rule F4).
    pub(crate) fn is_corrupt(&self) -> bool {
        matches!(&self.load, Some(Err(error)) if error.kind() == ErrorKind::Corrupt)
    }

    /// Whether nobody has asked for the session, so that there is nothing to commit and nothing to say.
    pub(crate) fn is_untouched(&self) -> bool {
        self.load.is_none()
    }

    /// Notes that somebody wants the session, now that it is loaded.
    pub(crate) fn use_for(&mut self, usage: Usage) {
        self.usage = self.usage.max(usage);
        if self.usage == Usage::Loaded && self.is_under_former_name && !self.is_head_gone {
            self.is_under_former_name = false;
            self.is_cookie_due = true;
        }
    }

    /// What was done until then has been saved as `stored`.
    pub(crate) fn confirm(&mut self, stored: Stored, until: ChangeSeq) {
        // Where the save was under way at that moment, nothing was lost after all.
        self.lost_with_response = self.lost_with_response.filter(|moment| *moment != until);
        if self.last_change() <= until {
            self.drop_changes();
        } else if let Some(changes) = &mut self.changes {
            Arc::make_mut(changes).forget_until(until, stored.record.data());
            self.is_stale = true;
        }
        self.stored = Some(stored);
    }
}
