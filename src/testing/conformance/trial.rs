//! The stores and helpers of a clause: [`Trial`].

use std::{mem, sync::Arc};

use parking_lot::Mutex;
use tokio::{sync::Barrier, task::JoinSet};
use uuid::Uuid;

use super::{
    Hooks,
    breach::{Outcome, Unmet},
    draft::Draft,
    times::later,
};
use crate::{
    clock::Timestamp,
    error::store::{StoreError, StoreErrorKind},
    record::{Activity, Kept, Record, token::SessionId, version::Version},
    store::{Created, Former, Position, Query, Reaped, SessionStore, StorePage, Touched, Updated},
};

/// A session that a clause has made, and what should be kept of it.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) id: SessionId,
    pub(super) draft: Draft,
    pub(super) record: Arc<Record>,
    pub(super) activity: Activity,
}

/// A store on trial. Ids are random, and what was made is deleted in the end,
/// so a store may be shared.
pub(super) struct Trial<S> {
    pub(super) store: Arc<S>,
    /// A second handle, which may be of the same sessions.
    pub(super) other: Arc<S>,
    hooks: Hooks<S>,
    made: Mutex<Vec<SessionId>>,
}

impl<S: SessionStore> Trial<S> {
    pub(super) fn new(store: S, other: S, hooks: Hooks<S>) -> Self {
        Self {
            store: Arc::new(store),
            other: Arc::new(other),
            hooks,
            made: Mutex::default(),
        }
    }

    /// A user without sessions.
    pub(super) fn new_user(&self, name: &str) -> String {
        format!("{name} {}", self.new_id())
    }

    /// An id that no session has.
    pub(super) fn new_id(&self) -> SessionId {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).expect("the operating system gives random bytes");
        let id = uuid::Builder::from_random_bytes(bits).into_uuid();
        self.note(id)
    }

    /// Registers `id` to be deleted after the clause.
    pub(super) fn note(&self, id: Uuid) -> SessionId {
        self.made.lock().push(id.into());
        id.into()
    }

    pub(super) async fn clean(&self) {
        let made = mem::take(&mut *self.made.lock());
        for id in made {
            // An error of a broken store does not matter here.
            let _ = self.store.delete(id).await;
        }
    }

    /// A new session of this draft.
    pub(super) async fn session(&self, draft: Draft, activity: Activity) -> Outcome<Made> {
        let (id, record) = (self.new_id(), draft.record());
        match self.create(id, &record, activity).await? {
            Created::Yes => Ok(Made {
                id,
                draft,
                record,
                activity,
            }),
            Created::Exists => Err(Unmet::new("Yes of `create` under a new id", "Exists")),
        }
    }

    pub(super) async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Outcome<Created> {
        answer("create", self.store.create(id, record, activity).await)
    }

    pub(super) async fn load(&self, id: SessionId) -> Outcome<Option<Kept>> {
        answer("load", self.store.load(id).await)
    }

    pub(super) async fn load_latest(&self, id: SessionId) -> Outcome<Option<Kept>> {
        answer("load_latest", self.store.load_latest(id).await)
    }

    pub(super) async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Outcome<Updated> {
        let updated = self.store.update(id, record, activity, former).await;
        answer("update", updated)
    }

    pub(super) async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Outcome<Touched> {
        answer("touch", self.store.touch(id, former, activity).await)
    }

    pub(super) async fn delete(&self, id: SessionId) -> Outcome<bool> {
        answer("delete", self.store.delete(id).await)
    }

    pub(super) async fn delete_expired(&self, before: Timestamp, limit: usize) -> Outcome<Reaped> {
        let reaped = self.store.delete_expired(before, limit).await;
        answer("delete_expired", reaped)
    }

    /// `None` if the store does not list.
    pub(super) async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Outcome<Option<StorePage>> {
        offered("list", self.store.list(query, after, limit).await)
    }

    /// `None` if the store does not count.
    pub(super) async fn count(&self, query: &Query) -> Outcome<Option<u64>> {
        offered("count", self.store.count(query).await)
    }

    /// Damages the record under `id`. `false` if the test has not set how.
    pub(super) async fn damage(&self, id: SessionId, bytes: &str) -> bool {
        let Some(plant) = &self.hooks.plant else {
            return false;
        };
        plant(Arc::clone(&self.store), id, bytes.as_bytes().to_vec()).await;
        true
    }

    /// Loses the reply to the next call. `false` if the test has not set how.
    pub(super) async fn lose_reply(&self) -> bool {
        let Some(lose) = &self.hooks.lose else {
            return false;
        };
        lose(Arc::clone(&self.store)).await;
        true
    }

    /// `None` if the store cannot be pinged.
    pub(super) async fn ping(&self) -> Outcome<Option<()>> {
        offered("ping", self.store.ping().await)
    }

    /// That exactly this is kept.
    pub(super) async fn keeps(&self, session: &Made, when: &str) -> Outcome {
        let latest = self.load_latest(session.id).await?;
        session.is_kept(latest, when)
    }

    /// That nothing is kept under `id`.
    pub(super) async fn keeps_nothing(&self, id: SessionId, when: &str) -> Outcome {
        match self.load_latest(id).await? {
            None => Ok(()),
            Some((record, activity)) => Err(Unmet::new(
                format!("nothing is kept {when}"),
                format!("version {} with {activity:?}", record.version()),
            )),
        }
    }
}

impl Made {
    pub(super) fn version(&self) -> Version {
        self.record.version()
    }

    /// The record that an update replaces.
    pub(super) fn former(&self) -> Former<'_> {
        Former::new(&self.record, self.activity)
    }

    /// The same session as of another version, which was never stored.
    pub(super) fn as_of(&self, version: Version) -> Self {
        let draft = self.draft.clone().with_version(version);
        Self {
            record: draft.record(),
            draft,
            ..self.clone()
        }
    }

    /// The next version of it, seen later and for longer; not stored yet.
    pub(super) fn next(&self) -> Self {
        let draft = self.draft.next();
        Self {
            id: self.id,
            record: draft.record(),
            draft,
            activity: later(self.activity),
        }
    }

    pub(super) fn with_activity(mut self, activity: Activity) -> Self {
        self.activity = activity;
        self
    }

    /// That what was loaded `when` is this.
    pub(super) fn is_kept(&self, loaded: Option<Kept>, when: &str) -> Outcome {
        let expected = |what: String| format!("{what} {when}");
        let Some((record, activity)) = loaded else {
            let what = format!("version {} is kept", self.version());
            return Err(Unmet::new(expected(what), "nothing"));
        };
        if record.version() != self.version() {
            let what = format!("version {}", self.version());
            return Err(Unmet::new(
                expected(what),
                format!("version {}", record.version()),
            ));
        }
        let is_same = Arc::ptr_eq(&self.record, &record);
        let encodings = (!is_same).then(|| (self.record.to_bytes(), record.to_bytes()));
        if let Some((ours, theirs)) = encodings
            && ours != theirs
        {
            let (ours, theirs) = difference(&ours, &theirs);
            return Err(Unmet::new(
                expected(format!("a record that goes on `{ours}`")),
                format!("`{theirs}`"),
            ));
        }
        if activity != self.activity {
            return Err(Unmet::new(
                expected(format!("{:?}", self.activity)),
                format!("{activity:?}"),
            ));
        }
        Ok(())
    }
}

/// The first difference of two encodings, with a few characters of context.
fn difference(ours: &[u8], theirs: &[u8]) -> (String, String) {
    let common = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let from = common.saturating_sub(20);
    let part = |bytes: &[u8]| {
        let end = bytes.len().min(common + 60);
        String::from_utf8_lossy(&bytes[from.min(end)..end]).into_owned()
    };
    (part(ours), part(theirs))
}

fn answer<T>(call: &str, reply: Result<T, StoreError>) -> Outcome<T> {
    reply.map_err(|error| Unmet::failed(call, &error))
}

pub(super) fn offered<T>(call: &str, reply: Result<T, StoreError>) -> Outcome<Option<T>> {
    match reply {
        Err(error) if error.kind() == StoreErrorKind::Unsupported => Ok(None),
        reply => answer(call, reply).map(Some),
    }
}

/// Runs these at once, as tasks that begin together.
pub(super) async fn race<F>(racers: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let racers: Vec<F> = racers.into_iter().collect();
    let start = Arc::new(Barrier::new(racers.len()));
    let mut tasks = JoinSet::new();
    for racer in racers {
        let start = Arc::clone(&start);
        tasks.spawn(async move {
            start.wait().await;
            racer.await
        });
    }
    tasks.join_all().await
}

/// The query for the sessions of a user.
pub(super) fn of(user: &str) -> Query {
    Query::default().with_user(user)
}
