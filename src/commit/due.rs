//! Whether a request has something to write besides its changes: activity, or a new secret.

use crate::{
    config::Config,
    record::renewal,
    state::{State, Usage, shared::Shared},
};

/// Whether this request has to write the session's activity (rule L2).
pub(crate) fn is_touch_due(state: &State, config: &Config) -> bool {
    match (&state.stored, state.loaded_at) {
        (Some(stored), Some(loaded_at)) if state.usage == Usage::Loaded => config
            .lifetimes
            .is_touch_due(&stored.record, stored.activity, loaded_at),
        _ => false,
    }
}

/// Whether the secret must be renewed, at the time of the load.
pub(crate) fn is_renewal_due(state: &State, shared: &Shared) -> bool {
    let config = &shared.config;
    match (&state.stored, state.loaded_at) {
        (Some(stored), Some(loaded_at))
            if state.usage == Usage::Loaded && !state.is_token_fresh =>
        {
            let (record, secret) = (&stored.record, &stored.token.secret);
            renewal::step(record, secret, config.renew_every, loaded_at).is_some()
                && config.uses_transport(record, shared.transport(state))
        }
        _ => false,
    }
}
