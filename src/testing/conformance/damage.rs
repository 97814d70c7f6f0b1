//! Records that do not decode; skipped unless [`Conformance::damage`](super::Conformance::damage) says how to make them.

use std::slice;

use super::{
    breach::{Outcome, Unmet},
    draft::Draft,
    reaping::{ended, long_ago, reap},
    times::{live, until},
    trial::{Made, Trial},
};
use crate::{
    error::store::StoreErrorKind,
    record::Activity,
    store::{Query, SessionStore},
};

/// Valid JSON, so that a column that must be JSON takes it.
const NO_RECORD: &str = r#"{"format":1,"damaged":true}"#;
const NEWER_RECORD: &str = r#"{"format":99,"from":"the future"}"#;

/// A session whose record is `bytes`. `None` if the test has not set how to damage a record.
async fn damaged<S: SessionStore>(
    trial: &Trial<S>,
    draft: Draft,
    activity: Activity,
    bytes: &str,
) -> Outcome<Option<Made>> {
    let session = trial.session(draft, activity).await?;
    let is_planted = trial.damage(session.id, bytes).await;
    Ok(is_planted.then_some(session))
}

/// That `load_latest` fails with this kind.
async fn fails<S: SessionStore>(
    trial: &Trial<S>,
    session: &Made,
    kind: StoreErrorKind,
    what: &str,
) -> Outcome {
    let came = match trial.store.load_latest(session.id).await {
        Err(error) if error.kind() == kind => return Ok(()),
        Err(error) => format!("the error {:?}", error.kind()),
        Ok(Some(_)) => "a record".to_owned(),
        Ok(None) => "nothing".to_owned(),
    };
    let expected = format!("the error {kind:?} of `load_latest` of {what}");
    Err(Unmet::new(expected, came))
}

pub(super) async fn what_is_no_record_is_corrupt<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let Some(session) = damaged(trial, Draft::first(), live(), NO_RECORD).await? else {
        return Ok(());
    };
    fails(
        trial,
        &session,
        StoreErrorKind::Corrupt,
        "what is no record",
    )
    .await?;
    trial.delete(session.id).await?;
    trial
        .keeps_nothing(session.id, "after a damaged record was deleted")
        .await
}

pub(super) async fn a_newer_record_is_incompatible_and_stays<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let Some(session) = damaged(trial, Draft::first(), live(), NEWER_RECORD).await? else {
        return Ok(());
    };
    for _ in 0..2 {
        let what = "a record of a newer format";
        fails(trial, &session, StoreErrorKind::Incompatible, what).await?;
    }
    Ok(())
}

pub(super) async fn delete_expired_survives_damage<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let deadline = long_ago();
    let alive = trial.session(Draft::first(), live()).await?;
    let mut expired = Vec::new();
    for bytes in [NO_RECORD, NEWER_RECORD, NO_RECORD] {
        expired.push(trial.session(Draft::first(), ended(deadline)).await?);
        // A record that has not expired by the store's own clock, if it has one, and a record that has.
        for activity in [until(None), ended(deadline)] {
            if damaged(trial, Draft::first(), activity, bytes)
                .await?
                .is_none()
            {
                return Ok(());
            }
        }
    }
    reap(trial, deadline).await?;
    for session in expired {
        trial
            .keeps_nothing(session.id, "past its deadline, beside damaged records")
            .await?;
    }
    trial.keeps(&alive, "beside damaged records").await
}

pub(super) async fn list_leaves_damage_out<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = format!("beside damage {}", trial.new_id());
    let alive = trial.session(Draft::of_user(&user), live()).await?;
    for bytes in [NO_RECORD, NEWER_RECORD] {
        let draft = Draft::of_user(&user);
        if damaged(trial, draft, live(), bytes).await?.is_none() {
            return Ok(());
        }
    }
    let query = Query::default().with_user(user);
    trial
        .lists(&query, slice::from_ref(&alive), "beside damaged records")
        .await
}
