//! The program of the page "Moving from tower-sessions and axum-login", in the order of its steps.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use sqlx::sqlite::SqlitePoolOptions;
use tower::ServiceExt as _;

use super::*;

async fn send(
    app: &Router,
    method: &str,
    path: &str,
    cookie: &str,
) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("cookie", cookie);
    let request = request.body(Body::empty()).unwrap();
    let reply = app.clone().oneshot(request).await.unwrap();
    let (head, body) = reply.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (
        head.status,
        head.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

/// The cookie of this name that a response sets.
fn cookie(headers: &HeaderMap, name: &str) -> String {
    let all = headers.get_all("set-cookie").into_iter();
    let all = all.map(|value| value.to_str().unwrap());
    let mut set = all.filter_map(|value| value.split(';').next());
    let found = set.rfind(|pair| pair.split_once('=').unwrap().0 == name);
    found
        .unwrap_or_else(|| panic!("no {name}: {headers:?}"))
        .to_owned()
}

#[tokio::test]
async fn a_user_stays_logged_in_through_the_move_and_back() {
    let old_store = MemoryStore::default();
    let old = before(old_store.clone(), Backend);
    let (status, headers, _) = send(&old, "POST", "/login", "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let old_cookie = cookie(&headers, "id");

    let folder = tempfile::tempdir().unwrap();
    let url = format!(
        "sqlite:{}?mode=rwc",
        folder.path().join("sessions.db").display()
    );
    let sessions = sessions(&url).await.unwrap();
    // Without the import, nobody is logged in.
    let app = after(sessions.clone(), Backend);
    let (status, _, _) = send(&app, "GET", "/", &old_cookie).await;
    assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);

    let date = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    let importing = after(with_import(sessions.clone(), old_store, date), Backend);
    let (_, headers, page) = send(&importing, "GET", "/", &old_cookie).await;
    assert_eq!(page, "for users: Welcome!");
    let new_cookie = cookie(&headers, "__Host-id");
    // After the import.
    let (_, _, page) = send(&app, "GET", "/", &new_cookie).await;
    assert_eq!(page, "for users: ");
    assert_eq!(sessions.sessions().revoke_user("7").await.unwrap(), 1);
    // And back.
    let (_, _, page) = send(&old, "GET", "/", &old_cookie).await;
    assert_eq!(page, "for users: Welcome!");
}

#[tokio::test]
async fn the_rest_of_the_old_table_is_deleted_in_batches() {
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let rows = "create table tower_sessions as with recursive n(id) as \
        (select 1 union all select id + 1 from n where id < 2500) select id from n";
    sqlx::query(rows).execute(&pool).await.unwrap();
    clean_up(pool.clone()).await.unwrap();
    let left = sqlx::query_scalar("select count(*) from tower_sessions");
    let left: i64 = left.fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
}
