//! Log-ins that meet a move of the same session: a value is given once, nothing that ended comes
//! back, and a visitor who clicks twice keeps their cart.

use cloakroom::{Error, Session, SessionLayer};
use futures::future::join;
use http::StatusCode;

use crate::support::{
    Fault, FaultyStore, FixedClock, Reply, StoreCall, Visitor,
    acts::{
        claim, cycle, destroy, healthy_node, holding, id, insert, layer_over, live, log_in, on,
        seen, stores, until_undone,
    },
    fixture::{MINUTE, SECOND},
};

/// A log-in whose request has loaded the session before `act` happens elsewhere.
async fn log_in_after(visitor: &Visitor, user: &'static str, act: impl AsyncFnOnce()) -> Reply {
    let reply = visitor.visit(async |session: Session| {
        session.get::<u64>("n")?;
        act().await;
        session.log_in(user)
    });
    reply.await
}

/// Each kind of store, with a visitor whose session has a voucher, and their second tab.
async fn tabs() -> Vec<(&'static str, SessionLayer, Visitor, Visitor)> {
    let mut tabs = Vec::new();
    for (name, store) in stores() {
        let layer = layer_over(&store, &FixedClock::default());
        let first = holding(&layer, [("n", 1), ("voucher", 7)]).await;
        let second = first.twin();
        tabs.push((name, layer, first, second));
    }
    tabs
}

/// How many of these get the voucher.
async fn given<const N: usize>(visitors: [&Visitor; N]) -> usize {
    let mut given = 0;
    for visitor in visitors {
        given += usize::from(claim(visitor, "voucher").await.is_some());
    }
    given
}

#[tokio::test]
async fn m8_of_two_log_ins_at_once_one_session_is_given_the_voucher() {
    for users in [["ann", "ann"], ["ann", "bob"]] {
        for (name, _, first, second) in tabs().await {
            let reply = log_in_after(&first, users[0], async || {
                assert_eq!(log_in(&second, users[1]).await.status, StatusCode::OK);
            });
            assert_eq!(reply.await.status, StatusCode::OK);
            for (visitor, user) in [(&first, users[0]), (&second, users[1])] {
                assert!(seen(visitor).await.starts_with(user), "{name} {users:?}");
            }
            assert_eq!(given([&first, &second]).await, 1, "{name} {users:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m8_of_two_log_ins_that_meet_at_the_store_one_session_is_given_the_voucher() {
    for users in [["ann", "ann"], ["ann", "bob"]] {
        for slow in [StoreCall::Create, StoreCall::Update] {
            let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
            let layer = SessionLayer::new(store.clone())
                .clock(clock.clone())
                .reap_every(None);
            let first = holding(&layer, [("n", 1), ("voucher", 7)]).await;
            let second = on(&healthy_node(&store, &clock), &first);
            store.plan_nth(slow, 1, Fault::Delay(SECOND));
            let later = async {
                tokio::time::sleep(SECOND / 2).await;
                log_in(&second, users[1]).await
            };
            let (one, two) = join(log_in(&first, users[0]), later).await;
            assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK));
            store.heal();
            until_undone().await;
            assert_eq!(given([&first, &second]).await, 1, "{slow:?} {users:?}");
        }
    }
}

#[tokio::test]
async fn m8_a_slow_log_in_is_not_given_what_was_claimed_after_a_move() {
    type Act = fn(&Session) -> Result<(), Error>;
    let moves: [(&str, Act); 3] = [
        ("cycle", |session| session.cycle_id()),
        ("the same user", |session| session.log_in("ann")),
        ("another user", |session| session.log_in("bob")),
    ];
    for (how, act) in moves {
        for (name, _, first, second) in tabs().await {
            let mut early = 0;
            log_in_after(&first, "ann", async || {
                let moved = second.visit(async |session: Session| act(&session));
                assert_eq!(moved.await.status, StatusCode::OK);
                early = given([&second]).await;
            })
            .await;
            let late = given([&first, &second]).await;
            assert_eq!((early, late), (1, 0), "{name} {how}");
        }
    }
}

#[tokio::test]
async fn m8_a_slow_log_in_does_not_bring_back_what_was_destroyed_after_a_move() {
    for (name, _, first, second) in tabs().await {
        let reply = log_in_after(&first, "ann", async || {
            assert_eq!(cycle(&second).await.status, StatusCode::OK);
            assert_eq!(destroy(&second).await.status, StatusCode::OK);
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        assert_eq!(seen(&first).await, "ann{}", "{name}");
    }
}

#[tokio::test]
async fn m8_a_slow_log_in_does_not_bring_back_what_was_revoked_after_a_move() {
    for (name, layer, first, second) in tabs().await {
        let sessions = layer.sessions();
        let reply = log_in_after(&first, "ann", async || {
            assert_eq!(cycle(&second).await.status, StatusCode::OK);
            assert!(sessions.revoke(id(&second)).await.unwrap());
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        assert_eq!(seen(&first).await, "ann{}", "{name}");
    }
}

#[tokio::test]
async fn m7_a_log_in_that_is_clicked_twice_keeps_the_cart_whichever_answer_the_browser_keeps() {
    for (name, layer, first, second) in tabs().await {
        let reply = first.visit(async |session: Session| {
            session.get::<u64>("n")?;
            assert_eq!(log_in(&second, "ann").await.status, StatusCode::OK);
            session.log_in("ann")?;
            session.insert("mine", 3)
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        let both = r#"ann{"mine": 3, "n": 1, "voucher": 7}"#;
        assert_eq!(seen(&first).await, both, "{name}");
        assert_eq!(seen(&second).await, both, "{name}");
        assert_ne!(first.cookie(), second.cookie());
        // One session, and what either tab does the other one sees.
        assert_eq!(live(&layer.sessions(), Some("ann")).await.len(), 1);
        insert(&second, "n", 2).await;
        assert_eq!(
            seen(&first).await,
            r#"ann{"mine": 3, "n": 2, "voucher": 7}"#
        );
    }
}

#[tokio::test]
async fn m7_a_late_request_that_logs_in_as_the_same_user_has_the_cart() {
    for (name, layer, first, second) in tabs().await {
        assert_eq!(log_in(&second, "ann").await.status, StatusCode::OK);
        // With the token that the first log-in has left.
        assert_eq!(log_in(&first, "ann").await.status, StatusCode::OK);
        for visitor in [&first, &second] {
            let cart = r#"ann{"n": 1, "voucher": 7}"#;
            assert_eq!(seen(visitor).await, cart, "{name}");
        }
        assert_eq!(live(&layer.sessions(), Some("ann")).await.len(), 1);
    }
}

#[tokio::test]
async fn m8_a_late_request_that_logs_in_as_another_user_has_no_data() {
    for (name, _, first, second) in tabs().await {
        assert_eq!(log_in(&second, "ann").await.status, StatusCode::OK);
        assert_eq!(log_in(&first, "bob").await.status, StatusCode::OK);
        assert_eq!(seen(&first).await, "bob{}", "{name}");
        assert_eq!(seen(&second).await, r#"ann{"n": 1, "voucher": 7}"#);
    }
}

#[tokio::test]
async fn m8_a_log_in_does_not_join_a_session_that_was_written_since() {
    for loads_before in [true, false] {
        for (name, _, first, second) in tabs().await {
            let go_on = async || {
                assert_eq!(log_in(&second, "ann").await.status, StatusCode::OK);
                // As a second factor does.
                insert(&second, "verified", 1).await;
            };
            if loads_before {
                log_in_after(&first, "ann", go_on).await;
            } else {
                go_on().await;
                log_in(&first, "ann").await;
            }
            assert_eq!(seen(&first).await, "ann{}", "{name}");
            let kept = r#"ann{"n": 1, "verified": 1, "voucher": 7}"#;
            assert_eq!(seen(&second).await, kept, "{name}");
        }
    }
}

#[tokio::test]
async fn r1_neither_token_of_a_joined_session_ends_it_as_copied() {
    for (name, store) in stores() {
        let clock = FixedClock::default();
        let layer = layer_over(&store, &clock).renew_every(10 * MINUTE);
        let first = holding(&layer, [("n", 1)]).await;
        let second = first.twin();
        log_in_after(&first, "ann", async || {
            log_in(&second, "ann").await;
        })
        .await;
        for _ in 0..5 {
            clock.advance(SECOND);
            for visitor in [&first, &second] {
                assert_eq!(seen(visitor).await, r#"ann{"n": 1}"#, "{name}");
            }
        }
    }
}

/// A request that logs in, changes the voucher and claims it: what it was given, or that it was
/// told of a failure.
async fn claim_while_logging_in(visitor: &Visitor, fails_on_nothing: bool) -> Result<usize, ()> {
    let mut given = 0;
    let reply = visitor.visit(async |session: Session| {
        session.log_in("ann")?;
        let keep = move |voucher: Option<u64>| match voucher {
            None if fails_on_nothing => Err(()),
            kept => Ok(kept.map(|n| n + 1)),
        };
        if session.try_update("voucher", keep)?.is_ok() {
            let voucher: Option<u64> = session.claim("voucher").await?;
            given = usize::from(voucher.is_some());
        }
        Ok::<_, Error>(())
    });
    let is_answered = reply.await.status == StatusCode::OK;
    if is_answered || given > 0 {
        Ok(given)
    } else {
        Err(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_voucher_that_is_changed_and_claimed_by_two_log_ins_is_given_once() {
    for fails_on_nothing in [false, true] {
        for seed in 0..40_u64 {
            let store = FaultyStore::in_memory();
            let layer = SessionLayer::new(store.clone())
                .clock(FixedClock::default())
                .reap_every(None);
            let first = holding(&layer, [("n", 1), ("voucher", 7)]).await;
            let second = first.twin();
            let mut state = seed;
            store.plan(move |_| {
                state = (state * 1_103_515_245 + 12_345) % (1 << 31);
                Fault::Delay(SECOND * ((state >> 16) % 10) as u32 / 100)
            });
            let (one, two) = join(
                claim_while_logging_in(&first, fails_on_nothing),
                claim_while_logging_in(&second, fails_on_nothing),
            )
            .await;
            store.heal();
            until_undone().await;
            let early = one.unwrap_or(0) + two.unwrap_or(0);
            let late = given([&first, &second]).await;
            assert!(
                early + late <= 1,
                "{seed} {fails_on_nothing} {early} {late}"
            );
        }
    }
}

#[tokio::test]
async fn a_voucher_that_a_log_in_changed_and_claimed_is_not_in_the_new_session() {
    for fails_on_nothing in [false, true] {
        for (name, _, first, second) in tabs().await {
            let early = claim_while_logging_in(&first, fails_on_nothing).await;
            let late = given([&first, &second]).await;
            let all = early.unwrap_or(0) + late;
            let is_told = early.is_err();
            assert!(
                all == 1 || (all == 0 && is_told),
                "{name} {fails_on_nothing} {early:?} {late}"
            );
        }
    }
}

#[tokio::test]
async fn m7_a_log_in_after_a_call_that_found_the_session_moved_joins_a_faster_one() {
    for call in ["save", "touch", "claim", "reload"] {
        for (name, _, first, second) in tabs().await {
            let reply = first.visit(async |session: Session| {
                assert_eq!(log_in(&second, "ann").await.status, StatusCode::OK);
                session.insert("late", 1)?;
                let done = match call {
                    "save" => session.save().await,
                    "touch" => session.touch().await,
                    "claim" => session.claim::<u64>("voucher").await.map(drop),
                    _ => session.reload().await,
                };
                assert!(done.is_err() || call == "claim", "{name} {call}");
                session.log_in("ann")
            });
            assert_eq!(reply.await.status, StatusCode::OK);
            assert_eq!(id(&first), id(&second), "{name} {call}");
            assert!(seen(&first).await.starts_with("ann"), "{name} {call}");
            assert_eq!(given([&first, &second]).await, 1, "{name} {call}");
        }
    }
}

#[tokio::test]
async fn m8_a_log_in_after_a_save_that_found_another_users_session_begins_empty() {
    for (name, _, first, second) in tabs().await {
        let reply = first.visit(async |session: Session| {
            assert_eq!(log_in(&second, "bob").await.status, StatusCode::OK);
            session.insert("late", 1)?;
            assert!(session.save().await.is_err(), "{name}");
            session.log_in("ann")
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        assert_eq!(seen(&first).await, "ann{}", "{name}");
    }
}

#[tokio::test]
async fn p1_a_log_out_after_a_save_that_found_a_cycle_follows_it() {
    for (name, layer, first, second) in tabs().await {
        let reply = first.visit(async |session: Session| {
            assert_eq!(cycle(&second).await.status, StatusCode::OK);
            session.insert("late", 1)?;
            assert!(session.save().await.is_err(), "{name}");
            session.destroy();
            Ok::<_, Error>(())
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        assert_eq!(seen(&second).await, "none", "{name}");
        assert_eq!(live(&layer.sessions(), None).await, [], "{name}");
    }
}
