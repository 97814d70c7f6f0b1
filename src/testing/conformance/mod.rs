//! The conformance kit, which tests a store against each clause of the contract: [`conformance`].

mod breach;
mod counting;
mod creating;
mod damage;
mod deleting;
mod draft;
mod health;
mod keeping;
mod listing;
mod losing;
mod ordering;
mod positions;
mod racing;
mod reaping;
mod times;
mod touching;
mod trial;
mod updating;

use std::{any::Any, fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::RwLock;

pub use self::breach::Breach;
use self::{
    breach::{Outcome, Unmet},
    trial::Trial,
};
use crate::{record::token::SessionId, store::SessionStore};

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Plant<S> = Arc<dyn Fn(Arc<S>, SessionId, Vec<u8>) -> Task<()> + Send + Sync>;
type Lose<S> = Arc<dyn Fn(Arc<S>) -> Task<()> + Send + Sync>;

/// The settings of a test for its store.
struct Hooks<S> {
    plant: Option<Plant<S>>,
    lose: Option<Lose<S>>,
}

impl<S> Clone for Hooks<S> {
    fn clone(&self) -> Self {
        Self {
            plant: self.plant.clone(),
            lose: self.lose.clone(),
        }
    }
}

/// The clauses: by file, the name and what the contract says.
macro_rules! clauses {
    ($($file:ident { $($name:ident: $rule:literal,)* })*) => {
        const CLAUSES: &[(&str, &str)] = &[$($((stringify!($name), $rule),)*)*];

        async fn hold<S: SessionStore>(name: &str, trial: &Trial<S>) -> Outcome {
            match name {
                $($(stringify!($name) => Box::pin($file::$name(trial)).await,)*)*
                _ => unreachable!("`{name}` is not a clause"),
            }
        }
    };
}

clauses! {
    creating {
        what_is_created_is_loaded: "`load` and `load_latest` return what `create` stored.",
        an_unknown_id_loads_nothing: "`load` of an id that was never created returns `None`.",
        create_never_overwrites: "`create` never overwrites a record, not even an expired one.",
        ids_that_differ_in_one_bit_are_different: "All 128 bits of an id count.",
    }
    updating {
        update_replaces_the_expected_version: "`update` stores the record in place of the expected version.",
        update_compares_the_writer: "`update` replaces only the expected version: the writer must be the same.",
        update_compares_the_counter: "`update` replaces only the expected version: the counter must be the same.",
        versions_of_any_size_are_kept: "A version is two numbers of 64 bits.",
        update_never_inserts: "`update` never inserts a record, neither before a `create` nor after a `delete`.",
        update_acts_after_the_deadline: "`update` replaces the expected version even after its deadline.",
        update_sets_the_activity_back_too: "`update` stores the given activity, even if it is earlier than the former one.",
    }
    touching {
        touch_moves_activity_alone: "`touch` moves the activity, and changes neither data nor version.",
        touch_never_moves_last_seen_back: "`touch` moves `last_seen_at` only forward, independently of `expires_at`.",
        touch_never_moves_the_deadline_back: "`touch` moves `expires_at` only forward, independently of `last_seen_at`; `None` is the latest.",
        touch_compares_the_writer: "`touch` changes only the expected version: the writer must be the same.",
        touch_compares_the_counter: "`touch` changes only the expected version: the counter must be the same.",
        touch_never_inserts: "`touch` never inserts a record, and never restores a deleted one.",
        touch_acts_after_the_deadline: "`touch` changes the expected version even after its deadline.",
    }
    deleting {
        delete_ends_what_is_there_once: "`delete` removes a record, and returns `true` only once.",
        delete_of_nothing_is_false: "`delete` returns `false` if there is no record.",
    }
    losing {
        a_create_without_a_reply_is_not_denied: "A `create` that was applied never returns `Exists`, nor an error that is marked as not applied.",
        an_update_without_a_reply_is_not_denied: "An `update` that was applied never returns `Conflict`, nor an error that is marked as not applied.",
        a_touch_without_a_reply_is_not_denied: "A `touch` that was applied never returns an error that is marked as not applied.",
        a_delete_without_a_reply_is_not_denied: "A `delete` that was applied never returns `false`, nor an error that is marked as not applied.",
        a_store_goes_on_after_a_lost_reply: "A lost reply fails only one call, not the following ones.",
    }
    health {
        ping_answers: "`ping` succeeds if the backend answers.",
        a_store_without_a_cache_loads_what_others_wrote: "If `is_cached` is false, `load` is as fresh as `load_latest`.",
    }
    racing {
        of_50_creates_one_wins: "`create` is atomic: of several concurrent calls, one returns `Yes`.",
        of_50_updates_of_a_version_one_wins: "`update` is atomic: each version has one successor.",
        of_50_deletes_one_is_true: "`delete` is atomic: of several concurrent calls, one returns `true`.",
        what_50_add_adds_up: "No update that returned `Saved` is lost.",
        touches_at_once_leave_the_latest: "`touch` is atomic: the latest of each of the two times stays.",
        a_touch_never_undoes_an_update: "`touch` is atomic: it never restores a former record.",
        nothing_revives_what_is_deleted: "An `update` or `touch` that runs at the same time as a `delete` never restores the record.",
    }
    reaping {
        delete_expired_goes_by_bounded_batches: "`delete_expired` removes at most `limit` records, and returns whether there may be more.",
        delete_expired_takes_the_deadline_itself: "`delete_expired` removes records that expire at or before the given time.",
        delete_expired_leaves_later_deadlines: "`delete_expired` keeps records that expire after the given time.",
        delete_expired_leaves_never: "`delete_expired` keeps records that never expire.",
        delete_expired_goes_by_the_deadline_of_now: "`delete_expired` uses the deadline that the last `touch` or `update` wrote.",
    }
    keeping {
        every_field_comes_back: "Every field of a record comes back.",
        unknown_fields_come_back: "Fields that this version does not know come back.",
        data_of_any_size_comes_back: "Data of any size comes back, from none to 1 MiB.",
        values_come_back_as_they_are: "Values come back unchanged, to the last digit.",
        keys_of_any_unicode_come_back: "A key may be any Unicode text.",
        users_of_any_unicode_come_back: "A user may be any Unicode text.",
        times_at_both_ends_come_back: "A time may be any `Timestamp`.",
        what_has_just_expired_is_still_there: "Stores do not judge expiry: `load` returns a record for at least five minutes after its deadline.",
    }
    listing {
        list_finds_a_users_sessions: "`list` returns every session of a user, expired or not, ordered by id.",
        list_begins_after_an_id: "`list` begins after the given id, even if there is no session with that id.",
        list_of_all_has_every_session: "`list` returns every session that was created and not deleted.",
        list_filters_by_last_seen: "`with_last_seen_before` selects sessions that were last seen before the given time.",
        list_filters_by_creation: "`with_created_before` selects sessions that were created before the given time.",
        list_follows_the_user: "`list` uses the current user of a session, after an `update` or `delete` too.",
        users_are_compared_byte_by_byte: "Users are compared byte by byte.",
    }
    positions {
        a_position_survives_its_bytes: "A position made of the bytes of another one leads to the same page.",
        a_position_of_no_list_is_refused: "A position that comes from no list is `InvalidPosition`.",
    }
    counting {
        count_goes_by_the_query: "`count` counts the sessions that meet every condition of the query.",
        count_is_of_every_session: "`count` counts all stored sessions, including expired ones.",
        count_leaves_out_what_is_created_as_a_marker: "A record that is created as a marker is no session, and `count` leaves it out.",
    }
    ordering {
        list_has_the_newest_first: "A `list` with the newest first is ordered by `begun_at`, then by id, and is exact from page to page.",
        list_has_a_users_newest_first: "A `list` with the newest first may be limited to one user.",
        the_begin_of_a_session_never_changes: "An update or a touch does not move a session in a list with the newest first.",
        list_filters_by_log_in: "`with_logged_in` selects the sessions with a user, or those without.",
        list_has_the_last_seen_first: "A `list` with the last seen first is a single page, ordered by `last_seen_at`.",
        a_position_of_another_order_is_refused: "A position of one order is `InvalidPosition` in another.",
        count_may_stop_at_the_limit: "`count` counts at least up to its limit, and never more sessions than there are.",
    }
    damage {
        what_is_no_record_is_corrupt: "A record that does not decode is `Corrupt`, and can be deleted.",
        a_newer_record_is_incompatible_and_stays: "A record of a newer format is `Incompatible`, and stays.",
        delete_expired_survives_damage: "`delete_expired` survives records that it cannot decode.",
        list_leaves_damage_out: "`list` leaves out records that do not decode.",
    }
}

/// Tests a store against every clause of [the contract](crate::store#the-contract).
///
/// `make_store` is called twice for each clause. It may return new stores, or
/// handles of one backend, which tests more. The kit uses random ids, does not
/// change other sessions, and deletes its own. It calls `delete_expired`, so do
/// not run it on a store in use. Run it on tokio's multi-thread runtime, because
/// calls run concurrently only there. Clauses about `list`, `count` and `ping`
/// are skipped if the store answers `Unsupported`.
///
/// ```no_run
/// # use cloakroom::MemoryStore;
/// #[tokio::test(flavor = "multi_thread")]
/// async fn my_store_keeps_the_contract() {
///     cloakroom::testing::conformance(async || MemoryStore::default()).await;
/// }
/// ```
///
/// # Panics
///
/// If a clause does not hold. For each such clause, the message has the rule, the
/// expected result and the actual one.
pub async fn conformance<S, M, F>(make_store: M)
where
    S: SessionStore,
    M: FnMut() -> F,
    F: Future<Output = S>,
{
    Conformance::new(make_store).run().await;
}

/// The conformance kit with settings. [`conformance`] runs it with the defaults.
///
/// ```
/// use cloakroom::{MemoryStore, testing::Conformance};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let breaches = Conformance::new(async || MemoryStore::default())
///     .only("delete_of_nothing_is_false")
///     .breaches()
///     .await;
/// assert!(breaches.is_empty());
/// # });
/// ```
#[must_use]
pub struct Conformance<S, M> {
    make_store: M,
    hooks: Hooks<S>,
    only: Option<String>,
}

/// How long a clause may take. It does not measure speed: it finds stores that hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clauses that count or sweep want a shared store for themselves, in this process at least.
static QUIET: RwLock<()> = RwLock::const_new(());

impl<S, M, F> Conformance<S, M>
where
    S: SessionStore,
    M: FnMut() -> F,
    F: Future<Output = S>,
{
    /// Tests the stores that `make_store` returns, like [`conformance`].
    pub fn new(make_store: M) -> Self {
        Self {
            make_store,
            hooks: Hooks {
                plant: None,
                lose: None,
            },
            only: None,
        }
    }

    /// Sets how to damage a session: `plant` overwrites the encoded record that
    /// the store keeps for the id with these bytes, and changes nothing else. The
    /// bytes are JSON, but not a record.
    ///
    /// Without this, the clauses about records that do not decode are skipped.
    pub fn damage<D, T>(mut self, plant: D) -> Self
    where
        D: Fn(Arc<S>, SessionId, Vec<u8>) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.hooks.plant = Some(Arc::new(move |store, id, bytes| {
            Box::pin(plant(store, id, bytes))
        }));
        self
    }

    /// Sets how to lose a reply: after `lose`, the backend applies the next write
    /// of the store, and its reply does not arrive. A proxy in front of a
    /// server can do that: it forwards the next request, and closes the
    /// connection when the reply comes.
    ///
    /// Without this, the clauses about lost replies are skipped.
    pub fn lose_reply<L, T>(mut self, lose: L) -> Self
    where
        L: Fn(Arc<S>) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.hooks.lose = Some(Arc::new(move |store| Box::pin(lose(store))));
        self
    }

    /// Runs only the clauses with `part` in their name.
    pub fn only(mut self, part: impl Into<String>) -> Self {
        self.only = Some(part.into());
        self
    }

    /// Runs the clauses.
    ///
    /// # Panics
    ///
    /// If a clause does not hold, with a list of all such clauses.
    pub async fn run(self) {
        let breaches = self.breaches().await;
        if !breaches.is_empty() {
            let each: Vec<String> = breaches.iter().map(Breach::to_string).collect();
            let (broken, all) = (breaches.len(), CLAUSES.len());
            panic!(
                "{broken} of {all} clauses of the store contract do not hold:\n\n{}\n",
                each.join("\n\n")
            );
        }
    }

    /// Runs the clauses, and returns those that do not hold.
    ///
    /// # Panics
    ///
    /// If no clause has the part in its name that [`only`](Self::only) sets.
    pub async fn breaches(mut self) -> Vec<Breach> {
        let only = self.only.as_deref().unwrap_or_default();
        let clauses: Vec<_> = CLAUSES
            .iter()
            .filter(|(name, _)| name.contains(only))
            .collect();
        assert!(!clauses.is_empty(), "no clause has `{only}` in its name");
        let mut breaches = Vec::new();
        for (clause, rule) in clauses {
            let (store, other) = ((self.make_store)().await, (self.make_store)().await);
            let trial = Trial::new(store, other, self.hooks.clone());
            if let Err(Unmet { expected, came }) = attempt(clause, trial).await {
                breaches.push(Breach {
                    clause,
                    rule,
                    expected,
                    came,
                });
            }
        }
        breaches
    }
}

/// One clause, in a task of its own: a store that panics or hangs fails this clause alone.
async fn attempt<S: SessionStore>(clause: &'static str, trial: Trial<S>) -> Outcome {
    let wants_quiet = ["delete_expired", "count"];
    let (_alone, _beside);
    if wants_quiet.iter().any(|call| clause.starts_with(call)) {
        _alone = QUIET.write().await;
    } else {
        _beside = QUIET.read().await;
    }
    let trial = Arc::new(trial);
    let tried = Arc::clone(&trial);
    let task = tokio::spawn(async move { hold(clause, &tried).await });
    let abort = task.abort_handle();
    let outcome = match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) if error.is_panic() => {
            let panic = error.into_panic();
            Err(Unmet::new(
                "an answer",
                format!("the panic `{}`", message(&*panic)),
            ))
        }
        Ok(Err(_)) => Err(Unmet::new("an answer", "the end of the runtime")),
        Err(_) => {
            abort.abort();
            let patience = PATIENCE.as_secs();
            Err(Unmet::new(format!("an answer within {patience} s"), "none"))
        }
    };
    // A store that hangs in the clause may hang here too.
    let _ = tokio::time::timeout(Duration::from_secs(5), trial.clean()).await;
    outcome
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("of another type than text")
}

impl<S, M> fmt::Debug for Conformance<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conformance")
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}
