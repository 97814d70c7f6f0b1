//! `ping`, and what a store says of its cache.

use super::{
    breach::{Outcome, Unmet, require},
    draft::Draft,
    times::live,
    trial::Trial,
};
use crate::store::{SessionStore, Updated};

pub(super) async fn ping_answers<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    // A store may not offer it.
    trial.ping().await.map(drop)
}

pub(super) async fn a_store_without_a_cache_loads_what_others_wrote<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let session = trial.session(Draft::first(), live()).await?;
    let (there, here) = (&trial.store, &trial.other);
    if here.is_cached() {
        return Ok(());
    }
    let failed = |call| move |error| Unmet::failed(call, &error);
    let seen = here.load_latest(session.id).await;
    if seen.map_err(failed("load_latest"))?.is_none() {
        // Another store, which shares nothing with the first.
        return Ok(());
    }
    // A cache would keep this.
    here.load(session.id).await.map_err(failed("load"))?;
    let next = session.next();
    let update = there.update(next.id, &next.record, next.activity, session.former());
    let updated = update.await.map_err(failed("update"))?;
    require(
        updated == Updated::Saved,
        "Saved of `update`",
        format!("{updated:?}"),
    )?;
    let loaded = here.load(session.id).await.map_err(failed("load"))?;
    next.is_kept(
        loaded,
        "by `load` of another handle, whose `is_cached` is false, after `update`",
    )?;
    there.delete(session.id).await.map_err(failed("delete"))?;
    let loaded = here.load(session.id).await.map_err(failed("load"))?;
    require(
        loaded.is_none(),
        "nothing of `load` of another handle, whose `is_cached` is false, after `delete`",
        "a record",
    )
}
