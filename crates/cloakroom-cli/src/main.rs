//! The command line for the sessions of cloakroom. `cloakroom --help` says what it does.

mod cli;
mod ending;
mod failure;
mod output;
mod reading;
mod store;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::{
    cli::{Cli, Command},
    ending::Meant,
    failure::Failure,
    store::Opened,
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            ExitCode::from(failure.code)
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "cloakroom", &mut script);
        return output::print(String::from_utf8_lossy(&script).trim_end());
    }
    let opened = Opened::at(&cli.place).await?;
    let json = cli.json;
    match &cli.command {
        Command::Stats => reading::stats(&opened, json).await,
        Command::Count { filter } => reading::count(&opened, json, filter).await,
        Command::List {
            filter,
            order,
            limit,
            after,
        } => {
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            reading::list(&opened, json, filter, *order, limit, after.as_deref()).await
        }
        Command::Show { id, values } => reading::show(&opened, json, *id, *values).await,
        Command::Revoke {
            ids,
            filter,
            all,
            sure,
        } => {
            let meant = match (ids.is_empty(), all) {
                (false, _) => Meant::These(ids),
                (true, true) => Meant::All,
                (true, false) => Meant::Matching(filter),
            };
            ending::revoke(&opened, json, meant, *sure).await
        }
        Command::Reap { dry_run } => ending::reap(&opened, json, *dry_run).await,
        Command::Ping => reading::ping(&opened, json).await,
        Command::Migrate { dry_run } => ending::migrate(&opened, json, *dry_run).await,
        Command::Watch { every, times } => reading::watch(&opened, json, *every, *times).await,
        // Answered above.
        Command::Completions { .. } => Ok(()),
    }
}
