//! `count`. The clauses are skipped if the store answers `Unsupported`.

use super::{
    breach::{Outcome, Unmet, expect},
    draft::Draft,
    times::{just_expired, later, live},
    trial::{Trial, of},
};
use crate::{
    clock::Timestamp,
    store::{Query, SessionStore},
};

pub(super) async fn count_goes_by_the_query<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let (ann, bob) = (trial.new_user("ann"), trial.new_user("bob"));
    let early = live();
    let mut first = Draft::of_user(&ann);
    first.created_at = early.last_seen_at;
    let mut second = Draft::of_user(&ann);
    second.created_at = later(early).last_seen_at;
    trial.session(first, early).await?;
    trial.session(second, later(early)).await?;
    trial.session(Draft::of_user(&bob), just_expired()).await?;
    let moment = later(early).last_seen_at;
    for (query, expected, which) in [
        (of(&ann), 2, "of a user"),
        (of(&bob), 1, "of a user whose session has just expired"),
        (of(&trial.new_user("carl")), 0, "of a user without sessions"),
        (
            of(&ann).with_last_seen_before(moment),
            1,
            "last seen before the second",
        ),
        (
            of(&ann).with_created_before(moment),
            1,
            "created before the second",
        ),
        (
            of(&ann)
                .with_created_before(moment)
                .with_last_seen_before(Timestamp::EPOCH),
            0,
            "by conditions of which one lets none through",
        ),
    ] {
        let Some(count) = trial.count(&query).await? else {
            return Ok(());
        };
        expect(&format!("`count` of the sessions {which}"), expected, count)?;
    }
    Ok(())
}

pub(super) async fn count_is_of_every_session<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let mut came = Vec::new();
    // Other tests may change a shared store, but not during each attempt.
    for _ in 0..5 {
        let Some(before) = trial.count(&Query::default()).await? else {
            return Ok(());
        };
        let first = trial.session(Draft::first(), live()).await?;
        trial.session(Draft::of_user("ann"), live()).await?;
        trial.session(Draft::first(), just_expired()).await?;
        let created = trial.count(&Query::default()).await?.unwrap_or_default();
        trial.delete(first.id).await?;
        let deleted = trial.count(&Query::default()).await?.unwrap_or_default();
        let change = (created.wrapping_sub(before), created.wrapping_sub(deleted));
        if change == (3, 1) {
            return Ok(());
        }
        came.push(change);
    }
    Err(Unmet::new(
        "a `count` that grows by 3 with 3 creates, and falls by 1 with a delete",
        format!("growing and falling by {came:?}"),
    ))
}

pub(super) async fn count_leaves_out_what_is_created_as_a_marker<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let ann = trial.new_user("ann");
    let made = trial.session(Draft::of_user(&ann), live()).await?;
    trial.session(Draft::of_user(&ann).moved(), live()).await?;
    let after = later(live()).last_seen_at;
    for (query, which) in [
        (of(&ann), "of a user"),
        (of(&ann).with_logged_in(true), "that are logged in"),
        (of(&ann).with_created_before(after), "created before now"),
        (
            of(&ann).with_last_seen_before(after),
            "last seen before now",
        ),
        (of(&ann).with_begun_before(after), "begun before now"),
        (
            of(&ann).with_begun_since(Timestamp::EPOCH),
            "begun at any time",
        ),
    ] {
        let Some(count) = trial.count(&query).await? else {
            continue;
        };
        expect(&format!("`count` of the sessions {which}"), 1, count)?;
    }
    let everything = Query::default;
    for (query, which) in [
        (everything(), "all"),
        (everything().with_logged_in(false), "without a user"),
        (
            everything().with_created_before(after),
            "created before now",
        ),
        (
            everything().with_last_seen_before(after),
            "last seen before now",
        ),
        (everything().with_begun_before(after), "begun before now"),
        (
            everything().with_begun_since(made.draft.created_at),
            "begun lately",
        ),
    ] {
        count_stays(trial, &query, which).await?;
    }
    Ok(())
}

/// Whether markers change the count of this query.
async fn count_stays<S: SessionStore>(trial: &Trial<S>, query: &Query, which: &str) -> Outcome {
    let mut came = Vec::new();
    // Other tests may change a shared store, but not during each attempt.
    for _ in 0..5 {
        let Some(before) = trial.count(query).await? else {
            return Ok(());
        };
        for activity in [live(), just_expired()] {
            trial.session(Draft::first().moved(), activity).await?;
        }
        let after = trial.count(query).await?.unwrap_or_default();
        if after == before {
            return Ok(());
        }
        came.push((before, after));
    }
    Err(Unmet::new(
        format!("a `count` of {which} that stays with creates of markers"),
        format!("going from one to the other of {came:?}"),
    ))
}
