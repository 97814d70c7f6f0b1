//! What a handler's `set_expiry` means for the session: [`Expiry`].

use std::time::{Duration, SystemTime};

use cloakroom::{Session, Timeout};

/// tower-sessions' `Expiry`, of either version.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiry {
    OnSessionEnd,
    OnInactivity(Duration),
    AtDateTime(SystemTime),
}

/// How long tower-sessions keeps a session whose cookie ends with the browser.
const ON_SESSION_END: Duration = Duration::from_secs(14 * 24 * 60 * 60);

impl Expiry {
    /// Gives the session timeouts of its own. tower-sessions knows no absolute timeout.
    pub(crate) fn apply(self, session: &Session, now: SystemTime) {
        match self {
            Self::OnSessionEnd => {
                session.set_persistent(false);
                session.set_idle_timeout(Timeout::After(ON_SESSION_END));
                session.set_absolute_timeout(Timeout::Never);
            }
            Self::OnInactivity(duration) => {
                session.set_persistent(true);
                session.set_idle_timeout(Timeout::After(duration));
                session.set_absolute_timeout(Timeout::Never);
            }
            Self::AtDateTime(at) => match at.duration_since(now) {
                Ok(remaining) => session.remember_for(remaining),
                Err(_) => session.destroy(),
            },
        }
    }
}
