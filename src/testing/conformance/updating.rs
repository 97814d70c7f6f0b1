//! `update`.

use super::{
    breach::{Outcome, expect},
    draft::Draft,
    times::{just_expired, later, live, until},
    trial::Trial,
};
use crate::{
    clock::Timestamp,
    record::{Activity, version::Version},
    store::{Former, SessionStore, Updated},
};

pub(super) async fn update_replaces_the_expected_version<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let mut session = trial.session(Draft::first(), live()).await?;
    for _ in 0..3 {
        let next = session.next();
        let updated = trial
            .update(next.id, &next.record, next.activity, session.former())
            .await?;
        expect(
            "`update` of the version that is there",
            Updated::Saved,
            updated,
        )?;
        trial.keeps(&next, "after `update`").await?;
        session = next;
    }
    Ok(())
}

/// That an update that expects `other` leaves `session` alone.
async fn refuses<S: SessionStore>(trial: &Trial<S>, kept: Version, other: Version) -> Outcome {
    let session = trial
        .session(Draft::first().with_version(kept), live())
        .await?;
    let next = session.next();
    let expected = session.as_of(other);
    let updated = trial
        .update(next.id, &next.record, next.activity, expected.former())
        .await?;
    let call = format!("`update` that expects {other} where {kept} is");
    expect(&call, Updated::Conflict, updated)?;
    trial
        .keeps(&session, "after an `update` that conflicts")
        .await
}

pub(super) async fn update_compares_the_writer<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for (kept, other) in other_writers() {
        refuses(trial, kept, other).await?;
    }
    Ok(())
}

pub(super) async fn update_compares_the_counter<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for (kept, other) in other_counters() {
        refuses(trial, kept, other).await?;
    }
    Ok(())
}

/// Pairs that differ in their writer alone, and that signed or floating numbers would confuse.
pub(super) fn other_writers() -> Vec<(Version, Version)> {
    let pair = |kept, other| {
        let version = |writer| Version { counter: 3, writer };
        (version(kept), version(other))
    };
    vec![
        pair(7, 8),
        pair(0, u64::MAX),
        pair(u64::MAX, u64::MAX - 1),
        pair(1 << 63, (1 << 63) + 1),
        pair(1, 1 << 32 | 1),
    ]
}

/// Pairs that differ in their counter alone.
pub(super) fn other_counters() -> Vec<(Version, Version)> {
    let pair = |kept, other| {
        let version = |counter| Version { counter, writer: 7 };
        (version(kept), version(other))
    };
    vec![
        pair(2, 1),
        pair(2, 3),
        pair(1 << 53, (1 << 53) + 1),
        pair(u64::MAX, u64::MAX - 1),
        pair(1 << 63, 0),
    ]
}

pub(super) async fn versions_of_any_size_are_kept<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let pairs = other_writers().into_iter().chain(other_counters());
    for version in pairs.map(|(kept, _)| kept) {
        let draft = Draft::first().with_version(version);
        let session = trial.session(draft, live()).await?;
        trial.keeps(&session, "after `create`").await?;
        let mut next = session.next();
        // The counter stops at its end; the writer makes the difference.
        next.draft.version = version.next(!version.writer);
        next.record = next.draft.record();
        let updated = trial
            .update(next.id, &next.record, next.activity, session.former())
            .await?;
        expect(&format!("`update` of {version}"), Updated::Saved, updated)?;
        trial.keeps(&next, "after `update`").await?;
    }
    Ok(())
}

pub(super) async fn update_never_inserts<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let never = Draft::first();
    let id = trial.new_id();
    let updated = trial
        .update(
            id,
            &never.next().record(),
            live(),
            Former::new(&never.record(), live()),
        )
        .await?;
    expect(
        "`update` under an id never created",
        Updated::Missing,
        updated,
    )?;
    trial
        .keeps_nothing(id, "after an `update` of nothing")
        .await?;

    let session = trial.session(Draft::first(), live()).await?;
    let deleted = trial.delete(session.id).await?;
    expect("`delete` of what is there", true, deleted)?;
    let next = session.next();
    let updated = trial
        .update(next.id, &next.record, next.activity, session.former())
        .await?;
    expect("`update` after `delete`", Updated::Missing, updated)?;
    trial
        .keeps_nothing(next.id, "after an `update` of what was deleted")
        .await
}

pub(super) async fn update_acts_after_the_deadline<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let session = trial.session(Draft::first(), just_expired()).await?;
    let next = session.next().with_activity(live());
    let updated = trial
        .update(next.id, &next.record, next.activity, session.former())
        .await?;
    expect(
        "`update` a second after the deadline",
        Updated::Saved,
        updated,
    )?;
    trial
        .keeps(&next, "after an `update` past the deadline")
        .await
}

pub(super) async fn update_sets_the_activity_back_too<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let soon = live();
    let late = later(later(soon));
    let back = |activity: Activity, expires_at: Option<Timestamp>| Activity {
        expires_at,
        ..activity
    };
    for (from, to) in [
        (late, soon),
        (back(late, None), soon),
        (soon, back(soon, None)),
    ] {
        let session = trial.session(Draft::first(), from).await?;
        let next = session.next().with_activity(to);
        let updated = trial
            .update(next.id, &next.record, to, session.former())
            .await?;
        expect("`update`", Updated::Saved, updated)?;
        trial
            .keeps(&next, "after an `update` to another activity")
            .await?;
    }
    let forever = trial.session(Draft::first(), until(None)).await?;
    trial.keeps(&forever, "where there is no deadline").await
}
