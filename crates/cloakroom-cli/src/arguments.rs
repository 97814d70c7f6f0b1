//! What the command line takes: [`Arguments`].

use std::{path::PathBuf, time::SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use cloakroom::{Cursor, SessionFilter, SessionId};
use jiff::SignedDuration;

use crate::time::{ago, duration, moment};

/// Counts, lists and ends the sessions that cloakroom keeps in a store.
///
/// The store's URL comes from the environment variable CLOAKROOM_STORE or from a file (--store-file), never from an
/// argument, which every user of the machine can see:
///
///   postgres://user:password@host/database
///   mysql://user:password@host/database
///   sqlite:path
///   redis://:password@host:6379/0, rediss:// over TLS
///   redis-cluster://:password@host:6379,host:6380
///   file:path
///
/// Sessions in memory belong to one process: look at them through the console of that process.
///
/// What this command ends is dead at once on every node. The events of a node tell nothing of it, and code that waits for a
/// session's end hears of it when it asks the store next, within 30 seconds by default.
///
/// Exit codes: 0 done; 1 the store failed; 2 wrong arguments; 3 there is no such session; 4 not confirmed.
#[derive(Debug, Parser)]
#[command(
    name = "cloakroom",
    version,
    verbatim_doc_comment,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// A file whose first line is the store's URL
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) store_file: Option<PathBuf>,
    /// The table of an SQL store
    #[arg(long, global = true, value_name = "NAME", default_value = "sessions")]
    pub(crate) table: String,
    /// What the keys of a Redis store begin with; the store's default if this is not given
    #[arg(long, global = true, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How many sessions the store has, by kind and by age
    Stats,
    /// How many sessions match; counts of a filter stop at 10,000
    Count(Filter),
    /// List sessions, a page at a time
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many at most, 1 to 1000
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// The cursor that the page before has printed
        #[arg(long, value_name = "CURSOR")]
        after: Option<Cursor>,
        /// The newest first; otherwise in the order of ids
        #[arg(long)]
        newest: bool,
        /// Those used last first, without further pages
        #[arg(long, conflicts_with_all = ["newest", "after"])]
        last_seen: bool,
    },
    /// Show a session
    Show {
        /// The session's id
        id: SessionId,
        /// Show the values too, which may be personal data
        #[arg(long)]
        values: bool,
    },
    /// End sessions: some by their ids, all that match, or all
    Revoke {
        /// The ids of the sessions
        #[arg(conflicts_with_all = ["all", "user", "logged_in", "anonymous", "idle_for", "begun_since", "begun_before"])]
        ids: Vec<SessionId>,
        #[command(flatten)]
        filter: Filter,
        /// Every session of the store
        #[arg(long, conflicts_with_all = ["user", "logged_in", "anonymous", "idle_for", "begun_since", "begun_before"])]
        all: bool,
        /// Only show what it would end
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Delete what has expired
    Reap {
        /// Only say how many records there are
        #[arg(long)]
        dry_run: bool,
    },
    /// Ask the store whether it answers
    Ping,
    /// Create the table of an SQL store, or bring it up to date
    Migrate {
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the counts again and again, until Ctrl-C
    Watch {
        /// How long to wait between two counts
        #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
        every: SignedDuration,
        /// Stop after so many counts
        #[arg(long, value_name = "COUNT")]
        times: Option<u64>,
    },
    /// Print a script that completes this command in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Which sessions. They must match all that is given.
#[derive(Args, Debug)]
pub(crate) struct Filter {
    /// Those of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Those whose visitor has logged in
    #[arg(long, conflicts_with = "anonymous")]
    logged_in: bool,
    /// Those whose visitor has not logged in
    #[arg(long, conflicts_with = "user")]
    anonymous: bool,
    /// Those that no request has used for longer than this, such as 90m or 14d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    idle_for: Option<SignedDuration>,
    /// Those that came to their id since: a moment such as 2026-05-01T12:00Z, or so long ago, such as 2h
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    begun_since: Option<SystemTime>,
    /// Those that came to their id before
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    begun_before: Option<SystemTime>,
}

impl Filter {
    pub(crate) fn of(&self) -> SessionFilter {
        let mut filter = SessionFilter::default();
        if let Some(user) = &self.user {
            filter = filter.user(user);
        }
        if self.logged_in {
            filter = filter.logged_in();
        }
        if self.anonymous {
            filter = filter.anonymous();
        }
        if let Some(longer_than) = self.idle_for {
            filter = filter.idle_for(longer_than.unsigned_abs());
        }
        match (self.begun_since, self.begun_before) {
            (Some(since), Some(before)) => filter.begun_within(since..before),
            (Some(since), None) => filter.begun_within(since..),
            (None, Some(before)) => filter.begun_within(..before),
            (None, None) => filter,
        }
    }
}

/// Those that came to their id in the last `minutes`.
pub(crate) fn begun_in(minutes: i64) -> SessionFilter {
    let since = ago(SignedDuration::from_mins(minutes));
    SessionFilter::default().begun_within(since..)
}
