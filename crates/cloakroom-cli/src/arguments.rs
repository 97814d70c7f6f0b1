//! The arguments of the command line: [`Arguments`].

use std::{path::PathBuf, time::SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use cloakroom::{Cursor, SessionFilter, SessionId};
use jiff::SignedDuration;

use crate::time::{ago, duration, moment};

/// Counts, lists and ends the sessions that cloakroom keeps in a store.
///
/// The store's URL comes from the environment variable CLOAKROOM_STORE or from a
/// file (--store-file). It is no argument, because every user of the machine can
/// read those:
///
///   postgres://user:password@host/database
///   mysql://user:password@host/database, or mariadb://
///   sqlite:path
///   redis://:password@host:6379/0, rediss:// over TLS
///   redis-cluster://:password@host:6379,host:6380, rediss-cluster:// over TLS
///   file:path
///
/// Sessions in memory belong to one process: use the console of that process.
///
/// No node accepts a session that this command ended, from its next load on. The listeners of the nodes are not called. Code
/// that waits for a session's end notices at its next check of the store, within 30 seconds by default.
///
/// Exit codes:
///   0  done
///   1  the store failed or cannot be reached, or the result cannot be printed
///   2  wrong arguments, no URL or a wrong one, or the store cannot do this
///   3  there is no such session
///   4  not confirmed
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
    /// The prefix of the keys of a Redis store; otherwise the store's default
    #[arg(long, global = true, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// The application's Redis store has `index_begun`: list the newest first by that index
    #[arg(long, global = true)]
    pub(crate) index_begun: bool,
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
    /// How many sessions match; a count with a filter stops at 10,000
    Count(Filter),
    /// List sessions, a page at a time
    List {
        #[command(flatten)]
        filter: Filter,
        /// The most sessions of a page, 1 to 1000
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// The cursor that the previous page printed
        #[arg(long, value_name = "CURSOR")]
        after: Option<Cursor>,
        /// The newest sessions first; otherwise in the order of ids
        #[arg(long)]
        newest: bool,
        /// The sessions that were used last, a single page
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
    /// End sessions: by their ids, all that match, or all
    Revoke {
        /// The ids of the sessions
        #[arg(conflicts_with_all = ["all", "user", "logged_in", "anonymous", "idle_for", "begun_since", "begun_before"])]
        ids: Vec<SessionId>,
        #[command(flatten)]
        filter: Filter,
        /// Every session of the store
        #[arg(long, conflicts_with_all = ["user", "logged_in", "anonymous", "idle_for", "begun_since", "begun_before"])]
        all: bool,
        /// Only show which sessions would end
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for a confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Delete the records that expired more than five minutes ago
    Reap {
        /// Only print how many records it would delete, which reads them all
        #[arg(long)]
        dry_run: bool,
    },
    /// Check that the store answers
    Ping,
    /// Create the table of an SQL store, or bring it up to date
    Migrate {
        /// Only print what it would do, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the counts repeatedly, until Ctrl-C
    Watch {
        /// The time between two counts
        #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
        every: SignedDuration,
        /// Stop after this many counts
        #[arg(long, value_name = "COUNT")]
        times: Option<u64>,
    },
    /// Print a script that completes this command in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The conditions of a filter. A session must match all of them.
#[derive(Args, Debug)]
pub(crate) struct Filter {
    /// Sessions of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Sessions with a user
    #[arg(long, conflicts_with = "anonymous")]
    logged_in: bool,
    /// Sessions of visitors who have not logged in
    #[arg(long, conflicts_with = "user")]
    anonymous: bool,
    /// Sessions that no request has used for longer than this, such as 90m or 14d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    idle_for: Option<SignedDuration>,
    /// Sessions that got their id since this time, such as 2026-05-01T12:00Z, or 2h for two hours ago
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    begun_since: Option<SystemTime>,
    /// Sessions that got their id before this time
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

/// Sessions that got their id in the last `minutes`.
pub(crate) fn begun_in(minutes: i64) -> SessionFilter {
    let since = ago(SignedDuration::from_mins(minutes));
    SessionFilter::default().begun_within(since..)
}
