//! The command line for the sessions that cloakroom keeps: `cloakroom --help`.

mod arguments;
mod commands;
mod output;
mod store;
mod time;

use std::{error::Error as _, process::ExitCode};

use clap::{CommandFactory as _, Parser as _};

use self::{
    arguments::{Arguments, Command},
    output::Output,
};

/// Why a command did not do what it was asked to.
pub(crate) enum Failure {
    /// The store, or the way to it.
    Store(String),
    /// There is no such session, or none that matches.
    Nothing(String),
    /// Nobody said yes.
    Declined(String),
}

impl Failure {
    /// `error` with its causes.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::Store(text)
    }

    fn code(&self) -> u8 {
        match self {
            Self::Store(_) => 1,
            Self::Nothing(_) => 3,
            Self::Declined(_) => 4,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Store(text) | Self::Nothing(text) | Self::Declined(text) => text,
        }
    }
}

impl From<cloakroom::Error> for Failure {
    fn from(error: cloakroom::Error) -> Self {
        Self::of(&error)
    }
}

impl From<cloakroom::StoreError> for Failure {
    fn from(error: cloakroom::StoreError) -> Self {
        let text = error
            .source()
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        Self::Store(text)
    }
}

impl From<cloakroom::ConfigError> for Failure {
    fn from(error: cloakroom::ConfigError) -> Self {
        Self::Store(error.to_string())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Completions { shell } = arguments.command {
        let mut command = Arguments::command();
        clap_complete::generate(shell, &mut command, "cloakroom", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let output = Output::new(arguments.json, arguments.color);
    match commands::run(arguments, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(failure.text());
            ExitCode::from(failure.code())
        }
    }
}
