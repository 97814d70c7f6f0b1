//! What one request knows of its session: the [`State`]. [`Shared`](shared::Shared) holds it behind a lock.
//!
//! Handlers change the state. A commit reads it and updates it with the store's replies. This folder uses the
//! settings and records below it. It does not call the store, and knows neither sessions nor commits.

pub(crate) mod change_seq;
pub(crate) mod changes;
pub(crate) mod decision;
mod gate;
mod identity;
mod overrides;
pub(crate) mod shared;
pub(crate) mod unconfirmed;
pub(crate) mod view;

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    config::Config,
    cookie::{Transport, TransportIndex},
    error::{Error, ErrorKind},
    record::{
        Activity, Kept, Record,
        data::Data,
        labels::Labels,
        renewal,
        token::{SessionId, Token},
        value::{Json, SHORT},
    },
    state::{
        change_seq::ChangeSeq,
        changes::Changes,
        decision::Undecided,
        identity::LogIn,
        unconfirmed::UnconfirmedSave,
        view::{Value, View},
    },
};

pub(crate) use self::identity::{Cycle, Identity};

/// An `Arc` without weak references. Each request makes and drops some, and each atomic operation that it saves counts.
pub(crate) use triomphe::Arc as Strong;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) usage: Usage,
    /// The result of the load. `None` before the first one.
    pub(crate) load: Option<Result<(), Error>>,
    pub(crate) loaded_at: Option<Timestamp>,
    /// The record that the changes apply to. `None` if the session is new.
    pub(crate) stored: Option<Stored>,
    /// The session that the visitor presented has moved or ended, or the cookie was planted: only a log-in is stored.
    pub(crate) is_displaced: bool,
    pub(crate) identity: Identity,
    pub(crate) changes: Option<Strong<Changes>>,
    /// The changes before some or all of them were removed. [`alter`](shared::Shared::alter) drops them without the lock.
    removed: Option<Strong<Changes>>,
    /// The last change that has been saved.
    confirmed: ChangeSeq,
    /// The request has a session cookie, valid or not.
    pub(crate) was_presented: bool,
    /// The request had a session when it loaded one.
    pub(crate) was_live: bool,
    /// A user was logged in when it was loaded.
    pub(crate) had_user: bool,
    /// If the visitor's session has moved or ended: the marker that their token led to, or the last known record. A log-in
    /// and a log-out use it to find out where the session went.
    pub(crate) marker: Option<Box<Stored>>,
    /// The session that this request has destroyed, until it is deleted from the store.
    pub(crate) destroyed: Option<Box<Stored>>,
    pub(crate) was_destroyed: bool,
    /// The cookie must be sent with the response.
    pub(crate) is_cookie_due: bool,
    /// This request drew the token, so no visitor has it yet.
    pub(crate) is_token_fresh: bool,
    /// The user's credentials are still those of the log-in.
    pub(crate) is_stamp_checked: bool,
    /// The labels that the layer sets if the session begins or logs in.
    pub(crate) labels: Option<Arc<Labels>>,
    /// The cookie has a former name: the session gets a new id if it is used.
    pub(crate) is_under_former_name: bool,
    /// The token came with a former key: the cookie is issued again if the session is used.
    pub(crate) is_token_stale: bool,
    /// How the request brought its token.
    pub(crate) presented_by: Option<TransportIndex>,
    /// The transport of the session's token, if the request has none.
    pub(crate) chosen_transport: TransportIndex,
    pub(crate) is_head_gone: bool,
    /// The commit at the response head is done.
    pub(crate) is_committed: bool,
    pub(crate) generations: Generations,
    /// A save that was cancelled, or took too long, before the store answered.
    // Boxed like `destroyed`: rarely there, and every request moves this struct.
    pub(crate) unconfirmed_save: Option<Box<UnconfirmedSave>>,
    /// The pending changes were computed on another record than `stored`.
    pub(crate) is_stale: bool,
    /// Changes up to this one were lost with the response, and no `save` has reported it yet.
    lost_with_response: Option<ChangeSeq>,
    /// Tasks that wait for the end of the session, before the response head decides which one that is.
    undecided: Option<Box<Undecided>>,
}

/// Counts the calls of `destroy`, `log_in` and `cycle_id`. A commit that started before such a call must not undo it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generations {
    pub(crate) destroyed: u32,
    pub(crate) identified: u32,
}

/// A session as the store last returned it.
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

/// How the request has used the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Usage {
    #[default]
    Untouched,
    Peeked,
    Loaded,
}

impl State {
    /// The pending changes, and the data that they apply to.
    pub(crate) fn edit(&mut self) -> (&mut Changes, &Data) {
        let base = match &self.stored {
            Some(stored) => stored.record.data(),
            None => Data::none(),
        };
        let changes = self
            .changes
            .get_or_insert_with(|| Strong::new(Changes::on(base, self.confirmed)));
        (Strong::make_mut(changes), base)
    }

    pub(crate) fn view(&self) -> View {
        let stored = self.stored.as_ref();
        View {
            record: stored.map(|stored| Arc::clone(&stored.record)),
            changes: self.changes.clone(),
        }
    }

    /// The value of `key`. A short one is copied, which costs less than to count one more user of the record.
    pub(crate) fn value(&self, key: &str) -> Value {
        match self.get(key) {
            None => Value::None,
            Some(value) if value.len() <= SHORT => Value::Short(Json::from_slice(value)),
            Some(_) => Value::Long(self.view()),
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

    /// The last change of this request.
    pub(crate) fn last_change(&self) -> ChangeSeq {
        match &self.changes {
            Some(changes) => changes.last(),
            None => self.confirmed,
        }
    }

    /// The last change of this request, marked so that [`Changes::until`] can separate the changes up to it.
    pub(crate) fn mark(&mut self) -> ChangeSeq {
        if let Some(changes) = &mut self.changes {
            Strong::make_mut(changes).mark();
        }
        self.last_change()
    }

    /// Whether the cookie may be sent: not if it could replace a later secret in the browser.
    pub(crate) fn may_issue(&self, stored: &Stored, config: &Config, now: Timestamp) -> bool {
        let (record, secret) = (&stored.record, &stored.token.secret);
        self.is_token_fresh || renewal::is_repeatable(record, secret, config.renew_every, now)
    }

    /// Removes the changes. Returns whether there were any. Only inside [`alter`](shared::Shared::alter).
    pub(crate) fn drop_changes(&mut self) -> bool {
        self.confirmed = self.last_change();
        let removed = self.changes.take();
        let are_any = removed.is_some();
        self.removed = self.removed.take().or(removed);
        are_any
    }

    /// Keeps the changes until the lock is released, because the caller removes some of them. Only inside
    /// [`alter`](shared::Shared::alter).
    fn hold_changes(&mut self) {
        if self.removed.is_none() {
            self.removed.clone_from(&self.changes);
        }
    }

    /// Removes all values.
    pub(crate) fn clear(&mut self) {
        self.hold_changes();
        self.edit().0.clear();
    }

    /// Drops what is pending: there is no response, or one that says that nothing was saved (rules C2, F2).
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

    /// Returns `TooLate`, once, if changes were lost with the response.
    pub(crate) fn check_kept(&mut self) -> Result<(), Error> {
        match self.lost_with_response.take() {
            Some(_) => Err(Error::too_late(
                "what was pending at the end of the request",
            )),
            None => Ok(()),
        }
    }

    /// Whether the pending changes differ from what is stored.
    pub(crate) fn is_modified(&self) -> bool {
        if self.destroyed.is_some() || !matches!(self.identity, Identity::Same) {
            return true;
        }
        match (&self.changes, &self.stored) {
            (None, _) => false,
            (Some(changes), None) => changes.leave_values(),
            (Some(changes), Some(stored)) => changes.differ(&stored.record),
        }
    }

    /// Drops changes up to `until` that do not differ from what is stored, with their closures.
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

    /// Whether the pending changes apply to the stored session `id`.
    pub(crate) fn is_on(&self, id: SessionId) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.id() == id)
    }

    /// Replaces the stored record. The pending changes were computed on another one.
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
                Strong::make_mut(changes).measure(record.data());
            }
            (stored.record, stored.activity) = (record, activity);
            self.is_stale = true;
        }
    }

    /// Drops what is pending, because the session has ended (rule M4). A log-in and later changes stay (rule M7).
    pub(crate) fn end(&mut self) {
        if let Some(stored) = self.stored.take() {
            self.marker = Some(Box::new(stored));
        }
        self.is_cookie_due = false;
        self.is_displaced = true;
        match &self.identity {
            Identity::LogIn(log_in) => {
                let since = log_in.since;
                self.hold_changes();
                if let Some(changes) = &mut self.changes {
                    Strong::make_mut(changes).forget_until(since, Data::none());
                }
            }
            Identity::Same | Identity::Cycle(_) => {
                self.identity = Identity::Same;
                self.drop_changes();
            }
        }
    }

    /// Binds `user` at the commit.
    pub(crate) fn log_in(&mut self, user: Box<str>, at: Timestamp) -> Result<(), Error> {
        if self.is_head_gone {
            return Err(Error::too_late("log_in"));
        }
        let token = self
            .identity
            .take_token()
            .map_or_else(Token::generate, Ok)?;
        // The other user's values are dropped in the new session only: a save must not delete them in the old one.
        let (since, started_empty) = match &self.identity {
            Identity::LogIn(former) => (former.since, former.starts_empty),
            Identity::Same | Identity::Cycle(_) => (self.mark(), false),
        };
        let is_other = self.user().is_some_and(|current| *current != *user);
        if is_other {
            self.hold_changes();
            self.edit().0.reset();
        }
        // The timeouts that this request has set are for the new session too.
        if let Some(changes) = &mut self.changes {
            Strong::make_mut(changes).set_overrides_anew();
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

    /// Gives the session another id at the commit. `confirmed_at` is set if the user has confirmed who they are.
    pub(crate) fn cycle(&mut self, confirmed_at: Option<Timestamp>) -> Result<(), Error> {
        if self.is_head_gone {
            return Err(Error::too_late("cycle_id"));
        }
        match &mut self.identity {
            Identity::Same if self.stored.is_some() => {
                self.generations.identified += 1;
                let token = Some(Token::generate()?);
                self.identity = Identity::Cycle(Box::new(Cycle {
                    token,
                    confirmed_at,
                }));
            }
            Identity::Cycle(cycle) => cycle.confirmed_at = cycle.confirmed_at.max(confirmed_at),
            Identity::Same | Identity::LogIn(_) => {}
        }
        Ok(())
    }

    /// The labels that the session has, or will have.
    pub(crate) fn labels(&self) -> Labels {
        let stored = self.stored.as_ref();
        let kept = stored.and_then(|stored| stored.record.labels());
        let begun = match &self.identity {
            Identity::LogIn(log_in) if log_in.starts_empty => self.labels.as_deref().cloned(),
            Identity::LogIn(_) => self.labels.as_ref().map(|labels| {
                let labels = labels.iter().map(|(name, value)| (name, Some(value)));
                kept.unwrap_or(Labels::NONE).with(labels)
            }),
            Identity::Same | Identity::Cycle(_) if self.stored.is_none() => {
                self.labels.as_deref().cloned()
            }
            Identity::Same | Identity::Cycle(_) => None,
        };
        let is_empty = matches!(&self.identity, Identity::LogIn(log_in) if log_in.starts_empty);
        let labels = begun.as_ref().or(kept.filter(|_| !is_empty));
        match &self.changes {
            Some(changes) => changes.labelled(labels),
            None => labels.cloned().unwrap_or_default(),
        }
    }

    /// When the user last proved who they are.
    pub(crate) fn confirmed_at(&self) -> Option<Timestamp> {
        let stored = self.stored.as_ref();
        let before = stored.and_then(|stored| stored.record.confirmed_at());
        match &self.identity {
            Identity::Same => before,
            Identity::Cycle(cycle) => before.max(cycle.confirmed_at),
            Identity::LogIn(log_in) => Some(log_in.at),
        }
    }

    /// Chooses how the session's token is issued.
    ///
    /// # Errors
    ///
    /// `TooLate` after the response head, `Other` if the layer does not use this transport.
    pub(crate) fn choose_transport(
        &mut self,
        transport: &Transport,
        config: &Config,
    ) -> Result<(), Error> {
        if self.is_head_gone {
            return Err(Error::too_late("set_transport"));
        }
        let index = config.transports.index_of(transport).ok_or_else(|| {
            let what = format!("the layer does not use {transport:?}: name it in `transport`");
            Error::new(ErrorKind::Other, what)
        })?;
        self.chosen_transport = index;
        Ok(())
    }

    /// The id that the session gets when the pending log-in or cycle is committed.
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
        // A save whose reply was lost may have stored a new session.
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

    /// Whether this request has destroyed the session and not begun a new one.
    pub(crate) fn is_destroyed(&self) -> bool {
        let begins_another = match (&self.changes, &self.identity) {
            (_, Identity::LogIn(_)) => true,
            (Some(changes), _) => changes.leave_values(),
            (None, _) => false,
        };
        self.was_destroyed && self.stored.is_none() && !begins_another
    }

    /// `Ended` if the visitor's session has ended, and no log-in is pending.
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

    /// Whether the record does not decode. The cookie is removed then, or the visitor would stay locked out (rule F4).
    pub(crate) fn is_corrupt(&self) -> bool {
        matches!(&self.load, Some(Err(error)) if error.kind() == ErrorKind::Corrupt)
    }

    /// Whether nobody has asked for the session, so that there is nothing to commit.
    pub(crate) fn is_untouched(&self) -> bool {
        self.load.is_none()
    }

    /// Notes that the request uses the session, after the load.
    ///
    /// # Errors
    ///
    /// As [`cycle`](Self::cycle).
    pub(crate) fn use_for(&mut self, usage: Usage) -> Result<(), Error> {
        self.usage = self.usage.max(usage);
        if self.usage == Usage::Loaded && self.is_under_former_name && !self.is_head_gone {
            // A planted or copied former cookie must not open the session afterwards (rule T7).
            self.cycle(None)?;
            self.is_under_former_name = false;
        }
        if self.usage == Usage::Loaded && self.is_token_stale && !self.is_head_gone {
            self.is_cookie_due = true;
        }
        Ok(())
    }

    /// Changes up to `until` have been saved as `stored`.
    pub(crate) fn confirm(&mut self, stored: Stored, until: ChangeSeq) {
        // These changes are not lost: their save was running.
        self.lost_with_response = self.lost_with_response.filter(|moment| *moment != until);
        if self.last_change() <= until {
            self.drop_changes();
        } else {
            self.hold_changes();
            if let Some(changes) = &mut self.changes {
                Strong::make_mut(changes).forget_until(until, stored.record.data());
                self.is_stale = true;
            }
        }
        self.stored = Some(stored);
    }
}
