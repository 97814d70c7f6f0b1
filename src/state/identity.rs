//! Whether a request's session gets another id, and for which user: [`Identity`].

use crate::{
    clock::Timestamp,
    record::{Login, token::Token},
    state::change_seq::ChangeSeq,
};

/// Whether the session gets another id at the commit, and for which user.
#[derive(Clone, Default)]
pub(crate) enum Identity {
    #[default]
    Same,
    // Both boxed: rarely there, and every request moves this enum.
    Cycle(Box<Cycle>),
    LogIn(Box<LogIn>),
}

#[derive(Clone)]
pub(crate) struct Cycle {
    /// The new token. `None` if a commit has already tried it.
    pub(crate) token: Option<Token>,
    /// When the user confirmed who they are, if they did. Only the session under the new token has it.
    pub(crate) confirmed_at: Option<Timestamp>,
}

#[derive(Clone)]
pub(crate) struct LogIn {
    /// The token of the new session. `None` if a commit has already tried it.
    pub(crate) token: Option<Token>,
    pub(crate) user: Box<str>,
    pub(crate) at: Timestamp,
    /// The session belonged to another user, so its data is not taken over (rule M8).
    pub(crate) starts_empty: bool,
    /// Later changes belong to the new session only.
    pub(crate) since: ChangeSeq,
}

impl Identity {
    /// The token of the new session.
    pub(crate) fn token(&self) -> Option<Token> {
        match self {
            Self::Same => None,
            Self::Cycle(cycle) => cycle.token,
            Self::LogIn(log_in) => log_in.token,
        }
    }

    /// Draws another token, because a session may exist under the former one.
    pub(crate) fn redraw(&mut self) {
        let drawn = Token::generate().ok();
        match self {
            Self::Same => {}
            Self::Cycle(cycle) => cycle.token = drawn,
            Self::LogIn(log_in) => log_in.token = drawn,
        }
    }

    /// Takes the token, so that no later commit uses it again.
    pub(crate) fn take_token(&mut self) -> Option<Token> {
        match self {
            Self::Same => None,
            Self::Cycle(cycle) => cycle.token.take(),
            Self::LogIn(log_in) => log_in.token.take(),
        }
    }
}

impl LogIn {
    /// Whether the data of a session of `user` may be taken over.
    pub(crate) fn is_for(&self, user: Option<&str>) -> bool {
        user.is_none_or(|user| *user == *self.user)
    }

    pub(crate) fn login(&self) -> Login {
        Login {
            user: self.user.clone(),
            at: self.at,
        }
    }
}
