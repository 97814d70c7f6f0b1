//! The conformance kit: sound stores pass it, and each bug fails the clause that names it.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionStore, StoreCall, StoreError, Timestamp,
    store::{Created, DynStore, Former, Reaped, StoreErrorKind, TieredStore, Touched, Updated},
    testing::{Breach, Conformance, Fault, FaultyStore, conformance},
};

use crate::support::broken::{BrokenStore, Bug};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_memory_store_keeps_the_contract() {
    conformance(async || MemoryStore::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_memory_store_of_one_shard_keeps_the_contract() {
    conformance(async || MemoryStore::builder().max_sessions(2_000).build()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shared_store_keeps_the_contract() {
    let store = Arc::new(MemoryStore::default());
    conformance(async || Arc::clone(&store)).await;
    assert!(store.is_empty(), "what the kit made it deletes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_chosen_at_run_time_keeps_the_contract() {
    conformance(async || DynStore::new(MemoryStore::default())).await;
    conformance(async || DynStore::new(FaultyStore::in_memory())).await;
}

#[tokio::test]
async fn a_faulty_store_without_faults_keeps_the_contract() {
    conformance(async || FaultyStore::in_memory()).await;
}

/// The clauses that a store with this bug does not keep.
async fn broken_by(bug: Bug) -> Vec<Breach> {
    Conformance::new(async || BrokenStore::new(bug))
        .damage(|store, id, bytes| async move { store.damage(id, bytes) })
        .breaches()
        .await
}

/// That stores with these bugs fail these clauses, and no other.
async fn break_exactly(bugs: &[(Bug, &[&str])]) {
    for (bug, clauses) in bugs {
        let breaches = broken_by(*bug).await;
        let broken: Vec<&str> = breaches.iter().map(|breach| breach.clause).collect();
        assert_eq!(broken, *clauses, "{bug:?}");
    }
}

/// That stores with these bugs fail these clauses; what others they fail is a matter of luck.
async fn break_at_least(bugs: &[(Bug, &str)]) {
    for (bug, clause) in bugs {
        let breaches = broken_by(*bug).await;
        let mut is_broken = breaches.iter().any(|breach| breach.clause == *clause);
        // On a busy machine a race need not come about at once.
        for _ in 0..RACES {
            if is_broken {
                break;
            }
            let alone = Conformance::new(async || BrokenStore::new(*bug)).only(*clause);
            is_broken = !alone.breaches().await.is_empty();
        }
        assert!(is_broken, "{bug:?} passes {clause}: {breaches:?}");
    }
}

/// How often a clause about a race is tried.
const RACES: usize = 50;

/// The clauses that a store does not keep whose writes have this fault when a reply is lost.
async fn broken_when_losing(fault: Fault) -> Vec<&'static str> {
    let breaches = Conformance::new(async || FaultyStore::in_memory())
        .lose_reply(move |store: Arc<FaultyStore>| async move {
            let mut is_lost = false;
            store.plan(move |call| {
                let is_read = matches!(call, StoreCall::Load | StoreCall::LoadLatest);
                if is_read || std::mem::replace(&mut is_lost, true) {
                    Fault::None
                } else {
                    fault
                }
            });
        })
        .only("reply")
        .breaches()
        .await;
    breaches.iter().map(|breach| breach.clause).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_leaves_open_what_it_does_not_know_keeps_the_contract() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Full] {
        assert!(broken_when_losing(Fault::LoseReply(kind)).await.is_empty());
        let refused = broken_when_losing(Fault::Refuse(kind)).await;
        assert!(refused.is_empty(), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_hides_a_retry_whose_first_reply_was_lost_fails_the_clauses_of_its_writes() {
    // A second touch does what the first did.
    let broken = [
        "a_create_without_a_reply_is_not_denied",
        "an_update_without_a_reply_is_not_denied",
        "a_delete_without_a_reply_is_not_denied",
    ];
    assert_eq!(broken_when_losing(Fault::HideRetry).await, broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refusal_that_was_none_fails_the_clauses_of_its_writes() {
    let broken = [
        "a_create_without_a_reply_is_not_denied",
        "an_update_without_a_reply_is_not_denied",
        "a_touch_without_a_reply_is_not_denied",
        "a_delete_without_a_reply_is_not_denied",
    ];
    let fault = Fault::RefuseFalsely(StoreErrorKind::Unavailable);
    assert_eq!(broken_when_losing(fault).await, broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cache_that_is_not_owned_up_to_fails_its_clause() {
    let back = Arc::new(MemoryStore::default());
    let cached = async || {
        let front = MemoryStore::default();
        TieredStore::new(front, Arc::clone(&back)).max_staleness(Duration::from_secs(60))
    };
    conformance(cached).await;

    let breaches = Conformance::new(async || SilentCache(cached().await))
        .breaches()
        .await;
    let broken: Vec<&str> = breaches.iter().map(|breach| breach.clause).collect();
    assert_eq!(broken, ["a_store_without_a_cache_loads_what_others_wrote"]);
}

/// A cache that says it is none.
struct SilentCache(TieredStore<Arc<MemoryStore>>);

impl SessionStore for SilentCache {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        self.0.create(id, record, activity).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.0.load(id).await
    }

    async fn load_latest(
        &self,
        id: SessionId,
    ) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.0.load_latest(id).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        self.0.update(id, record, activity, former).await
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.0.touch(id, former, activity).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.0.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.0.delete_expired(before, limit).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bugs_of_create_and_load_fail_their_clauses() {
    break_exactly(&[
        (Bug::None, &[]),
        (
            Bug::CreateOverwrites,
            &["create_never_overwrites", "of_50_creates_one_wins"],
        ),
        (Bug::CreateOverwritesExpired, &["create_never_overwrites"]),
        (
            Bug::LoadJudgesExpiry,
            &[
                "create_never_overwrites",
                "what_has_just_expired_is_still_there",
            ],
        ),
    ])
    .await;
    break_at_least(&[
        (Bug::CreateChecksFirst, "of_50_creates_one_wins"),
        (Bug::LatestIsCached, "update_replaces_the_expected_version"),
        (Bug::IdsLoseABit, "ids_that_differ_in_one_bit_are_different"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bugs_of_update_fail_their_clauses() {
    break_exactly(&[
        (Bug::UpdateIgnoresWriter, &["update_compares_the_writer"]),
        (Bug::UpdateIgnoresCounter, &["update_compares_the_counter"]),
        (Bug::UpdateComparesAsFloat, &["update_compares_the_counter"]),
        (
            Bug::UpdateJudgesExpiry,
            &[
                "update_acts_after_the_deadline",
                "delete_expired_goes_by_the_deadline_of_now",
            ],
        ),
        (
            Bug::UpdateKeepsDeadline,
            &[
                "update_sets_the_activity_back_too",
                "delete_expired_leaves_never",
                "delete_expired_goes_by_the_deadline_of_now",
            ],
        ),
    ])
    .await;
    break_at_least(&[
        (Bug::UpdateInserts, "update_never_inserts"),
        (
            Bug::UpdateChecksFirst,
            "of_50_updates_of_a_version_one_wins",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bugs_of_touch_fail_their_clauses() {
    break_exactly(&[
        (Bug::TouchIgnoresWriter, &["touch_compares_the_writer"]),
        (Bug::TouchIgnoresCounter, &["touch_compares_the_counter"]),
        (
            Bug::TouchSkipsMixed,
            &[
                "touch_never_moves_last_seen_back",
                "touch_never_moves_the_deadline_back",
            ],
        ),
        (
            Bug::TouchTakesNeverForEarliest,
            &[
                "touch_moves_activity_alone",
                "touch_never_moves_the_deadline_back",
            ],
        ),
        (
            Bug::TouchJudgesExpiry,
            &[
                "touch_acts_after_the_deadline",
                "delete_expired_goes_by_the_deadline_of_now",
            ],
        ),
    ])
    .await;
    break_at_least(&[
        (Bug::TouchMovesSeenBack, "touch_never_moves_last_seen_back"),
        (
            Bug::TouchMovesDeadlineBack,
            "touch_never_moves_the_deadline_back",
        ),
        (Bug::TouchRevives, "touch_never_inserts"),
        (Bug::TouchWritesVersion, "touch_moves_activity_alone"),
        (Bug::TouchChecksFirst, "a_touch_never_undoes_an_update"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bugs_of_delete_fail_their_clauses() {
    break_exactly(&[
        (
            Bug::DeleteIsAlwaysTrue,
            &[
                "delete_ends_what_is_there_once",
                "delete_of_nothing_is_false",
                "of_50_deletes_one_is_true",
            ],
        ),
        (
            Bug::DeleteSparesExpired,
            &["delete_ends_what_is_there_once"],
        ),
        (Bug::DeleteLeavesDamage, &["what_is_no_record_is_corrupt"]),
    ])
    .await;
    break_at_least(&[
        (Bug::DeleteDoesNothing, "delete_ends_what_is_there_once"),
        (Bug::DeleteChecksFirst, "of_50_deletes_one_is_true"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bugs_of_delete_expired_fail_their_clauses() {
    const BATCHES: &str = "delete_expired_goes_by_bounded_batches";
    const OF_NOW: &str = "delete_expired_goes_by_the_deadline_of_now";
    break_exactly(&[
        (Bug::ReapIsUnbounded, &[BATCHES]),
        (Bug::ReapSaysNoMore, &[BATCHES]),
        (Bug::ReapCountsWrong, &[BATCHES]),
        (
            Bug::ReapTakesTooMuch,
            &["delete_expired_leaves_later_deadlines"],
        ),
        (
            Bug::ReapTakesNever,
            &["delete_expired_leaves_never", OF_NOW],
        ),
        (Bug::ReapGoesByFirstDeadline, &[BATCHES, OF_NOW]),
        (Bug::ReapFailsAtDamage, &["delete_expired_survives_damage"]),
    ])
    .await;
    break_at_least(&[
        (
            Bug::ReapLeavesTheDeadline,
            "delete_expired_takes_the_deadline_itself",
        ),
        (Bug::ReapAlwaysSaysMore, BATCHES),
        (Bug::ReapDoesNothing, BATCHES),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_does_not_come_back_fails_its_clause() {
    break_exactly(&[
        (Bug::DropsUnknownFields, &["unknown_fields_come_back"]),
        (Bug::DropsTimeouts, &["every_field_comes_back"]),
        (Bug::RoundsFloats, &["values_come_back_as_they_are"]),
        (
            Bug::CutsUsers,
            &[
                "users_of_any_unicode_come_back",
                "users_are_compared_byte_by_byte",
            ],
        ),
        (Bug::CutsNul, &["keys_of_any_unicode_come_back"]),
        (Bug::RefusesLarge, &["data_of_any_size_comes_back"]),
        (Bug::CutsTimes, &["times_at_both_ends_come_back"]),
        (
            Bug::DamageIsNothing,
            &[
                "what_is_no_record_is_corrupt",
                "a_newer_record_is_incompatible_and_stays",
            ],
        ),
        (
            Bug::NewerIsCorrupt,
            &["a_newer_record_is_incompatible_and_stays"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bugs_of_list_and_count_fail_their_clauses() {
    break_exactly(&[
        (Bug::ListFailsAtDamage, &["list_leaves_damage_out"]),
        (Bug::ListFoldsCase, &["users_are_compared_byte_by_byte"]),
        (Bug::ListTrims, &["users_are_compared_byte_by_byte"]),
        (Bug::ListHidesExpired, &["list_finds_a_users_sessions"]),
        (Bug::ListIgnoresUpdates, &["list_follows_the_user"]),
        (
            Bug::ListSeenIncludesTheMoment,
            &["list_filters_by_last_seen"],
        ),
        (Bug::ListIgnoresCreation, &["list_filters_by_creation"]),
        (
            Bug::ListTakesAnyPosition,
            &[
                "a_position_of_no_list_is_refused",
                "a_position_of_another_order_is_refused",
            ],
        ),
        (Bug::ListIgnoresLogIn, &["list_filters_by_log_in"]),
        (Bug::LastSeenIsBackwards, &["list_has_the_last_seen_first"]),
        (Bug::CountStopsShort, &["count_may_stop_at_the_limit"]),
        (
            Bug::CountIgnoresQuery,
            &["count_goes_by_the_query", "list_filters_by_log_in"],
        ),
        (
            Bug::CountSkipsExpired,
            &["count_goes_by_the_query", "count_is_of_every_session"],
        ),
        (
            Bug::CountIsForever,
            &[
                "count_goes_by_the_query",
                "count_is_of_every_session",
                "count_leaves_out_what_is_created_as_a_marker",
                "list_filters_by_log_in",
            ],
        ),
        (
            Bug::CountIncludesMarkers,
            &["count_leaves_out_what_is_created_as_a_marker"],
        ),
        (Bug::PingFails, &["ping_answers"]),
    ])
    .await;
    break_at_least(&[
        (Bug::ListIsBackwards, "list_finds_a_users_sessions"),
        (Bug::ListStartsAtTheId, "list_begins_after_an_id"),
        (Bug::ListIgnoresLimit, "list_finds_a_users_sessions"),
        (Bug::ListEndsEarly, "list_finds_a_users_sessions"),
        (Bug::NewestIsBackwards, "list_has_the_newest_first"),
        (Bug::NewestIsBackwards, "list_has_a_users_newest_first"),
        (
            Bug::NewestGoesByLastSeen,
            "the_begin_of_a_session_never_changes",
        ),
    ])
    .await;
}

#[tokio::test]
#[should_panic(expected = "1 of 70 clauses of the store contract do not hold:

touch_compares_the_writer
  rule:     `touch` changes only the expected version: the writer must be the same.
  expected: Stale of `touch` that expects 3-0000000000000008 where 3-0000000000000007 is
  came:     Yes
")]
async fn a_breach_says_the_rule_and_what_was_expected_and_what_came() {
    conformance(async || BrokenStore::new(Bug::TouchIgnoresWriter)).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_or_panics_or_fails_breaks_the_clause_and_not_the_kit() {
    for (fault, came) in [
        (Fault::Hang, "none"),
        (Fault::Panic, "the panic `as planned`"),
        (
            Fault::Fail(StoreErrorKind::Unavailable),
            "the error Unavailable: the session store is unavailable: as planned",
        ),
    ] {
        let broken = async || {
            let store = FaultyStore::in_memory();
            store.plan_for(StoreCall::Touch, fault);
            store
        };
        let kit = Conformance::new(broken).only("touch_compares");
        let breaches = kit.breaches().await;
        let came_each: Vec<&str> = breaches.iter().map(|breach| &*breach.came).collect();
        assert_eq!(came_each, [came, came], "{fault:?}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_list_keeps_the_contract_without() {
    let unlisted = async || {
        let store = FaultyStore::in_memory();
        store.plan(|call| match call {
            StoreCall::List | StoreCall::Count => Fault::Fail(StoreErrorKind::Unsupported),
            _ => Fault::None,
        });
        store
    };
    conformance(unlisted).await;
}

#[tokio::test]
#[should_panic(expected = "no clause has `touhc` in its name")]
async fn a_misspelt_clause_is_an_error() {
    let kit = Conformance::new(async || MemoryStore::default());
    kit.only("touhc").run().await;
}
