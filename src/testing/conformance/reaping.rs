//! `delete_expired`.
//!
//! Deadlines here are years ago, so that nothing else in a shared store is hit.

use std::time::Duration;

use super::{
    breach::{Outcome, Unmet, expect, require},
    draft::Draft,
    times::{live, now, until},
    trial::{Made, Trial},
};
use crate::{
    clock::Timestamp,
    record::Activity,
    store::{SessionStore, Updated},
};

/// Ten years ago.
pub(super) fn long_ago() -> Timestamp {
    now().saturating_sub(Duration::from_secs(10 * 365 * 24 * 60 * 60))
}

/// Seen and ended at this moment.
pub(super) fn ended(at: Timestamp) -> Activity {
    Activity {
        last_seen_at: at,
        expires_at: Some(at),
    }
}

fn after(at: Timestamp, millis: u64) -> Timestamp {
    at.saturating_add(Duration::from_millis(millis))
}

/// How many calls in a row may remove nothing and yet say that there is more.
const PATIENCE: usize = 20;

/// Calls until there is no more.
pub(super) async fn reap<S: SessionStore>(trial: &Trial<S>, before: Timestamp) -> Outcome {
    let mut in_vain = 0;
    while in_vain < PATIENCE {
        let reaped = trial.delete_expired(before, 1_000).await?;
        if !reaped.more {
            return Ok(());
        }
        in_vain = if reaped.removed == 0 { in_vain + 1 } else { 0 };
    }
    Err(Unmet::new(
        "`more: false` once nothing is left",
        format!("`more: true` with nothing removed, {PATIENCE} times in a row"),
    ))
}

/// Those that are still there.
async fn left<S: SessionStore>(trial: &Trial<S>, sessions: &[Made]) -> Outcome<usize> {
    let mut left = 0;
    for session in sessions {
        left += usize::from(trial.load_latest(session.id).await?.is_some());
    }
    Ok(left)
}

pub(super) async fn delete_expired_goes_by_bounded_batches<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    const LIMIT: usize = 7;
    let deadline = long_ago();
    reap(trial, deadline).await?;
    let mut sessions = Vec::new();
    for _ in 0..3 * LIMIT + 2 {
        sessions.push(trial.session(Draft::first(), ended(deadline)).await?);
    }
    let mut there = left(trial, &sessions).await?;
    let mut in_vain = 0;
    loop {
        let reaped = trial.delete_expired(deadline, LIMIT).await?;
        let left = left(trial, &sessions).await?;
        let gone = there - left;
        there = left;
        let came = format!("{gone} gone, and {} said to be", reaped.removed);
        require(
            gone <= LIMIT && reaped.removed <= LIMIT,
            &format!("at most {LIMIT} removed by `delete_expired` with that limit"),
            &came,
        )?;
        require(
            gone <= reaped.removed,
            "all that went counted in `removed`",
            &came,
        )?;
        if !reaped.more {
            break;
        }
        in_vain = if reaped.removed == 0 { in_vain + 1 } else { 0 };
        let came = format!("`more: true`, and nothing removed {PATIENCE} times in a row");
        require(
            in_vain < PATIENCE,
            "`more: false` once nothing is left",
            came,
        )?;
    }
    let came = format!("{there} of {} are left", sessions.len());
    require(
        there == 0,
        "nothing expired left where `more` is false",
        came,
    )
}

pub(super) async fn delete_expired_takes_the_deadline_itself<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let deadline = long_ago();
    let earlier = trial.session(Draft::first(), ended(deadline)).await?;
    let same = trial
        .session(Draft::first(), ended(after(deadline, 1)))
        .await?;
    reap(trial, after(deadline, 1)).await?;
    trial
        .keeps_nothing(earlier.id, "a millisecond after its deadline")
        .await?;
    trial.keeps_nothing(same.id, "at its deadline").await
}

pub(super) async fn delete_expired_leaves_later_deadlines<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let deadline = long_ago();
    let alive = trial.session(Draft::first(), live()).await?;
    let next = trial
        .session(Draft::first(), ended(after(deadline, 1)))
        .await?;
    // A store with a clock of its own may have deleted it already.
    let is_there = trial.load_latest(next.id).await?.is_some();
    reap(trial, deadline).await?;
    if is_there {
        trial
            .keeps(&next, "a millisecond before its deadline")
            .await?;
    }
    trial.keeps(&alive, "an hour before its deadline").await?;
    reap(trial, now().saturating_sub(Duration::from_secs(5 * 60))).await?;
    trial.keeps(&alive, "an hour before its deadline").await
}

pub(super) async fn delete_expired_leaves_never<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let born = trial.session(Draft::first(), until(None)).await?;
    let mortal = trial.session(Draft::first(), live()).await?;
    let became = mortal.next().with_activity(until(None));
    let updated = trial
        .update(became.id, &became.record, became.activity, mortal.former())
        .await?;
    expect("`update`", Updated::Saved, updated)?;
    reap(trial, now().saturating_sub(Duration::from_secs(5 * 60))).await?;
    trial.keeps(&born, "without a deadline").await?;
    trial
        .keeps(&became, "without a deadline since an update")
        .await
}

pub(super) async fn delete_expired_goes_by_the_deadline_of_now<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let deadline = long_ago();
    let shortened = trial.session(Draft::first(), live()).await?;
    // A store with a clock of its own may have deleted them already, sometimes or always.
    for _ in 0..10 {
        let touched = trial.session(Draft::first(), ended(deadline)).await?;
        let renewed = trial.session(Draft::first(), ended(deadline)).await?;
        if trial.load_latest(touched.id).await?.is_some()
            && trial.load_latest(renewed.id).await?.is_some()
        {
            let activity = live();
            trial.touch(touched.id, touched.former(), activity).await?;
            let touched = touched.with_activity(activity);
            let next = renewed.next().with_activity(until(None));
            trial
                .update(next.id, &next.record, next.activity, renewed.former())
                .await?;
            reap(trial, deadline).await?;
            trial
                .keeps(&touched, "touched past its old deadline")
                .await?;
            trial.keeps(&next, "updated past its old deadline").await?;
            break;
        }
    }
    let next = shortened.next().with_activity(ended(deadline));
    trial
        .update(next.id, &next.record, next.activity, shortened.former())
        .await?;
    reap(trial, deadline).await?;
    trial
        .keeps_nothing(next.id, "past a deadline that an update brought forward")
        .await
}
