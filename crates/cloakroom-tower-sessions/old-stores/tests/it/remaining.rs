//! What is left of the old table when the import is over.

use std::time::Duration;

use cloakroom_tower_sessions::delete_remaining;
use tower_sessions_sqlx_store::sqlx::query;

use crate::nodes::{old_records, postgres};

#[tokio::test]
async fn what_is_left_is_deleted_in_batches() {
    const BATCH: &str = "delete from tower_sessions.session
        where id in (select id from tower_sessions.session limit $1)";
    let (pool, _, _) = postgres().await;
    let rows = "insert into tower_sessions.session
        select 'row ' || number, '', now() from generate_series(1, 2500) number";
    query(rows).execute(&pool).await.unwrap();
    let mut batches = Vec::new();
    let deleted = delete_remaining(1000, Duration::from_millis(1), async |batch| {
        let done = query(BATCH).bind(i64::from(batch)).execute(&pool).await?;
        batches.push(done.rows_affected());
        Ok::<_, tower_sessions_sqlx_store::sqlx::Error>(done.rows_affected())
    });
    assert_eq!(deleted.await.unwrap(), 2500);
    assert_eq!(batches, [1000, 1000, 500, 0]);
    assert_eq!(old_records(&pool).await, 0);
}
