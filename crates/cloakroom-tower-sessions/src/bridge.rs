//! One of tower-sessions' sessions in one request: the [`Bridge`] between its store calls and cloakroom's session.
//!
//! In this package, *theirs* is tower-sessions' session. It passes whole records to its store. The bridge compares them
//! with the last values that both sessions had, and applies the changed keys to cloakroom's session. `flush`, `delete` and
//! `cycle_id` all call `delete`, so the calls after a deletion decide what it means. (Rules B1 to B5.)

use std::{fmt, mem, time::SystemTime};

use cloakroom::{Error, Session, SessionHandle, SessionId};
use parking_lot::Mutex;

use crate::{
    expiry::Expiry,
    user::UserFrom,
    values::{self, Values},
};

/// tower-sessions' record id, of either version.
pub(crate) type RecordId = i128;

/// The id as tower-sessions has it. It prints as the first characters of the cookie's value.
pub(crate) fn record_id(id: SessionId) -> RecordId {
    RecordId::from_le_bytes(*id.as_bytes())
}

/// The methods of tower-sessions' session, of either version, that the end of the request needs.
pub(crate) trait Theirs {
    fn has_id(&self) -> bool;

    fn is_modified(&self) -> bool;

    /// The argument of the last `set_expiry`.
    fn expiry(&self) -> Option<Expiry>;

    /// Whether it has neither an id nor values.
    fn is_empty(&self) -> impl Future<Output = bool> + Send;

    /// Passes the record to the bridge, which keeps the result.
    fn save(&self) -> impl Future<Output = ()> + Send;

    /// Whether a task still holds the session, and may use it after the response head.
    fn is_shared(&self) -> bool;
}

pub(crate) struct Bridge {
    handle: SessionHandle,
    user: Option<UserFrom>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The last values that both sessions had. `None`: theirs has not loaded yet.
    agreed: Option<Values>,
    /// Deleted ids. What the deletions mean is not decided yet.
    deleted: Vec<RecordId>,
    phase: Phase,
    /// The last failure of cloakroom's session.
    failure: Option<Error>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Handling,
    /// The response is ready, and cloakroom's layer commits next.
    Head {
        is_shared: bool,
    },
    /// The same with a status of 500 or above: only the end of a session counts, as in tower-sessions.
    FailedHead,
    Done,
}

/// How theirs passes a record to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Its session has no id.
    Create,
    Save,
}

/// What the deletions before a record mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletion {
    None,
    /// `cycle_id`: the record has got another id.
    Cycled,
    /// `flush`: the values of the record were inserted afterwards.
    Flushed,
    /// `delete`: the id is still there, and so are the former values.
    Deleted,
}

impl Deletion {
    fn of(call: Call, deleted: &[RecordId], id: RecordId) -> Self {
        let Some(first) = deleted.first() else {
            return Self::None;
        };
        match call {
            Call::Save => Self::Deleted,
            Call::Create if deleted.contains(&id) => Self::Flushed,
            // A flush keeps the record's id, and a cycle deletes it once more.
            Call::Create if deleted[1..].contains(first) => Self::Flushed,
            Call::Create => Self::Cycled,
        }
    }
}

impl Bridge {
    pub(crate) fn new(handle: SessionHandle, user: Option<UserFrom>) -> Self {
        Self {
            handle,
            user,
            progress: Mutex::default(),
        }
    }

    /// The record that theirs loads: the id, the values, and when the session expires. `None` if there is no session.
    pub(crate) async fn load(
        &self,
        id: RecordId,
    ) -> Result<Option<(RecordId, Values, Option<SystemTime>)>, Error> {
        let loaded = self.read(id).await;
        self.noted(loaded)
    }

    async fn read(
        &self,
        id: RecordId,
    ) -> Result<Option<(RecordId, Values, Option<SystemTime>)>, Error> {
        let session = self.handle.load().await?;
        let mut progress = self.progress.lock();
        if progress.deleted.contains(&id) {
            // Only `delete` leaves an id to load by.
            progress.deleted.clear();
            session.destroy();
        }
        let Some(id) = next_id(&session).filter(|_| !session.is_new()) else {
            progress.agreed = Some(Values::new());
            return Ok(None);
        };
        let values = values::read(&session)?;
        progress.agreed = Some(values.clone());
        Ok(Some((id, values, session.expires_at())))
    }

    /// Takes over a record. Returns the id that the session has, or will have, if it has one.
    pub(crate) async fn store(
        &self,
        call: Call,
        id: RecordId,
        values: &Values,
    ) -> Result<Option<RecordId>, Error> {
        let stored = self.take_over(call, id, values).await;
        self.noted(stored)
    }

    async fn take_over(
        &self,
        call: Call,
        id: RecordId,
        values: &Values,
    ) -> Result<Option<RecordId>, Error> {
        let session = self.handle.load().await?;
        let (deleted, agreed, phase) = {
            let mut progress = self.progress.lock();
            let deleted = mem::take(&mut progress.deleted);
            (deleted, progress.agreed.clone(), progress.phase)
        };
        let deletion = Deletion::of(call, &deleted, id);
        if phase == Phase::FailedHead {
            if deletion == Deletion::Flushed {
                session.destroy();
            }
            return Ok(None);
        }
        let mut agreed = match agreed {
            Some(agreed) => agreed,
            // Theirs has the session's id but has not loaded, so `clear` was called. It removes the current values.
            None if call == Call::Save || deletion == Deletion::Cycled && !session.is_new() => {
                values::read(&session)?
            }
            None => Values::new(),
        };
        let user = session.user();
        let applied = self
            .identify(&session, deletion, &mut agreed, values)
            .and_then(|()| values::write(&session, &agreed, values));
        if let Err(error) = applied {
            // The handler may save again.
            let mut progress = self.progress.lock();
            progress.agreed = Some(agreed);
            if deletion == Deletion::Cycled {
                progress.deleted.splice(..0, deleted);
            }
            if session.user() != user {
                // The session has no values of the next user, and they must not get those of the former one.
                session.destroy();
            }
            return Err(error);
        }
        self.progress.lock().agreed = Some(values.clone());
        let saves = match phase {
            Phase::Handling | Phase::Done => true,
            // A task that still holds it may ask for its id.
            Phase::Head { is_shared } => is_shared && session.is_new() && !session.is_destroyed(),
            Phase::FailedHead => false,
        };
        if saves {
            let saved = session.save().await;
            // At the head, cloakroom's layer saves again, and handles the error.
            if !matches!(phase, Phase::Head { .. }) {
                saved?;
            }
        }
        Ok(next_id(&session))
    }

    /// Ends, cycles or logs in, before any value is inserted. `agreed` has the values that both sessions have then. A cycle and a
    /// log-in cannot be taken back, so it is checked first whether the values fit.
    fn identify(
        &self,
        session: &Session,
        deletion: Deletion,
        agreed: &mut Values,
        values: &Values,
    ) -> Result<(), Error> {
        let named = |values: &Values| self.user.as_ref().and_then(|user| user.of(values));
        match deletion {
            Deletion::None | Deletion::Cycled => {}
            Deletion::Flushed => {
                session.destroy();
                agreed.clear();
            }
            Deletion::Deleted => session.destroy(),
        }
        let (before, after) = (named(agreed), named(values));
        let cycles = deletion == Deletion::Cycled;
        match after {
            // A handler with cloakroom's session may have logged them in.
            after if after == before || after.is_some() && after == session.user() => {
                if cycles {
                    values::check(session, agreed, values)?;
                    session.cycle_id()?;
                }
            }
            Some(user) => {
                if before.is_some() && session.user().is_none() {
                    // The values belong to another user, of whom cloakroom does not know.
                    session.destroy();
                }
                if session.user().is_none() {
                    values::check(session, agreed, values)?;
                }
                session.log_in(user)?;
            }
            None => {
                session.destroy();
                agreed.clear();
            }
        }
        Ok(())
    }

    /// Theirs deletes `id`. The following calls decide what that means. After the response head it ends the session.
    pub(crate) async fn delete(&self, id: RecordId) -> Result<(), Error> {
        {
            let mut progress = self.progress.lock();
            if progress.phase != Phase::Done {
                progress.deleted.push(id);
                return Ok(());
            }
        }
        let ended = async {
            let session = self.handle.load().await?;
            session.destroy();
            session.save().await
        };
        ended.await
    }

    /// Whether [`finish`](Self::finish) has something to do.
    pub(crate) fn is_pending(&self, theirs: &impl Theirs) -> bool {
        theirs.is_modified() || !self.progress.lock().deleted.is_empty()
    }

    /// Applies the changes of theirs when the response is ready.
    ///
    /// # Errors
    ///
    /// If the response must be replaced by an error.
    pub(crate) async fn finish(
        &self,
        theirs: &impl Theirs,
        is_server_error: bool,
    ) -> Result<(), Error> {
        self.end_or_save(theirs, is_server_error).await?;
        match self.progress.lock().failure.take() {
            Some(failure) if is_server_error && failure.is_transient() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Called at the end of the request. Deletions of a cancelled request have no effect.
    pub(crate) fn close(&self) {
        let mut progress = self.progress.lock();
        progress.phase = Phase::Done;
        progress.deleted.clear();
    }

    async fn end_or_save(&self, theirs: &impl Theirs, is_server_error: bool) -> Result<(), Error> {
        let deletes = !self.progress.lock().deleted.is_empty();
        let is_empty = theirs.is_empty().await;
        let saves = theirs.is_modified() && !is_server_error;
        if deletes && (is_empty || theirs.has_id() && !saves) {
            self.progress.lock().deleted.clear();
            self.handle.load().await?.destroy();
        } else if !is_empty && (saves || deletes) {
            let is_shared = theirs.is_shared();
            {
                let mut progress = self.progress.lock();
                progress.failure = None;
                progress.phase = match is_server_error {
                    true => Phase::FailedHead,
                    false => Phase::Head { is_shared },
                };
            }
            theirs.save().await;
            if let Some(failure) = self.progress.lock().failure.take() {
                return Err(failure);
            }
        }
        if saves && let Some(expiry) = theirs.expiry() {
            let session = self.handle.load().await?;
            if !session.is_destroyed() {
                expiry.apply(&session, SystemTime::now());
            }
        }
        Ok(())
    }

    fn noted<T>(&self, came: Result<T, Error>) -> Result<T, Error> {
        self.progress.lock().failure = came.as_ref().err().cloned();
        came
    }
}

/// The id that the session has once a pending log-in or cycle is committed.
fn next_id(session: &Session) -> Option<RecordId> {
    session.next_id().or_else(|| session.id()).map(record_id)
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bridge").field(&self.handle).finish()
    }
}
