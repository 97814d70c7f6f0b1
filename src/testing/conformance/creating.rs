//! `create` and `load`.

use uuid::Uuid;

use super::{
    breach::{Outcome, expect, require},
    draft::Draft,
    times::{just_expired, live, until},
    trial::Trial,
};
use crate::store::{Created, SessionStore};

pub(super) async fn what_is_created_is_loaded<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for activity in [live(), until(None)] {
        let session = trial.session(Draft::first(), activity).await?;
        trial.keeps(&session, "after `create`").await?;
        session.is_kept(trial.load(session.id).await?, "by `load` after `create`")?;
    }
    Ok(())
}

pub(super) async fn an_unknown_id_loads_nothing<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let id = trial.new_id();
    trial.keeps_nothing(id, "under an id never created").await?;
    let loaded = trial.load(id).await?;
    require(
        loaded.is_none(),
        "nothing of `load` of an id never created",
        "a record",
    )
}

pub(super) async fn create_never_overwrites<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for activity in [live(), until(None), just_expired()] {
        let session = trial.session(Draft::first(), activity).await?;
        let other = Draft::first().record();
        let created = trial.create(session.id, &other, live()).await?;
        expect(
            "`create` under an id that is taken",
            Created::Exists,
            created,
        )?;
        trial.keeps(&session, "after a second `create`").await?;
    }
    Ok(())
}

pub(super) async fn ids_that_differ_in_one_bit_are_different<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let first = trial.session(Draft::first(), live()).await?;
    let bits = u128::from_be_bytes(*first.id.as_bytes());
    let mut others = Vec::new();
    for bit in 0..128 {
        let mut other = first.next();
        other.id = trial.note(Uuid::from_u128(bits ^ (1 << bit)));
        let created = trial
            .create(other.id, &other.record, other.activity)
            .await?;
        expect(
            &format!("`create` with bit {bit} flipped"),
            Created::Yes,
            created,
        )?;
        others.push(other);
    }
    let deleted = trial.delete(first.id).await?;
    expect("`delete` of the first", true, deleted)?;
    for other in others {
        trial.keeps(&other, "under an id of another bit").await?;
    }
    trial.keeps_nothing(first.id, "under the first id").await
}
