//! `touch`.

use std::time::Duration;

use super::{
    breach::{Outcome, expect},
    draft::Draft,
    times::{just_expired, later, live, until},
    trial::Trial,
    updating::{other_counters, other_writers},
};
use crate::{
    clock::Timestamp,
    record::{Activity, version::Version},
    store::{Former, SessionStore, Touched},
};

/// That a touch of a session with activity `from` by `to` leaves it with `then`, and all else as it was.
async fn moves<S: SessionStore>(
    trial: &Trial<S>,
    from: Activity,
    to: Activity,
    then: Activity,
) -> Outcome {
    let session = trial.session(Draft::of_user("ann"), from).await?;
    let touched = trial.touch(session.id, session.former(), to).await?;
    let call = format!("`touch` from {from:?} to {to:?}");
    expect(&call, Touched::Yes, touched)?;
    let when = format!("after a {call}");
    trial.keeps(&session.with_activity(then), &when).await
}

fn earlier(at: Timestamp) -> Timestamp {
    at.saturating_sub(Duration::from_secs(30))
}

fn with_seen(activity: Activity, last_seen_at: Timestamp) -> Activity {
    Activity {
        last_seen_at,
        ..activity
    }
}

fn with_deadline(activity: Activity, expires_at: Option<Timestamp>) -> Activity {
    Activity {
        expires_at,
        ..activity
    }
}

pub(super) async fn touch_moves_activity_alone<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let now = live();
    let next = later(now);
    moves(trial, now, next, next).await?;
    let seen = with_seen(now, next.last_seen_at);
    moves(trial, now, seen, seen).await?;
    let forever = with_deadline(now, None);
    moves(trial, now, forever, forever).await?;
    moves(trial, now, now, now).await
}

pub(super) async fn touch_never_moves_last_seen_back<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let now = live();
    let before = with_seen(now, earlier(now.last_seen_at));
    moves(trial, now, before, now).await?;
    // The other time still moves forward.
    let deadline = later(now).expires_at;
    let mixed = with_deadline(before, deadline);
    moves(trial, now, mixed, with_deadline(now, deadline)).await
}

pub(super) async fn touch_never_moves_the_deadline_back<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let now = live();
    let before = with_deadline(now, now.expires_at.map(earlier));
    moves(trial, now, before, now).await?;
    let seen = later(now).last_seen_at;
    moves(trial, now, with_seen(before, seen), with_seen(now, seen)).await?;
    // `None` means never, which is later than any time.
    let forever = with_deadline(now, None);
    moves(trial, forever, now, forever).await?;
    moves(
        trial,
        forever,
        with_seen(now, seen),
        with_seen(forever, seen),
    )
    .await
}

/// That a touch that expects `other` leaves `kept` alone.
async fn refuses<S: SessionStore>(trial: &Trial<S>, kept: Version, other: Version) -> Outcome {
    let session = trial
        .session(Draft::first().with_version(kept), live())
        .await?;
    let touched = trial
        .touch(
            session.id,
            session.as_of(other).former(),
            later(session.activity),
        )
        .await?;
    let call = format!("`touch` that expects {other} where {kept} is");
    expect(&call, Touched::Stale, touched)?;
    trial.keeps(&session, "after a `touch` that is stale").await
}

pub(super) async fn touch_compares_the_writer<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for (kept, other) in other_writers() {
        refuses(trial, kept, other).await?;
    }
    Ok(())
}

pub(super) async fn touch_compares_the_counter<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for (kept, other) in other_counters() {
        refuses(trial, kept, other).await?;
    }
    Ok(())
}

pub(super) async fn touch_never_inserts<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let id = trial.new_id();
    let record = Draft::first().record();
    let former = Former::new(&record, live());
    let touched = trial.touch(id, former, live()).await?;
    expect(
        "`touch` under an id never created",
        Touched::Missing,
        touched,
    )?;
    trial
        .keeps_nothing(id, "after a `touch` of nothing")
        .await?;

    for activity in [live(), until(None)] {
        let session = trial.session(Draft::first(), activity).await?;
        let deleted = trial.delete(session.id).await?;
        expect("`delete` of what is there", true, deleted)?;
        let touched = trial
            .touch(session.id, session.former(), later(activity))
            .await?;
        expect("`touch` after `delete`", Touched::Missing, touched)?;
        trial
            .keeps_nothing(session.id, "after a `touch` of what was deleted")
            .await?;
    }
    Ok(())
}

pub(super) async fn touch_acts_after_the_deadline<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    // In this order, so that the touch is the later one.
    let expired = just_expired();
    let now = live();
    moves(trial, expired, now, now).await
}
