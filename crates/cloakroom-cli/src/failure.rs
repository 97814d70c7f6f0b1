//! Why a command did not do what it was asked: [`Failure`].

use std::{error, fmt, io};

/// What is printed, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    message: String,
}

impl Failure {
    /// The store failed.
    pub(crate) const STORE: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const NO_SESSION: u8 = 3;
    pub(crate) const NOT_CONFIRMED: u8 = 4;

    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// With the error's causes. Errors of cloakroom name hosts and paths, but no password and no data.
    fn of(error: &dyn error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message.push_str(": ");
                message.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self::new(Self::STORE, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<cloakroom::Error> for Failure {
    fn from(error: cloakroom::Error) -> Self {
        match error.kind() {
            cloakroom::ErrorKind::BadCursor => Self::new(
                Self::USAGE,
                "--after is not where a list with these options went on",
            ),
            cloakroom::ErrorKind::EmptyFilter => Self::new(
                Self::USAGE,
                "which sessions? Name ids, a user or another condition, or --all",
            ),
            _ => Self::of(&error),
        }
    }
}

impl From<cloakroom::StoreError> for Failure {
    fn from(error: cloakroom::StoreError) -> Self {
        Self::of(&error)
    }
}

impl From<cloakroom::ConfigError> for Failure {
    fn from(error: cloakroom::ConfigError) -> Self {
        Self::of(&error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::of(&error)
    }
}
