//! Database servers for the tests, as the user they accept to run as.

#[cfg(feature = "redis")]
mod dialect;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

#[cfg(feature = "mysql")]
pub(crate) use self::mysql::MySql;
#[cfg(feature = "postgres")]
pub(crate) use self::postgres::Postgres;
#[cfg(feature = "redis")]
pub(crate) use self::{
    dialect::Dialect,
    redis::{Redis, RedisCluster},
};

/// What every test server's user is called, and its password.
const USER: &str = "cloakroom";
const PASSWORD: &str = "hunter2-of-the-tests";

/// `program`, run by `user` where this is root, whom database servers refuse.
fn run_as(user: &str, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", user, "--regid", user, "--init-groups", "--"])
        .arg(program);
    command
}

/// Gives what is at `path` to `user` where this is root.
fn give(user: &str, path: &Path) {
    if is_root() {
        let chown = Command::new("chown").args(["-R", user]).arg(path).status();
        assert!(chown.unwrap().success());
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// Runs `command` to its end; a panic says what it said if it fails.
fn finish(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{:?} failed:\n{}{}",
        command.get_program(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A name that no other database of this run has.
fn unique_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}
