//! Decides what a commit has to do, by what the request did: [`Plan`]. No I/O.

use crate::{
    commit::{due::is_touch_due, work::Work},
    config::Config,
    record::data::Data,
    state::{Identity, State},
};

/// What a commit has to do.
pub(crate) enum Plan {
    Nothing,
    Touch,
    Create,
    /// Store this data.
    Update(Data),
    /// Renew the secret only.
    Renew,
    Move,
}

impl Plan {
    /// The decision table.
    pub(crate) fn of(work: &Work, state: &State, config: &Config) -> Self {
        let logs_in = matches!(work.identity, Identity::LogIn(_));
        let Some(stored) = &work.stored else {
            // A new session without values is not stored.
            let changes = work.changes.as_ref();
            let has_data = changes.is_some_and(|changes| changes.leave_values());
            return match (logs_in, has_data && !work.is_displaced) {
                (true, _) => Self::Move,
                (false, true) => Self::Create,
                (false, false) => Self::Nothing,
            };
        };
        if !matches!(work.identity, Identity::Same) {
            return Self::Move;
        }
        let changes = work.changes.as_deref();
        if let Some(data) = changes.and_then(|changes| changes.merged(&stored.record)) {
            return Self::Update(data);
        }
        if work.renews {
            Self::Renew
        } else if is_touch_due(state, config) {
            Self::Touch
        } else {
            Self::Nothing
        }
    }
}
