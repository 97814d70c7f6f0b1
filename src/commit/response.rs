//! Decides after a commit whether the response issues, refreshes or removes the cookie: [`ResponseHead`].
//!
//! A cookie is refreshed for a new Max-Age after a touch, or if its token came with a former key. A cookie under a former
//! name is no such case: its session gets a new id when it is used (`State::use_for`).

use tracing::debug;

use crate::{
    clock::{Clock as _, Timestamp},
    config::Config,
    cookie::Transport,
    error::Error,
    record::token::Token,
    state::{Generations, Identity, State, Stored, Usage, change_seq::ChangeSeq, shared::Shared},
};

/// The effect of the session on the response's headers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) cookie: Cookie,
    /// Whether the request loaded the session or peeked at it.
    pub(crate) is_used: bool,
    /// Whether the visitor has a stored session, or had one at the time of the load.
    pub(crate) is_personal: bool,
    /// Whether a user has logged in, or was logged in when the request loaded the session.
    pub(crate) has_user: bool,
    /// Whether the visitor logged out.
    pub(crate) is_left: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Cookie {
    #[default]
    None,
    /// Set the cookie, with this Max-Age in seconds.
    Issue(Token, Option<u64>),
    Remove,
}

/// Why the visitor gets an empty 503 instead of the response.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Removed if the visitor logged out (rule F2). Issued if it is unknown whether a log-in or a cycle was applied,
    /// because the new token works in either case.
    pub(crate) cookie: Cookie,
    /// Whether the visitor logged out.
    pub(crate) is_left: bool,
}

/// The result of a plan.
pub(crate) enum Committed {
    Nothing,
    Touched(Stored),
    Saved(Stored),
    /// With a new secret, which no visitor has yet, and perhaps with changes.
    Renewed(Stored),
    /// Stored under a new id.
    Begun(Stored),
    Ended,
    /// Its deadline passed while the request was running, and it was deleted.
    Expired,
}

impl State {
    /// Updates the state with the result of a commit, and returns the effect on the response's headers.
    pub(crate) fn apply_at_head(
        &mut self,
        committed: Committed,
        generations: Generations,
        until: ChangeSeq,
        shared: &Shared,
        now: Timestamp,
    ) -> ResponseHead {
        self.is_cookie_due |= self.apply(committed, generations, until, &shared.config, now);
        response_head(self, shared, Some(now))
    }

    /// Updates the state with the result of a commit. Returns whether the cookie must be sent, with a new token or for
    /// its Max-Age.
    pub(crate) fn apply(
        &mut self,
        committed: Committed,
        generations: Generations,
        until: ChangeSeq,
        config: &Config,
        now: Timestamp,
    ) -> bool {
        let is_persistent = |stored: &Stored| config.lifetimes.is_persistent(&stored.record);
        match committed {
            Committed::Nothing => {
                if self.is_displaced && self.drop_changes() {
                    debug!("ended elsewhere: changes dropped");
                }
                self.forget_what_changed_nothing(until);
                false
            }
            // Destroyed while the store was creating it.
            Committed::Begun(stored) if self.generations.destroyed != generations.destroyed => {
                self.destroyed = Some(Box::new(stored));
                false
            }
            _ if self.generations.destroyed != generations.destroyed => false,
            Committed::Ended | Committed::Expired => {
                debug!("ended elsewhere: changes dropped");
                if let Some(stored) = &self.stored {
                    config.store.observers.waiters.look_again(stored.id());
                }
                self.end();
                false
            }
            Committed::Touched(stored) => {
                let refreshed = is_persistent(&stored);
                self.loaded_at = Some(now);
                self.confirm(stored, until);
                refreshed
            }
            Committed::Renewed(stored) => {
                debug!(session.id = %stored.id(), "session renewed");
                self.is_token_fresh = true;
                self.confirm(stored, until);
                true
            }
            Committed::Saved(stored) => {
                debug!(session.id = %stored.id(), "session saved");
                let was_persistent = self.stored.as_ref().is_some_and(is_persistent);
                let refreshed = was_persistent || is_persistent(&stored);
                self.confirm(stored, until);
                refreshed
            }
            Committed::Begun(stored) => {
                debug!(session.id = %stored.id(), "session stored under a new id");
                if self.generations.identified == generations.identified {
                    self.identity = Identity::Same;
                } else if self
                    .identity
                    .token()
                    .is_some_and(|token| token.id == stored.id())
                {
                    // The pending log-in or cycle needs another id.
                    self.identity.redraw();
                }
                self.is_displaced = false;
                self.is_token_fresh = true;
                self.confirm(stored, until);
                true
            }
        }
    }
}

/// The effect of the current state on the response's headers.
pub(crate) fn response_head(
    state: &mut State,
    shared: &Shared,
    now: Option<Timestamp>,
) -> ResponseHead {
    let config = &*shared.config;
    let now = || now.unwrap_or_else(|| config.clock.now());
    let cookie = match &state.stored {
        Some(stored) if state.is_cookie_due && state.may_issue(stored, config, now()) => {
            let now = now();
            let transport = shared.transport(state);
            let is_cookie = *config.transports.get(transport) == Transport::Cookie;
            // A header has no Max-Age that could be refreshed, and no token goes out by another transport.
            let is_new = state.is_token_fresh || state.is_token_stale;
            let is_due = is_cookie || is_new;
            if !is_due || !config.uses_transport(&stored.record, transport) {
                Cookie::None
            } else {
                let lifetimes = &config.lifetimes;
                let last_seen_at = stored.activity.last_seen_at;
                let max_age = lifetimes.max_age(&stored.record, last_seen_at, now);
                Cookie::Issue(stored.token, max_age)
            }
        }
        Some(_) => Cookie::None,
        None => {
            let is_forgotten = state.was_destroyed && !state.is_displaced && state.was_presented;
            if is_forgotten || state.is_corrupt() {
                Cookie::Remove
            } else {
                Cookie::None
            }
        }
    };
    if state.is_head_gone {
        state.is_cookie_due = false;
    }
    state.decide(&config.store.observers.waiters);
    ResponseHead {
        cookie,
        is_used: state.usage != Usage::Untouched,
        is_personal: state.stored.is_some() || state.was_live,
        has_user: state.user().is_some() || state.had_user,
        is_left: state.was_destroyed && state.was_presented,
    }
}
