//! The writes, each sent once. `mod.rs` interprets their replies.

use std::sync::Arc;

use ::redis::{Cmd, Value};

use super::{
    RedisStore,
    failure::unexpected,
    keys::{Entry, UserHash, user_hash},
    link::Batch,
    reply::number,
    script::{CREATE, DONE, DONE_BEFORE, MISSING, OTHER_VERSION, TOUCH, UPDATE},
    stored::{begin, identity, native_expiry, set, times, whole},
};
use crate::{
    clock::{Clock as _, SystemClock},
    error::store::{StoreError, StoreErrorKind},
    record::{Activity, Record, token::SessionId, version::Version},
    store::{Created, SessionStore as _, Touched, Updated},
};

/// The last arguments of `CREATE` and `UPDATE`, which `SET` takes.
fn add_session(call: &mut Cmd, record: &Record, activity: Activity, user: &UserHash) {
    call.arg(whole(record, activity, user));
    if let Some(at) = native_expiry(activity) {
        call.arg("PXAT").arg(at);
    }
}

impl RedisStore {
    pub(super) async fn create_once(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let entry = Self::entry_of(id, record);
        let (mut keys, mut scores) = (self.written_keys(&entry), Vec::new());
        if keys.len() > 2 {
            scores.push(SystemClock.now().as_millis());
        }
        if self.keeps_begun {
            keys.push(self.keys.begun(id.as_bytes()[0]));
            scores.push(record.begun_at().as_millis());
        }
        let mut create = CREATE.on(&keys);
        create.arg(entry.to_bytes()).arg(scores);
        add_session(&mut create, record, activity, &entry.user);
        Ok(
            match number(&self.write(self.keys.session(id), create).await?)? {
                DONE => Created::Yes,
                _ => Created::Exists,
            },
        )
    }

    /// Creates a session without a user on one server: index and session in one round trip, without a script. A record that
    /// is created as a marker is no session, and goes into no index.
    ///
    /// In a cluster, a slot that is being moved could end up with two halves of an index. A session that is not in its
    /// user's index could not be revoked, so those are created by the script, all at once.
    pub(super) async fn create_natively(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let entry = Self::entry_of(id, record);
        let [key, bucket] = self.places(id);
        let mut commands = Vec::with_capacity(3);
        let is_session = !record.is_moved();
        if is_session && self.keeps_begun {
            let mut begin = ::redis::cmd("ZADD");
            begin.arg(self.keys.begun(id.as_bytes()[0])).arg("NX");
            begin.arg(record.begun_at().as_millis()).arg(id.as_bytes());
            commands.push(begin);
        }
        if is_session {
            let mut enter = ::redis::cmd("ZADD");
            enter.arg(bucket).arg(0).arg(entry.to_bytes());
            commands.push(enter);
        }
        let session = whole(record, activity, &entry.user);
        commands.push(set(&key, &session, &[b"NX"], activity));
        let route = key.clone();
        let mut replies = self.write_all(vec![Batch { route, commands }]).await?;
        let created = match replies.pop() {
            Some(Value::Okay) => Created::Yes,
            Some(Value::Nil) => Created::Exists,
            reply => return Err(unexpected(&reply.unwrap_or(Value::Nil))),
        };
        let entered = replies.iter().try_for_each(|reply| number(reply).map(drop));
        match entered {
            Err(error) if created == Created::Yes => Err(self.undo_create(key, error).await),
            _ => Ok(created),
        }
    }

    /// Deletes what was created although its index entry was refused with this `error`. Nobody knows its id yet.
    async fn undo_create(&self, key: Vec<u8>, error: StoreError) -> StoreError {
        let mut delete = ::redis::cmd("DEL");
        delete.arg(&key);
        match self.link.ask(&key, delete).await {
            Ok(Value::Int(1)) => error.not_applied(),
            _ => error.in_doubt(),
        }
    }

    pub(super) async fn update_once(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        let entry = Self::entry_of(id, record);
        let mut update = UPDATE.on(&self.written_keys(&entry));
        update.arg(begin(expected, &entry.user));
        update.arg(id.as_bytes()).arg(entry.to_bytes());
        update.arg(SystemClock.now().as_millis());
        add_session(&mut update, record, activity, &entry.user);
        let reply = self.write(self.keys.session(id), update).await?;
        Ok(match self.script_reply(id, &reply).await? {
            DONE | DONE_BEFORE => Updated::Saved,
            MISSING => Updated::Missing,
            _ => Updated::Conflict,
        })
    }

    fn entry_of(id: SessionId, record: &Record) -> Entry {
        let user = user_hash(record.user());
        Entry { id, user }
    }

    /// The keys that a write of this session may change. In a cluster these are in one slot.
    fn written_keys(&self, entry: &Entry) -> Vec<Vec<u8>> {
        let mut keys = Vec::from(self.places(entry.id));
        if !entry.user.is_empty() && !self.link.is_cluster() {
            keys.push(self.keys.user(&entry.user));
        }
        keys
    }

    /// In a cluster, writes the entry in the user's index, which is in another slot, before the session itself is
    /// written. So no session of a user is missing in the index.
    ///
    /// If that fails, the session was not written.
    pub(super) async fn enter_first(
        &self,
        id: SessionId,
        record: &Record,
    ) -> Result<(), StoreError> {
        if record.user().is_none() || !self.link.is_cluster() {
            return Ok(());
        }
        let replies = self.write_all(vec![self.enter(&Self::entry_of(id, record))]);
        let entered = replies.await.and_then(|replies| number(&replies[0]));
        entered.map(drop).map_err(StoreError::not_applied)
    }

    pub(super) async fn touch_once(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let key = self.keys.session(id);
        let mut touch = TOUCH.on(&[&key]);
        let [seen, expiry] = times(activity);
        touch.arg(identity(expected)).arg(&seen).arg(&expiry);
        match native_expiry(activity) {
            Some(at) => touch.arg(at),
            None => touch.arg(""),
        };
        let reply = self.link.ask(&key, touch).await?;
        Ok(match self.script_reply(id, &reply).await? {
            MISSING => Touched::Missing,
            OTHER_VERSION => Touched::Stale,
            _ => Touched::Yes,
        })
    }

    /// A refusal is only certain if the driver has not sent the same command before and lost the reply.
    pub(super) fn in_doubt_if_resent<T>(
        &self,
        reply: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match reply {
            Err(error) if self.link.sends_again() => Err(error.in_doubt()),
            reply => reply,
        }
    }

    /// Whether a write that found another record was applied when the driver first sent it.
    pub(super) async fn has_written(
        &self,
        id: SessionId,
        version: Version,
    ) -> Result<bool, StoreError> {
        if !self.link.sends_again() {
            return Ok(false);
        }
        let latest = self.load_latest(id).await.map_err(StoreError::in_doubt)?;
        let Some((record, _)) = latest else {
            // Deleted since, so an earlier write does not matter any more.
            return Ok(false);
        };
        record.has_written(version).ok_or_else(|| {
            let what =
                "a command may have been sent twice, and it is unknown whether it was applied";
            StoreError::new(StoreErrorKind::Unavailable, what)
        })
    }
}
