//! Deletes the rest of the old table: [`delete_remaining`].

use std::time::Duration;

/// Deletes the rest of an old table in batches, with a pause after each. Returns how many rows were deleted.
///
/// `delete` takes the size of a batch, deletes at most that many rows, and returns how many it deleted. It is called until it
/// deletes none. Call `delete_remaining` when the import has ended and you no longer need to go back. A single statement for the
/// whole table would hold its locks, and slow down the database, until it is done.
///
/// For the tables of tower-sessions-sqlx-store:
///
/// | database | the statement of a batch |
/// | --- | --- |
/// | PostgreSQL | `delete from tower_sessions.session where id in (select id from tower_sessions.session limit $1)` |
/// | MySQL, MariaDB | `` delete from `tower_sessions`.`session` limit ? `` |
/// | SQLite | `delete from tower_sessions where id in (select id from tower_sessions limit ?)` |
///
/// The records of tower-sessions-redis-store expire by themselves.
///
/// ```no_run
/// use std::time::Duration;
/// use cloakroom_tower_sessions::delete_remaining;
///
/// async fn clean_up(pool: sqlx::SqlitePool) -> Result<u64, sqlx::Error> {
///     const BATCH: &str = "delete from tower_sessions where id in (select id from tower_sessions limit ?)";
///     delete_remaining(1000, Duration::from_millis(100), async |batch| {
///         let done = sqlx::query(BATCH).bind(i64::from(batch)).execute(&pool).await?;
///         Ok(done.rows_affected())
///     })
///     .await
/// }
/// ```
///
/// # Errors
///
/// The first error of `delete`. Rows that were deleted before stay deleted. You can call it again.
pub async fn delete_remaining<E>(
    batch: u32,
    pause: Duration,
    mut delete: impl AsyncFnMut(u32) -> Result<u64, E>,
) -> Result<u64, E> {
    let mut rows = 0;
    loop {
        match delete(batch).await? {
            0 => return Ok(rows),
            deleted => rows += deleted,
        }
        tokio::time::sleep(pause).await;
    }
}
