//! Lost replies. The clauses are skipped unless
//! [`Conformance::lose_reply`](super::Conformance::lose_reply) says how to lose one.
//!
//! A store may fail with an error that does not say whether the call was applied, or send the call again and return the
//! result of the first attempt. It must not say that the call was not applied if it was.

use super::{
    breach::{Outcome, Unmet, require},
    draft::Draft,
    times::live,
    trial::Trial,
};
use crate::{
    error::store::StoreError,
    store::{Created, SessionStore, Touched, Updated},
};

/// Checks that the reply to `call`, which was applied, does not say that it was not applied.
fn admits<T>(call: &str, reply: Result<T, StoreError>, applied: impl Fn(&T) -> bool) -> Outcome {
    let expected = format!("`{call}`, applied with its reply lost, to succeed or to leave it open");
    match reply {
        Ok(reply) if applied(&reply) => Ok(()),
        Ok(_) => Err(Unmet::new(expected, "the reply to a second attempt")),
        Err(error) if error.is_not_applied() => {
            let came = format!("the error {:?}, said to be not applied", error.kind());
            Err(Unmet::new(expected, came))
        }
        Err(_) => Ok(()),
    }
}

pub(super) async fn a_create_without_a_reply_is_not_denied<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let (id, record) = (trial.new_id(), Draft::first().record());
    if !trial.lose_reply().await {
        return Ok(());
    }
    let created = trial.store.create(id, &record, live()).await;
    if trial.load_latest(id).await?.is_none() {
        return Ok(());
    }
    admits("create", created, |created| *created == Created::Yes)
}

pub(super) async fn an_update_without_a_reply_is_not_denied<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let session = trial.session(Draft::first(), live()).await?;
    let next = session.next();
    if !trial.lose_reply().await {
        return Ok(());
    }
    let former = session.former();
    let update = trial
        .store
        .update(next.id, &next.record, next.activity, former);
    let updated = update.await;
    let latest = trial.load_latest(session.id).await?;
    if latest.is_none_or(|(record, _)| record.version() != next.version()) {
        return Ok(());
    }
    admits("update", updated, |updated| *updated == Updated::Saved)
}

pub(super) async fn a_touch_without_a_reply_is_not_denied<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let session = trial.session(Draft::first(), live()).await?;
    let later = session.next().activity;
    if !trial.lose_reply().await {
        return Ok(());
    }
    let touched = trial.store.touch(session.id, session.former(), later).await;
    let latest = trial.load_latest(session.id).await?;
    if latest.is_none_or(|(_, activity)| activity != later) {
        return Ok(());
    }
    admits("touch", touched, |touched| *touched == Touched::Yes)
}

pub(super) async fn a_delete_without_a_reply_is_not_denied<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let session = trial.session(Draft::first(), live()).await?;
    if !trial.lose_reply().await {
        return Ok(());
    }
    let deleted = trial.store.delete(session.id).await;
    if trial.load_latest(session.id).await?.is_some() {
        return Ok(());
    }
    admits("delete", deleted, |deleted| *deleted)
}

pub(super) async fn a_store_goes_on_after_a_lost_reply<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let session = trial.session(Draft::first(), live()).await?;
    if !trial.lose_reply().await {
        return Ok(());
    }
    // One of these loses its reply, or the connection with it.
    let _ = trial.store.delete(session.id).await;
    let mut came = String::new();
    for _ in 0..10 {
        match trial.store.load_latest(session.id).await {
            Ok(_) => return Ok(()),
            Err(error) => came = format!("the error {:?}, ten times", error.kind()),
        }
    }
    require(false, "an answer after a lost reply", came)
}
