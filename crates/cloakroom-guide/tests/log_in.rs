//! The program of the page "Log in", in the hands of its users.

mod support;

use sqlx::sqlite::SqlitePoolOptions;

use self::support::Visitor;
use super::*;

const ANN: &str = "name=Ann&password=correct+horse+battery";

async fn begin() -> (Router, SqlitePool) {
    let pool = SqlitePoolOptions::new().max_connections(1);
    let db = pool.connect("sqlite::memory:").await.unwrap();
    (app(db.clone()).await.unwrap(), db)
}

#[tokio::test]
async fn who_signs_up_is_logged_in_and_a_name_is_taken_once() {
    let (app, db) = begin().await;
    let (mut ann, mut eve) = (Visitor::new(&app, "Firefox"), Visitor::new(&app, "Curl"));
    assert_eq!(ann.get("/account").await.to, "/login?next=%2Faccount");
    assert_eq!(
        ann.post("/signup", "name=Ann&password=short").await.to,
        "/login"
    );
    assert!(ann.get("/login").await.body.contains("at least 15"));
    let there = "/signup?next=%2Faccount%3Fpage%3D2";
    assert_eq!(ann.post(there, ANN).await.to, "/account?page=2");
    assert!(ann.get("/account").await.body.contains("Firefox"));
    assert_eq!(eve.post("/signup", ANN).await.to, "/login");
    assert!(eve.get("/login").await.body.contains("taken"));
    let kept: String = sqlx::query_scalar("select password from users")
        .fetch_one(&db)
        .await
        .unwrap();
    assert!(kept.starts_with("$argon2id$"));
}

#[tokio::test]
async fn a_log_in_leads_back_and_is_remembered_if_asked_for() {
    let (app, _) = begin().await;
    Visitor::new(&app, "Firefox").post("/signup", ANN).await;
    let mut ann = Visitor::new(&app, "<b>Phone</b>");
    for wrong in ["name=Ann&password=guess", "name=Nobody&password=guess"] {
        assert_eq!(
            ann.post("/login?next=%2Fadmin", wrong).await.to,
            "/login?next=%2Fadmin"
        );
        assert!(ann.get("/login").await.body.contains("is wrong"));
    }
    let remembered = format!("{ANN}&remember_me=on");
    assert_eq!(
        ann.post("/login?next=%2Fadmin", &remembered).await.to,
        "/admin"
    );
    let page = ann.get("/account").await.body;
    assert!(
        page.contains("Firefox") && page.contains("&lt;b>Phone"),
        "{page}"
    );
    assert_eq!(ann.post("/logout", "").await.to, "/login");
    assert_eq!(ann.cookie, None);
}

#[tokio::test]
async fn a_change_of_the_password_ends_the_other_devices_and_one_ends_another() {
    let (app, _) = begin().await;
    let (mut ann, mut phone) = (Visitor::new(&app, "Firefox"), Visitor::new(&app, "Phone"));
    ann.post("/signup", ANN).await;
    phone.post("/login", ANN).await;
    let refused = ann
        .post("/password", "old=guess&new=a+new+and+long+one")
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let change = "old=correct+horse+battery&new=a+new+and+long+one";
    assert_eq!(ann.post("/password", change).await.to, "/account");
    assert_eq!(ann.get("/account").await.status, StatusCode::OK);
    assert_eq!(phone.get("/account").await.to, "/login?next=%2Faccount");
    phone
        .post("/login", "name=Ann&password=a+new+and+long+one")
        .await;
    // The phone's own button.
    let page = ann.get("/account").await.body;
    let row = page
        .split("<form")
        .find(|row| row.contains("Phone"))
        .unwrap();
    let id = row
        .split("value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let mut bob = Visitor::new(&app, "Firefox");
    bob.post("/signup", "name=Bob&password=correct+horse+battery")
        .await;
    bob.post("/devices", &format!("id={id}")).await;
    assert_eq!(phone.get("/account").await.status, StatusCode::OK);
    ann.post("/devices", &format!("id={id}")).await;
    assert_eq!(phone.get("/account").await.to, "/login?next=%2Faccount");
}

#[tokio::test]
async fn a_role_counts_from_the_next_request() {
    let (app, db) = begin().await;
    let mut ann = Visitor::new(&app, "Firefox");
    ann.post("/signup", ANN).await;
    assert_eq!(ann.get("/admin").await.status, StatusCode::NOT_FOUND);
    let promote = sqlx::query("update users set role = 'admin'");
    promote.execute(&db).await.unwrap();
    assert_eq!(ann.get("/admin").await.body, "1 users");
}

#[test]
fn a_name_that_nobody_has_takes_as_long_as_another() {
    let nobody = PasswordHash::new(NOBODY).unwrap();
    let refused = Argon2::default().verify_password(b"guess", &nobody);
    assert_eq!(refused, Err(argon2::password_hash::Error::Password));
}
