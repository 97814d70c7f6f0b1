//! Many at once on one session.

use std::sync::Arc;

use serde_json::json;

use super::{
    breach::{Outcome, Unmet, expect, require},
    draft::Draft,
    times::{later, live},
    trial::{Made, Trial, race},
};
use crate::{
    error::store::StoreError,
    store::{Created, Former, SessionStore, Touched, Updated},
};

const RACERS: usize = 50;
const ROUNDS: usize = 4;

/// The racers whose reply is `winning`, if it is exactly one; and that none failed.
fn one_winner<T: PartialEq>(
    call: &str,
    replies: Vec<Result<T, StoreError>>,
    winning: &T,
) -> Outcome<usize> {
    let mut winners = Vec::new();
    for (racer, reply) in replies.into_iter().enumerate() {
        if reply.map_err(|error| Unmet::failed(call, &error))? == *winning {
            winners.push(racer);
        }
    }
    match winners[..] {
        [winner] => Ok(winner),
        _ => Err(Unmet::new(
            format!("one winner of {RACERS} racing to `{call}`"),
            format!("{} winners", winners.len()),
        )),
    }
}

pub(super) async fn of_50_creates_one_wins<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for _ in 0..ROUNDS {
        let id = trial.new_id();
        let drafts: Vec<Draft> = (0..RACERS).map(|_| Draft::first()).collect();
        let replies = race(drafts.iter().map(|draft| {
            let (store, record) = (Arc::clone(&trial.store), draft.record());
            async move { (record.version(), store.create(id, &record, live()).await) }
        }));
        let (versions, replies): (Vec<_>, Vec<_>) = replies.await.into_iter().unzip();
        let winner = one_winner("create", replies, &Created::Yes)?;
        let kept = trial
            .load_latest(id)
            .await?
            .map(|(record, _)| record.version());
        expect("`load_latest` after the race", Some(versions[winner]), kept)?;
    }
    Ok(())
}

pub(super) async fn of_50_updates_of_a_version_one_wins<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let mut session = trial.session(Draft::first(), live()).await?;
    for _ in 0..ROUNDS {
        let nexts = (0..RACERS).map(|_| session.next());
        let replies = race(nexts.map(|next| {
            let (store, session) = (Arc::clone(&trial.store), session.clone());
            async move {
                let (id, activity, former) = (next.id, next.activity, session.former());
                let reply = store.update(id, &next.record, activity, former).await;
                (next, reply)
            }
        }));
        let (mut nexts, replies): (Vec<_>, Vec<_>) = replies.await.into_iter().unzip();
        let winner = one_winner("update", replies, &Updated::Saved)?;
        session = nexts.swap_remove(winner);
        trial.keeps(&session, "after the race").await?;
    }
    Ok(())
}

pub(super) async fn of_50_deletes_one_is_true<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for _ in 0..ROUNDS {
        let session = trial.session(Draft::first(), live()).await?;
        let replies = race((0..RACERS).map(|_| {
            let (store, id) = (Arc::clone(&trial.store), session.id);
            async move { store.delete(id).await }
        }));
        one_winner("delete", replies.await, &true)?;
        trial.keeps_nothing(session.id, "after the race").await?;
    }
    Ok(())
}

/// Adds one to the session's number. Each conflict means that another task succeeded, so their number is bounded.
async fn add_one<S: SessionStore>(store: &S, session: &Made) -> Outcome {
    for _ in 0..10 * RACERS {
        let failed = |call| move |error| Unmet::failed(call, &error);
        let latest = store.load_latest(session.id).await;
        let Some((record, activity)) = latest.map_err(failed("load_latest"))? else {
            return Err(Unmet::new("a record under change", "nothing"));
        };
        let number = record.data().get("n").map(serde_json::from_slice::<u64>);
        let Some(Ok(number)) = number else {
            return Err(Unmet::new("a number in the data", "none"));
        };
        let mut draft = session.draft.next().with_data("n", json!(number + 1));
        draft.version.counter = record.version().counter + 1;
        let draft = draft.after(&record);
        let (next, former) = (draft.record(), Former::new(&record, activity));
        let updated = store.update(session.id, &next, activity, former).await;
        match updated.map_err(failed("update"))? {
            Updated::Saved => return Ok(()),
            Updated::Conflict => tokio::task::yield_now().await,
            Updated::Missing => return Err(Unmet::new("a record to update", "Missing")),
        }
    }
    Err(Unmet::new(
        "an `update` that expects what `load_latest` gave to be `Saved` in the end",
        format!("Conflict {} times", 10 * RACERS),
    ))
}

pub(super) async fn what_50_add_adds_up<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let draft = Draft::first().with_data("n", json!(0));
    let session = trial.session(draft, live()).await?;
    let added = race((0..RACERS).map(|_| {
        let (store, session) = (Arc::clone(&trial.store), session.clone());
        async move { add_one(&*store, &session).await }
    }));
    for added in added.await {
        added?;
    }
    let Some((record, _)) = trial.load_latest(session.id).await? else {
        return Err(Unmet::new("the session after 50 updates", "nothing"));
    };
    let number = record.data().get("n").map(String::from_utf8_lossy);
    expect("50 tasks that add one", Some("50".into()), number)?;
    expect("the counter after 50 updates", 51, record.version().counter)
}

pub(super) async fn touches_at_once_leave_the_latest<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let session = trial.session(Draft::first(), live()).await?;
    let mut activities = vec![session.activity];
    for _ in 0..RACERS {
        activities.push(later(activities[activities.len() - 1]));
    }
    let latest = activities[RACERS];
    let replies = race(activities.into_iter().skip(1).map(|activity| {
        let (store, session) = (Arc::clone(&trial.store), session.clone());
        async move { store.touch(session.id, session.former(), activity).await }
    }));
    for reply in replies.await {
        let touched = reply.map_err(|error| Unmet::failed("touch", &error))?;
        expect("one of 50 touches", Touched::Yes, touched)?;
    }
    trial
        .keeps(&session.with_activity(latest), "after 50 touches")
        .await
}

pub(super) async fn a_touch_never_undoes_an_update<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for _ in 0..ROUNDS {
        let session = trial.session(Draft::first(), live()).await?;
        let next = session.next().with_activity(later(later(session.activity)));
        let replies = race((0..RACERS).map(|racer| {
            let store = Arc::clone(&trial.store);
            let (session, next) = (session.clone(), next.clone());
            async move {
                if racer == RACERS / 2 {
                    let former = session.former();
                    let saved = store.update(next.id, &next.record, next.activity, former);
                    saved.await.map(|updated| updated == Updated::Saved)
                } else {
                    let seen = later(session.activity);
                    let touched = store.touch(session.id, session.former(), seen).await;
                    touched.map(|touched| touched != Touched::Missing)
                }
            }
        }));
        for reply in replies.await {
            let held = reply.map_err(|error| Unmet::failed("touch or update", &error))?;
            require(
                held,
                "touches and one update that all find the session",
                "one that does not",
            )?;
        }
        trial.keeps(&next, "after an update among touches").await?;
    }
    Ok(())
}

pub(super) async fn nothing_revives_what_is_deleted<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for _ in 0..ROUNDS {
        let session = trial.session(Draft::first(), live()).await?;
        let replies = race((0..RACERS).map(|racer| {
            let (store, next) = (Arc::clone(&trial.store), session.next());
            let session = session.clone();
            async move {
                match racer % 25 {
                    0 => store.delete(next.id).await.map(drop),
                    1..10 => store
                        .touch(next.id, session.former(), next.activity)
                        .await
                        .map(drop),
                    _ => {
                        let former = session.former();
                        let update = store.update(next.id, &next.record, next.activity, former);
                        update.await.map(drop)
                    }
                }
            }
        }));
        for reply in replies.await {
            reply.map_err(|error| Unmet::failed("delete, touch or update", &error))?;
        }
        trial
            .keeps_nothing(session.id, "after a delete among updates")
            .await?;
    }
    Ok(())
}
