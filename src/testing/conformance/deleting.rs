//! `delete`.

use super::{
    breach::{Outcome, expect},
    draft::Draft,
    times::{just_expired, live, until},
    trial::Trial,
};
use crate::store::SessionStore;

pub(super) async fn delete_ends_what_is_there_once<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for activity in [live(), until(None), just_expired()] {
        let session = trial.session(Draft::first(), activity).await?;
        let neighbour = trial.session(Draft::first(), live()).await?;
        expect(
            "`delete` of what is there",
            true,
            trial.delete(session.id).await?,
        )?;
        trial.keeps_nothing(session.id, "after `delete`").await?;
        expect("a second `delete`", false, trial.delete(session.id).await?)?;
        trial.keeps(&neighbour, "after another was deleted").await?;
    }
    Ok(())
}

pub(super) async fn delete_of_nothing_is_false<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let deleted = trial.delete(trial.new_id()).await?;
    expect("`delete` of an id never created", false, deleted)
}
