//! One of tower-sessions' sessions in one request: the [`Bridge`] between its store calls and cloakroom's session.
//!
//! tower-sessions calls a store with whole records. What changed in them since it last agreed with cloakroom is
//! taken over key by key. `flush`, `delete` and `cycle_id` all call `delete`, so what a deletion means is decided
//! by what follows it. (Rules B1 to B5.)

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

/// What the end of the request has to know of tower-sessions' session, of either version.
pub(crate) trait Theirs {
    fn has_id(&self) -> bool;

    fn is_modified(&self) -> bool;

    /// What `set_expiry` was called with.
    fn expiry(&self) -> Option<Expiry>;

    /// Whether it has neither an id nor values.
    fn is_empty(&self) -> impl Future<Output = bool> + Send;

    /// Hands the record to the bridge. What that comes to, the bridge remembers.
    fn save(&self) -> impl Future<Output = ()> + Send;

    /// Whether somebody else has the session, and may use it after the response head.
    fn is_shared(&self) -> bool;
}

pub(crate) struct Bridge {
    handle: SessionHandle,
    user: Option<UserFrom>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The values on which both agreed last. `None`: theirs has asked for nothing yet.
    agreed: Option<Values>,
    /// Deleted ids whose meaning is not decided yet.
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
    /// So it is, with a status of 500 or above: only ends count, as with tower-sessions.
    FailedHead,
    Done,
}

/// How theirs hands a record to the store.
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
    /// `flush`: what the record has by now was inserted afterwards.
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

    /// What theirs loads: the id, the values, and when the session expires. `None` where there is no session.
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
        let agreed = match agreed {
            Some(agreed) => agreed,
            // Not loaded, and yet under the session's id: `clear` was called. It removes what is there now.
            None if call == Call::Save || deletion == Deletion::Cycled && !session.is_new() => {
                values::read(&session)?
            }
            None => Values::new(),
        };
        let agreed = self.identify(&session, deletion, agreed, values)?;
        values::write(&session, &agreed, values)?;
        self.progress.lock().agreed = Some(values.clone());
        let saves = match phase {
            Phase::Handling | Phase::Done => true,
            // Whoever goes on with it asks for its id.
            Phase::Head { is_shared } => is_shared && session.is_new() && !session.is_destroyed(),
            Phase::FailedHead => false,
        };
        if saves {
            let saved = session.save().await;
            // At the head, cloakroom's layer saves again, and answers for it.
            if !matches!(phase, Phase::Head { .. }) {
                saved?;
            }
        }
        Ok(next_id(&session))
    }

    /// Ends, cycles, or logs in, before any value is inserted. Returns the values on which both agree then.
    fn identify(
        &self,
        session: &Session,
        deletion: Deletion,
        mut agreed: Values,
        values: &Values,
    ) -> Result<Values, Error> {
        let named = |values: &Values| self.user.as_ref().and_then(|user| user.of(values));
        match deletion {
            Deletion::None | Deletion::Cycled => {}
            Deletion::Flushed => {
                session.destroy();
                agreed.clear();
            }
            Deletion::Deleted => session.destroy(),
        }
        let (before, after) = (named(&agreed), named(values));
        let cycles = deletion == Deletion::Cycled;
        match after {
            after if after == before => {
                if cycles {
                    session.cycle_id()?;
                }
            }
            Some(user) if session.user().as_deref() == Some(&user) => {
                // A handler of cloakroom's has logged them in.
                if cycles {
                    session.cycle_id()?;
                }
            }
            Some(user) => {
                if before.is_some() && session.user().is_none() {
                    // The values are another user's, though cloakroom was not told so.
                    session.destroy();
                }
                session.log_in(user)?;
            }
            None => {
                session.destroy();
                agreed.clear();
            }
        }
        Ok(agreed)
    }

    /// Theirs deletes `id`. What that means is decided by what follows; after the response head nothing does.
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

    /// The response is ready: takes over what theirs has changed.
    ///
    /// # Errors
    ///
    /// What keeps the response from being sent as it is.
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

    /// The request is over. What was deleted in one that was cancelled stays.
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
