//! The writes, each sent once. `mod.rs` interprets their replies.

use std::sync::Arc;

use ::redis::Cmd;

use super::{
    RedisStore,
    keys::{Entry, UserHash, user_hash},
    link::Batch,
    reply::number,
    script::{
        CREATE, CREATE_BEGUN, DONE, DONE_BEFORE, DONE_OTHER_USER, MISSING, OTHER_VERSION, TOUCH,
        UPDATE,
    },
    stored::{begin, identity, times, whole},
};
use crate::{
    error::store::{StoreError, StoreErrorKind},
    record::{Activity, Record, token::SessionId, version::Version},
    store::{Created, SessionStore as _, Touched, Updated},
};

/// How long a session stays after its deadline, because the clocks of machines may differ.
const GRACE_MILLIS: u64 = 5 * 60 * 1000;

/// When Redis may delete it, in milliseconds since the epoch.
fn native(activity: Activity) -> Option<u64> {
    let at = activity.expires_at?;
    Some(at.as_millis().saturating_add(GRACE_MILLIS))
}

/// The last arguments of `CREATE` and `UPDATE`, which `SET` takes.
fn set(call: &mut Cmd, record: &Record, activity: Activity, user: &UserHash) {
    call.arg(whole(record, activity, user));
    if let Some(at) = native(activity) {
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
        let user = user_hash(record.user());
        let [key, bucket] = self.places(id);
        let entry = Entry { id, user };
        let mut create = if self.keeps_begun {
            let begun = self.keys.begun(id.as_bytes()[0]);
            let mut create = CREATE_BEGUN.on(&[&key, &bucket, &begun]);
            create.arg(entry.to_bytes());
            create.arg(record.begun_at().as_millis()).arg(id.as_bytes());
            create
        } else {
            let mut create = CREATE.on(&[&key, &bucket]);
            create.arg(entry.to_bytes());
            create
        };
        set(&mut create, record, activity, &entry.user);
        let done = if entry.user.is_empty() {
            number(&self.write(key, create).await?)?
        } else {
            let first = Batch {
                route: key,
                commands: vec![create],
            };
            let replies = self.write_all(vec![first, self.enter(&entry)]).await?;
            let done = number(&replies[0])?;
            number(&replies[1]).map_err(StoreError::in_doubt)?;
            done
        };
        Ok(match done {
            DONE => Created::Yes,
            _ => Created::Exists,
        })
    }

    pub(super) async fn update_once(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        let user = user_hash(record.user());
        let [key, bucket] = self.places(id);
        let entry = Entry { id, user };
        let mut update = UPDATE.on(&[&key, &bucket]);
        update.arg(begin(expected, &entry.user));
        update.arg(id.as_bytes()).arg(entry.to_bytes());
        set(&mut update, record, activity, &entry.user);
        let done = self.said(id, &self.write(key, update).await?).await?;
        if matches!(done, DONE_OTHER_USER | DONE_BEFORE) && !entry.user.is_empty() {
            let entered = self.write_all(vec![self.enter(&entry)]).await;
            let entered = entered.and_then(|replies| number(&replies[0]));
            entered.map_err(StoreError::in_doubt)?;
        }
        Ok(match done {
            DONE | DONE_OTHER_USER | DONE_BEFORE => Updated::Saved,
            MISSING => Updated::Missing,
            _ => Updated::Conflict,
        })
    }

    pub(super) async fn touch_once(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let key = self.keys.session(id);
        let mut touch = TOUCH.on(&[&key]);
        touch.arg(identity(expected)).arg(&times(activity));
        match native(activity) {
            Some(at) => touch.arg(at),
            None => touch.arg(""),
        };
        let reply = self.link.ask(&key, touch).await?;
        Ok(match self.said(id, &reply).await? {
            MISSING => Touched::Missing,
            OTHER_VERSION => Touched::Stale,
            _ => Touched::Yes,
        })
    }

    /// A refusal is only certain if the driver has not sent the same command before and lost the reply.
    pub(super) fn vouched<T>(&self, reply: Result<T, StoreError>) -> Result<T, StoreError> {
        match reply {
            Err(error) if self.link.sends_again() => Err(error.in_doubt()),
            reply => reply,
        }
    }

    /// Whether a write that found another record was applied when the driver sent it the first time.
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
                "a command may have been sent twice, and whether it was applied cannot be told";
            StoreError::new(StoreErrorKind::Unavailable, what)
        })
    }
}
