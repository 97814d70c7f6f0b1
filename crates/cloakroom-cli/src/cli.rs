//! The arguments: [`Cli`].

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use cloakroom::SessionId;

/// Counts, lists, shows and ends sessions, in any store that other processes can reach.
#[derive(Debug, Parser)]
#[command(name = "cloakroom", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Prints JSON, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
The store is named by a URL in the environment variable CLOAKROOM_STORE, or in a file (--store-file). It is no \
argument, because other users of the machine can read arguments:

  postgres://user:password@host/database    mysql://user:password@host/database
  redis://:password@host:6379               redis-cluster://host:7000,host:7001
  sqlite:///path/to/sessions.db             file:///path/to/directory

Listeners of a running application do not hear of what this command ends. The sessions end all the same: at \
their next request, and where a task waits with `ended()`, as soon as it asks the store.

Exit codes: 0 done, 1 the store failed, 2 wrong usage, 3 there is no such session, 4 not confirmed.";

/// Where the sessions are.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// A file whose first line is the store's URL.
    #[arg(long, global = true, env = "CLOAKROOM_STORE_FILE", value_name = "FILE")]
    pub(crate) store_file: Option<PathBuf>,

    /// The table, for SQL stores.
    #[arg(long, global = true, default_value = "sessions", value_name = "NAME")]
    pub(crate) table: String,

    /// The prefix of every key, for Redis.
    #[arg(
        long,
        global = true,
        default_value = "cloakroom:",
        value_name = "PREFIX"
    )]
    pub(crate) prefix: String,

    /// The application keeps Redis' index of the newest sessions (`index_begun`).
    #[arg(long, global = true)]
    pub(crate) index_begun: bool,

    /// How long one call of the store may take.
    #[arg(long, global = true, default_value = "30s", value_parser = span, value_name = "TIME")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows how many sessions there are, and of which kinds.
    Stats,
    /// Counts the sessions that match; beyond 10,000 it says "more than".
    Count {
        #[command(flatten)]
        filter: Filter,
    },
    /// Lists the sessions that match.
    List {
        #[command(flatten)]
        filter: Filter,
        /// The order. Redis needs --index-begun for `newest`; `seen` is for SQL stores.
        #[arg(long, value_enum, default_value_t = Order::Id)]
        order: Order,
        /// How many sessions to list, at most.
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Where to go on: what the list before printed last.
        #[arg(long, value_name = "CURSOR", allow_hyphen_values = true)]
        after: Option<String>,
    },
    /// Shows one session.
    Show {
        /// The session's id.
        id: SessionId,
        /// Shows its values, too, and not only their names.
        #[arg(long)]
        values: bool,
    },
    /// Ends sessions.
    Revoke {
        /// The sessions' ids.
        #[arg(conflicts_with_all = ["user", "logged_in", "anonymous", "begun_within", "begun_since", "unused_for", "all"])]
        ids: Vec<SessionId>,
        #[command(flatten)]
        filter: Filter,
        /// Ends every session: after a leak of the store's data, for example.
        #[arg(long, conflicts_with_all = ["user", "logged_in", "anonymous", "begun_within", "begun_since", "unused_for"])]
        all: bool,
        #[command(flatten)]
        sure: Sure,
    },
    /// Deletes the records that expired more than five minutes ago, as the application does by itself.
    Reap {
        /// Says how many it would be, and deletes nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Says whether the store answers, and how fast.
    Ping,
    /// Creates the tables of a SQL store, or brings them up to date.
    Migrate {
        /// Changes nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Shows the numbers of `stats` again and again.
    Watch {
        /// How often.
        #[arg(long, default_value = "5s", value_parser = span, value_name = "TIME")]
        every: Duration,
        /// Ends after so many times; otherwise with Ctrl-C.
        #[arg(long)]
        times: Option<u64>,
    },
    /// Prints a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    /// By id, which every store can do.
    Id,
    /// The newest first.
    Newest,
    /// The last seen first, up to 1,000.
    Seen,
}

/// Which sessions.
#[derive(Args, Clone, Debug)]
pub(crate) struct Filter {
    /// Only those of this user.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Only those with a user.
    #[arg(long, conflicts_with = "anonymous")]
    pub(crate) logged_in: bool,
    /// Only those without a user.
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// Only those that began, logged in or changed their id within this time: 15m, 6h, 7d.
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub(crate) begun_within: Option<Duration>,
    /// The same, since a moment: 2026-01-31T12:00:00Z.
    #[arg(long, value_parser = moment, value_name = "MOMENT", conflicts_with = "begun_within")]
    pub(crate) begun_since: Option<SystemTime>,
    /// Only those that nobody has used for this long.
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub(crate) unused_for: Option<Duration>,
}

/// How sure the operator is.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Sure {
    /// Shows what would end, and ends nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Does not ask.
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// `30s`, `15m`, `6h`, `7d`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number with s, m, h or d, such as 30s or 7d".to_owned();
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 60 * 60,
        Some(b'd') => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// RFC 3339.
fn moment(text: &str) -> Result<SystemTime, String> {
    let moment: Result<jiff::Timestamp, _> = text.parse();
    let moment = moment.map_err(|_| "a moment looks like 2026-01-31T12:00:00Z".to_owned());
    moment.map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_make_sense_to_clap() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in [
            "",
            "5",
            "m",
            "0s",
            "-5m",
            "5 m",
            "1.5h",
            "999999999999999999d",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
