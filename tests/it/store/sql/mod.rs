//! What holds for every SQL store alike: [`sql_store_tests`] makes the tests.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod server_faults;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;

#[cfg(any(feature = "mysql", feature = "postgres"))]
use cloakroom::store::{Position, Query};
use cloakroom::{Activity, Record, SessionId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::process::Directory;

/// A database of one test's own.
pub(crate) struct Database {
    pub(crate) url: String,
    /// Where it is, if that is to go with it.
    pub(crate) _keep: Option<Directory>,
}

pub(crate) fn id(number: u128) -> SessionId {
    Uuid::from_u128(number).into()
}

/// A record as its encoding says, with `more` fields.
pub(crate) fn record(more: Value) -> Arc<Record> {
    let mut fields = json!({
        "format": 1,
        "version": "1-00000000000000ff",
        "verifier": "A".repeat(43),
        "created_at": 1_000,
        "data": {},
    });
    let object = fields.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    Arc::new(Record::from_bytes(fields.to_string().as_bytes()).unwrap())
}

pub(crate) fn until(millis: impl Into<Option<u64>>) -> Activity {
    Activity {
        last_seen_at: Timestamp::from_millis(1_000),
        expires_at: millis.into().map(Timestamp::from_millis),
    }
}

/// How many rows the tests of [`deep_pages`] need.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) const ROWS: u64 = 100_000;

/// A page of a large table, far behind the first one.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) struct DeepPage {
    pub(crate) query: Query,
    pub(crate) after: Position,
    /// The index that finds its rows, without the name of the table.
    pub(crate) index: &'static str,
    /// Whether no index has the condition, so that the page looks at the next rows only.
    pub(crate) is_windowed: bool,
}

/// The pages, if row `n` began `n` milliseconds after 1970, every second row has a user, and every 1000th has Ann.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) fn deep_pages() -> impl Iterator<Item = DeepPage> {
    let moment = Timestamp::from_millis;
    let by_id = Position::after(id(0xc0 << 120));
    let newest = Position::after_begun(moment(ROWS / 4), id(0));
    let all = Query::default();
    let users = all.clone().with_logged_in(true);
    let begun = all.clone().with_begun_since(moment(ROWS / 8));
    let begun = begun.with_begun_before(moment(ROWS / 2));
    let pages = [
        (all.clone(), &by_id, "pkey", false),
        (all.clone().newest_first(), &newest, "begun", false),
        (all.with_user("ann"), &by_id, "user", false),
        (begun.clone().newest_first(), &newest, "begun", false),
        (begun, &by_id, "pkey", true),
        (users.clone(), &by_id, "pkey", true),
        (users.newest_first(), &newest, "begun", true),
    ];
    pages
        .map(|(query, after, index, is_windowed)| DeepPage {
            query,
            after: after.clone(),
            index,
            is_windowed,
        })
        .into_iter()
}

/// The tests of `$store`, in a module that has
/// - `async fn database() -> Database`, a new and empty one,
/// - `async fn forbid(&$store)`, after which the table takes no row with data,
/// - `fn literal(SessionId) -> String`, an id as it stands in a statement.
macro_rules! sql_store_tests {
    ($store:ty) => {
        /// Runs a statement, and says how many rows it changed.
        async fn execute(store: &$store, sql: &str) -> u64 {
            let sql = AssertSqlSafe(sql.to_owned());
            let done = sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
            done.rows_affected()
        }

        /// The first column of the rows, by lines.
        async fn text(store: &$store, sql: &str) -> String {
            let sql = AssertSqlSafe(sql.to_owned());
            let rows = sqlx::raw_sql(sql).fetch_all(store.pool()).await.unwrap();
            let texts: Vec<String> = rows.iter().map(|row| row.get_unchecked(0)).collect();
            texts.join("\n")
        }

        async fn empty() -> (Database, $store) {
            let database = database().await;
            let store = <$store>::connect(&database.url).await.unwrap();
            (database, store)
        }

        async fn migrated() -> (Database, $store) {
            let (database, store) = empty().await;
            store.migrate().await.unwrap();
            (database, store)
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn it_keeps_the_contract() {
            let (_database, store) = migrated().await;
            Conformance::new(async || store.clone())
                .damage(|store: Arc<$store>, id, bytes| async move {
                    let (json, id) = (String::from_utf8(bytes).unwrap(), literal(id));
                    let damage = format!("UPDATE sessions SET record = '{json}' WHERE id = {id}");
                    assert_eq!(execute(&store, &damage).await, 1);
                })
                .run()
                .await;
            assert_eq!(store.count(&Query::default()).await.unwrap(), 0);
        }

        #[tokio::test]
        async fn a_pending_migration_is_told_and_changes_nothing() {
            let (_database, store) = empty().await;
            for _ in 0..2 {
                assert_eq!(store.pending_migration().await.unwrap(), PendingMigration::Create);
            }
            store.migrate().await.unwrap();
            assert_eq!(store.pending_migration().await.unwrap(), PendingMigration::Nothing);
            execute(&store, "DELETE FROM sessions_schema WHERE version = 2").await;
            assert_eq!(store.pending_migration().await.unwrap(), PendingMigration::Upgrade);
            execute(&store, "DROP TABLE sessions").await;
            assert_eq!(store.pending_migration().await.unwrap(), PendingMigration::Create);
            store.migrate().await.unwrap();
            assert_eq!(store.pending_migration().await.unwrap(), PendingMigration::Nothing);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn eight_nodes_may_migrate_at_once() {
            let database = database().await;
            let nodes = (0..8).map(|_| {
                let url = database.url.clone();
                tokio::spawn(async move {
                    let store = <$store>::connect(&url).await.unwrap();
                    store.migrate().await.unwrap();
                    store.create(id(1), &record(json!({})), until(None)).await.unwrap()
                })
            });
            let created = futures::future::join_all(nodes).await;
            let first = created.into_iter().filter(|made| *made.as_ref().unwrap() == Created::Yes);
            assert_eq!(first.count(), 1);
            let store = <$store>::connect(&database.url).await.unwrap();
            let versions = "SELECT version FROM sessions_schema";
            assert_eq!(text(&store, versions).await, "1\n2");
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn p1_p3_ending_sessions_and_their_limit_hold_among_nodes() {
            let (database, store) = migrated().await;
            let there = <$store>::connect(&database.url).await.unwrap();
            population::is_kept_by(vec![store, there]).await;
        }

        #[tokio::test]
        async fn to_migrate_again_changes_nothing() {
            let (_database, store) = migrated().await;
            store.create(id(1), &record(json!({})), until(None)).await.unwrap();
            store.migrate().await.unwrap();
            store.clone().migrate().await.unwrap();
            assert_eq!(store.count(&Query::default()).await.unwrap(), 1);
        }

        #[tokio::test]
        async fn a_migration_that_was_cut_short_is_taken_up() {
            let (_database, store) = migrated().await;
            store.create(id(1), &record(json!({})), until(None)).await.unwrap();
            execute(&store, "DELETE FROM sessions_schema").await;
            store.migrate().await.unwrap();
            assert_eq!(store.count(&Query::default()).await.unwrap(), 1);
            execute(&store, "DROP TABLE sessions_schema").await;
            store.migrate().await.unwrap();
            assert_eq!(store.count(&Query::default()).await.unwrap(), 1);
        }

        #[tokio::test]
        async fn tables_of_a_later_version_are_left_alone() {
            let (_database, store) = migrated().await;
            execute(&store, "INSERT INTO sessions_schema (version) VALUES (3)").await;
            let error = store.migrate().await.unwrap_err();
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains("version 3, and this version of cloakroom knows 2"), "{cause}");
            let versions = "SELECT version FROM sessions_schema ORDER BY version";
            assert_eq!(text(&store, versions).await, "1\n2\n3");
        }

        #[tokio::test]
        async fn a_table_of_somebody_else_is_left_alone_and_named_with_what_to_do() {
            for (table, other) in [("sessions", "id BIGINT, payload VARCHAR(90)"), ("sessions_schema", "state INT")] {
                let (_database, store) = empty().await;
                execute(&store, &format!("CREATE TABLE {table} ({other})")).await;
                let error = store.migrate().await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Other);
                assert!(error.is_not_applied());
                let cause = error.source().unwrap().to_string();
                for part in [table, "id, payload", "state", ".table(\"cloakroom_sessions\")"] {
                    let is_said = cause.contains(part);
                    let is_other = part == "id, payload" && table != "sessions" || part == "state" && table == "sessions";
                    assert!(is_said || is_other, "{cause}");
                }
                assert!(!cause.contains("call migrate()"), "{cause}");
                assert_eq!(text(&store, &format!("SELECT * FROM {table}")).await, "");
                let store = store.table("cloakroom_sessions").unwrap();
                store.migrate().await.unwrap();
                store.migrate().await.unwrap();
                let created = store.create(id(1), &record(json!({})), until(None)).await;
                assert_eq!(created.unwrap(), Created::Yes);
            }
        }

        #[tokio::test]
        async fn the_documented_queries_show_a_users_sessions_count_and_end_them() {
            let (_database, store) = migrated().await;
            let future = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 60_000;
            let ann = record(json!({ "user": "ann", "authenticated_at": 1, "data": { "cart": "full" } }));
            let bob = record(json!({ "user": "bob", "authenticated_at": 1 }));
            let marker = record(json!({ "moved_at": 1 }));
            for (number, record, expires_at) in [
                (1, &ann, Some(future)), (2, &ann, None), (3, &ann, Some(1)), (4, &bob, None),
                (5, &record(json!({})), Some(future)), (6, &marker, Some(future)),
            ] {
                store.create(id(number), record, until(expires_at)).await.unwrap();
            }
            let page = include_str!("../../../../STORES.md");
            let (_, queries) = page.split_once(&format!("```sql\n-- {TITLE}\n")).unwrap();
            let (queries, _) = queries.split_once("```").unwrap();
            let queries: Vec<&str> = queries.split(';').map(str::trim).filter(|query| !query.is_empty()).collect();
            let [of_user, count, delete] = queries[..] else {
                panic!("{queries:?}");
            };
            let sql = AssertSqlSafe(of_user.to_owned());
            let rows = sqlx::raw_sql(sql).fetch_all(store.pool()).await.unwrap();
            let records: Vec<String> = rows.iter().map(|row| row.get_unchecked("record")).collect();
            assert_eq!(records.len(), 3);
            assert!(records.iter().all(|record| record.contains(r#""cart":"full""#)), "{records:?}");
            let sql = AssertSqlSafe(count.to_owned());
            let row = sqlx::raw_sql(sql).fetch_one(store.pool()).await.unwrap();
            assert_eq!(row.get_unchecked::<i64, _>(0), 4);
            assert_eq!(execute(&store, delete).await, 3);
            assert!(store.load(id(1)).await.unwrap().is_none());
            assert!(store.load(id(4)).await.unwrap().is_some());
        }

        #[tokio::test]
        async fn a_table_that_was_dropped_is_made_again() {
            let (_database, store) = migrated().await;
            let versions = "SELECT version FROM sessions_schema ORDER BY version";
            let before = text(&store, versions).await;
            execute(&store, "DROP TABLE sessions").await;
            store.migrate().await.unwrap();
            let created = store.create(id(1), &record(json!({})), until(None)).await;
            assert_eq!(created.unwrap(), Created::Yes);
            assert_eq!(text(&store, versions).await, before);
        }

        #[tokio::test]
        async fn two_tables_are_two_stores() {
            let (_database, store) = migrated().await;
            let other = store.clone().table("select").unwrap();
            other.migrate().await.unwrap();
            store.create(id(1), &record(json!({})), until(None)).await.unwrap();
            assert_eq!(other.count(&Query::default()).await.unwrap(), 0);
            assert_eq!(other.create(id(1), &record(json!({})), until(None)).await.unwrap(), Created::Yes);
            assert!(other.delete(id(1)).await.unwrap());
            assert_eq!(store.count(&Query::default()).await.unwrap(), 1);
        }

        #[tokio::test]
        async fn a_table_name_that_is_none_is_refused() {
            let (_database, store) = empty().await;
            let error = store.table("sessions; DROP TABLE users").unwrap_err().to_string();
            assert!(error.contains("use up to 48 letters"), "{error}");
        }

        #[tokio::test]
        async fn a_table_that_is_missing_is_an_error_that_names_migrate() {
            let (_database, store) = empty().await;
            let fresh = record(json!({}));
            let version = fresh.version();
            let errors = [
                store.create(id(1), &fresh, until(None)).await.unwrap_err(),
                store.load(id(1)).await.unwrap_err(),
                store.load_latest(id(1)).await.unwrap_err(),
                store.update(id(1), &fresh, until(None), crate::support::former(version)).await.unwrap_err(),
                store.touch(id(1), crate::support::former(version), until(None)).await.unwrap_err(),
                store.delete(id(1)).await.unwrap_err(),
                store.delete_expired(Timestamp::MAX, 10).await.unwrap_err(),
                store.list(&Query::default(), None, 10).await.unwrap_err(),
                store.count(&Query::default()).await.unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), StoreErrorKind::Other);
                let cause = error.source().unwrap().to_string();
                assert!(cause.contains("no table sessions"), "{cause}");
                assert!(cause.contains("call migrate()"), "{cause}");
            }
            // It harms nothing.
            store.migrate().await.unwrap();
            assert_eq!(store.count(&Query::default()).await.unwrap(), 0);
        }

        #[tokio::test]
        async fn a_record_of_a_newer_format_is_incompatible_and_stays() {
            let (_database, store) = migrated().await;
            store.create(id(1), &record(json!({})), until(5_000)).await.unwrap();
            let newer = r#"{"format":3,"data":"private"}"#;
            execute(&store, &format!("UPDATE sessions SET record = '{newer}'")).await;
            let error = store.load(id(1)).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Incompatible);
            assert!(!format!("{error:?}").contains("private"));
            let page = store.list(&Query::default(), None, 9).await.unwrap();
            assert_eq!((page.sessions.len(), page.incompatible), (0, 1));
            assert_eq!(text(&store, "SELECT record FROM sessions").await, newer);
            let version = Version { counter: 9, writer: 9 };
            let updated = store.update(id(1), &record(json!({})), until(None), crate::support::former(version)).await;
            assert_eq!(updated.unwrap(), Updated::Conflict);
            assert_eq!(text(&store, "SELECT record FROM sessions").await, newer);
        }

        #[tokio::test]
        async fn p1_who_ends_sessions_learns_of_those_that_a_newer_version_wrote() {
            let (_database, store) = migrated().await;
            let sessions = cloakroom::SessionLayer::new(store.clone()).sessions();
            for (place, name) in [(1, "first"), (2, "second"), (3, "third")] {
                let data = json!({ "name": name });
                let of_ann = record(json!({ "user": "ann", "authenticated_at": 5, "data": data }));
                store.create(id(place), &of_ann, until(None)).await.unwrap();
            }
            let newer = r#"UPDATE sessions SET record = '{"format":3}' WHERE record LIKE '%second%'"#;
            execute(&store, newer).await;
            let error = sessions.revoke_user("ann").await.unwrap_err();
            assert_eq!(error.kind(), cloakroom::ErrorKind::Incompatible);
            let cause = error.source().and_then(std::error::Error::source).unwrap().to_string();
            assert!(cause.starts_with("1 sessions were not ended"), "{cause}");
            for place in [1, 3] {
                let (ended, _) = store.load(id(place)).await.unwrap().unwrap();
                assert!(ended.is_moved());
            }
            let error = sessions.revoke_all(|_| {}).await.unwrap_err();
            assert_eq!(error.kind(), cloakroom::ErrorKind::Incompatible);
            // Nobody needs to know of it when unused sessions are ended.
            assert_eq!(sessions.expire_idle(std::time::Duration::ZERO).await.unwrap(), 0);
        }

        #[tokio::test]
        async fn a_person_can_read_the_record() {
            let (_database, store) = migrated().await;
            let fields = json!({
                "user": "Zoë \u{1F600} \u{0} ",
                "authenticated_at": 5,
                "data": { "cart": { "größe": 1e30, "\u{1F600}": ["\u{0}", "'", "\\"] } },
                "later": { "b": 1, "a": [1.0, 2] },
            });
            let record = record(fields);
            store.create(id(1), &record, until(None)).await.unwrap();
            let stored = text(&store, "SELECT record FROM sessions").await;
            assert_eq!(stored.as_bytes(), record.to_bytes());
            assert!(stored.contains("größe"));
            let (loaded, _) = store.load(id(1)).await.unwrap().unwrap();
            assert_eq!(loaded.to_bytes(), record.to_bytes());
        }

        #[tokio::test]
        async fn users_are_told_apart_byte_by_byte() {
            let (_database, store) = migrated().await;
            let long = "u".repeat(100_000);
            let users = ["ann", "Ann", "ann ", " ann", "ann\0", "änn", "a\u{308}nn", "", &long, "'", "%"];
            for (number, user) in (0..).zip(users) {
                let record = record(json!({ "user": user, "authenticated_at": 1 }));
                store.create(id(number), &record, until(None)).await.unwrap();
            }
            store.create(id(99), &record(json!({})), until(None)).await.unwrap();
            for (number, user) in (0..).zip(users) {
                let filter = Query::default().with_user(user);
                let page = store.list(&filter, None, 100).await.unwrap();
                let ids: Vec<_> = page.sessions.iter().map(|listed| listed.id).collect();
                assert_eq!(ids, [id(number)], "{number}");
            }
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn reapers_on_many_nodes_delete_each_session_once() {
            const SESSIONS: u32 = 1500;
            let (database, store) = migrated().await;
            let fresh = record(json!({}));
            let creating = (0..u128::from(SESSIONS)).map(|number| {
                let (store, fresh) = (store.clone(), fresh.clone());
                async move {
                    // Every third is too young, every seventh cannot be read.
                    let expires_at = if number % 3 == 0 { 9_000 } else { 2_000 + number as u64 % 50 };
                    store.create(id(number), &fresh, until(expires_at)).await.unwrap();
                }
            });
            futures::stream::iter(creating).buffer_unordered(16).collect::<Vec<_>>().await;
            execute(&store, "UPDATE sessions SET record = 'none' WHERE last_seen_at = 1000 AND expires_at = 2007").await;
            let ended = Arc::new(Mutex::new(Vec::new()));
            let reapers = (0..8).map(|_| {
                let (url, ended) = (database.url.clone(), ended.clone());
                tokio::spawn(async move {
                    let store = <$store>::connect(&url).await.unwrap();
                    store.report_removals(RemovalSink::new(move |ending| ended.lock().push(ending.id)));
                    let mut removed = 0;
                    loop {
                        let reaped = store.delete_expired(Timestamp::from_millis(3_000), 70).await.unwrap();
                        removed += reaped.removed;
                        assert!(reaped.removed <= 70);
                        if !reaped.more {
                            return removed;
                        }
                    }
                })
            });
            let removed: usize = futures::future::try_join_all(reapers).await.unwrap().into_iter().sum();
            assert_eq!(removed, 1000);
            assert_eq!(store.count(&Query::default()).await.unwrap(), 500);
            let mut ended = std::mem::take(&mut *ended.lock());
            ended.sort_unstable();
            let expected: Vec<_> = (0..u128::from(SESSIONS)).filter(|number| number % 3 != 0).map(id).collect();
            assert_eq!(ended, expected);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn concurrent_creates_updates_deletes_and_sweeps_do_not_disturb_each_other() {
            let (_database, store) = migrated().await;
            let fresh = record(json!({}));
            let coming = (1..=8u128).map(|task| {
                let (store, fresh) = (store.clone(), fresh.clone());
                tokio::spawn(async move {
                    for turn in 0..60 {
                        let (expired, lasting) = (id(task << 100 | u128::from(turn)), id(task << 64 | u128::from(turn) << 120));
                        store.create(expired, &fresh, until(2_999)).await.unwrap();
                        store.create(lasting, &fresh, until(3_001)).await.unwrap();
                        let touched = store.touch(lasting, crate::support::former(fresh.version()), until(3_100 + turn)).await;
                        touched.unwrap();
                        assert!(store.delete(lasting).await.unwrap());
                    }
                })
            });
            let coming = futures::future::try_join_all(coming.collect::<Vec<_>>());
            let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let reapers: Vec<_> = (0..4).map(|_| {
                let (store, is_over) = (store.clone(), is_over.clone());
                tokio::spawn(async move {
                    let mut removed = 0;
                    while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                        removed += store.delete_expired(Timestamp::from_millis(3_000), 50).await.unwrap().removed;
                    }
                    removed
                })
            }).collect();
            coming.await.unwrap();
            is_over.store(true, std::sync::atomic::Ordering::SeqCst);
            let removed = futures::future::try_join_all(reapers).await.unwrap().into_iter().sum::<usize>();
            let rest = store.delete_expired(Timestamp::from_millis(3_000), 1_000).await.unwrap().removed;
            assert_eq!(removed + rest, 8 * 60);
            assert_eq!(store.count(&Query::default()).await.unwrap(), 0);
        }

        #[tokio::test]
        async fn what_expired_is_deleted_in_the_order_of_its_deadlines() {
            let (_database, store) = migrated().await;
            for number in 0..600 {
                store.create(id(number), &record(json!({})), until(9_000 - number as u64)).await.unwrap();
            }
            store.create(id(9_999), &record(json!({})), until(None)).await.unwrap();
            let reap = async |limit| store.delete_expired(Timestamp::from_millis(9_000), limit).await.unwrap();
            assert_eq!(reap(0).await, Reaped::new(0, true));
            assert_eq!(reap(599).await, Reaped::new(599, true));
            assert!(store.load(id(0)).await.unwrap().is_some());
            assert_eq!(reap(2).await, Reaped::new(1, false));
            assert_eq!(reap(usize::MAX).await, Reaped::new(0, false));
            assert_eq!(store.count(&Query::default()).await.unwrap(), 1);
        }

        #[tokio::test]
        async fn a_call_that_is_dropped_at_any_point_leaves_the_next_ones_alone() {
            let (_database, store) = migrated().await;
            for number in 0..50 {
                let data = record(json!({ "data": { "number": number } }));
                store.create(id(number), &data, until(None)).await.unwrap();
            }
            for polls in 0..40 {
                let number = polls % 50;
                let mut load = Box::pin(store.load(id(number as u128)));
                let done = futures::future::poll_fn(|context| {
                    let mut done = false;
                    for _ in 0..=polls {
                        done = done || load.as_mut().poll(context).is_ready();
                        std::thread::yield_now();
                    }
                    std::task::Poll::Ready(done)
                })
                .await;
                let _ = done;
                drop(load);
                for number in 0..4 {
                    let (record, _) = store.load(id(number)).await.unwrap().unwrap();
                    let read: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
                    assert_eq!(read["data"]["number"], json!(number));
                }
            }
        }

        #[tokio::test]
        async fn a_database_error_does_not_contain_values_of_the_row() {
            let (_database, store) = migrated().await;
            let user = record(json!({
                "user": "ann-of-the-row",
                "authenticated_at": 1,
                "data": { "private": "of the row" },
            }));
            forbid(&store).await;
            let error = store.create(id(1), &user, until(None)).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Other);
            let said = format!("{error} {error:?} {}", error.source().unwrap());
            assert!(said.contains("(error "), "{said}");
            assert!(!said.contains("of-the-row") && !said.contains("of the row"), "{said}");
        }

        #[tokio::test]
        async fn a_url_that_is_none_is_not_repeated() {
            let error = <$store>::connect("no such scheme://bob:hunter2@nowhere").await.unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("not a URL of"), "{said}");
            assert!(!said.contains("hunter2") && !said.contains("bob"), "{said}");
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn increments_of_four_processes_add_up() {
            let (database, store) = migrated().await;
            let worker = concat!(module_path!(), "::worker");
            let worker = worker.split_once("::").unwrap().1;
            processes::add_up(worker, &database.url, store).await;
        }

        /// Does nothing unless another process is started for it.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn worker() {
            if let Some(url) = processes::place() {
                processes::increment(<$store>::connect(&url).await.unwrap()).await;
            }
        }
    };
}
pub(crate) use sql_store_tests;
