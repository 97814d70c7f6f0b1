//! The command line for the sessions that cloakroom keeps: `cloakroom --help`.

mod arguments;
mod commands;
mod output;
mod store;
mod time;

use std::{error::Error as _, process::ExitCode};

use clap::Parser as _;

use self::{
    arguments::{Arguments, When},
    output::Output,
};

/// Why a command failed. Each variant has an exit code.
pub(crate) enum Failure {
    /// The store failed, or cannot be reached, or the result cannot be printed.
    Store(String),
    /// There is no such session, or none that matches.
    Nothing(String),
    /// The user did not confirm.
    Declined(String),
    /// Wrong arguments or settings, or arguments that do not fit together or to this store.
    Usage(String),
    /// The reader of the output has closed it.
    Unread,
}

impl Failure {
    /// `error` with its causes.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // A cause that begins with the same words says more.
            text = match cause_text.starts_with(&text) {
                true => cause_text,
                false => format!("{text}: {cause_text}"),
            };
            source = cause.source();
        }
        Self::Store(text)
    }

    fn usage(wrong: &cloakroom::ConfigError) -> Self {
        Self::Usage(wrong.to_string())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Store(_) => 1,
            // As clap's own.
            Self::Usage(_) => 2,
            Self::Nothing(_) => 3,
            Self::Declined(_) => 4,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Store(text) | Self::Nothing(text) | Self::Declined(text) | Self::Usage(text) => {
                text
            }
            Self::Unread => "",
        }
    }
}

impl From<cloakroom::Error> for Failure {
    fn from(error: cloakroom::Error) -> Self {
        match error.kind() {
            cloakroom::ErrorKind::BadCursor => Self::Usage(format!(
                "{error}: give --after with the other arguments that it was printed for"
            )),
            cloakroom::ErrorKind::Unsupported => {
                let cause = error.source().and_then(|store| store.source());
                Self::Usage(cause.map_or_else(|| error.to_string(), ToString::to_string))
            }
            _ => Self::of(&error),
        }
    }
}

impl From<cloakroom::StoreError> for Failure {
    fn from(error: cloakroom::StoreError) -> Self {
        match error.source().and_then(|source| source.downcast_ref()) {
            Some(wrong) => Self::usage(wrong),
            None => Self::of(&error),
        }
    }
}

impl From<cloakroom::ConfigError> for Failure {
    fn from(error: cloakroom::ConfigError) -> Self {
        Self::usage(&error)
    }
}

/// What is wrong with the arguments.
///
/// # Errors
///
/// clap's own, if it repeats no URL: that may hold a password, and errors go to logs.
fn wrong(error: clap::Error) -> Result<Failure, clap::Error> {
    let text = error.to_string();
    let repeats_url = std::env::args_os().skip(1).any(|argument| {
        let argument = argument.to_string_lossy();
        argument.contains("://") && text.contains(&*argument)
    });
    if !repeats_url {
        return Err(error);
    }
    Ok(Failure::Usage(
        "an argument that looks like a URL is not taken: the store's URL comes from CLOAKROOM_STORE or from \
         --store-file; see --help"
            .to_owned(),
    ))
}

#[tokio::main]
async fn main() -> ExitCode {
    let (output, done) = match Arguments::try_parse() {
        Ok(arguments) => {
            let output = Output::new(arguments.json, arguments.color);
            let done = commands::run(arguments, &output).await;
            (output, done)
        }
        Err(error) => match wrong(error) {
            Ok(failure) => (Output::new(false, When::Auto), Err(failure)),
            Err(error) => error.exit(),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(failure.text());
            ExitCode::from(failure.code())
        }
    }
}
