//! The program of the page "Log in" of the guide.

use std::{fmt::Display, time::Duration};

use argon2::{
    Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _,
    password_hash::{SaltString, rand_core::OsRng},
};
use axum::{
    Form, Router,
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse as _, Redirect, Response, Result},
    routing::{get, post},
};
use cloakroom::{
    CurrentUser, Flash, RequireUser, ReturnTo, Session, SessionFilter, SessionLayer, Sessions,
    store::SqliteStore,
};
use serde::Deserialize;
use sqlx::SqlitePool;
use tokio::task::spawn_blocking;
use tower_http::csrf::CsrfLayer;

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const USERS: &str = "create table if not exists users (id integer primary key, \
    name text not null unique, password text not null, role text not null default 'member')";
/// A hash without a known password. Unknown names are checked against it, so that they take as long as others.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[derive(Clone)]
struct App {
    db: SqlitePool,
    sessions: Sessions,
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
    remember_me: Option<String>,
}

fn broken(error: impl Display) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Argon2 takes a while, so it runs on a thread for blocking work.
async fn hash(password: String) -> Result<String> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = spawn_blocking(move || {
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        hash.map(|hash| hash.to_string())
    });
    Ok(hash.await.map_err(broken)?.map_err(broken)?)
}

async fn matches(password: String, hash: String) -> Result<bool> {
    let checked = spawn_blocking(move || {
        let hash = PasswordHash::new(&hash)?;
        Argon2::default().verify_password(password.as_bytes(), &hash)
    });
    Ok(checked.await.map_err(broken)?.is_ok())
}

async fn sign_up(
    State(app): State<App>,
    session: Session,
    flash: Flash,
    to: ReturnTo,
    Form(given): Form<Credentials>,
) -> Result<Redirect> {
    if given.name.trim().is_empty() || given.password.chars().count() < 15 {
        flash.error("A name and at least 15 characters, please.")?;
        return Ok(Redirect::to(&format!("/login{}", to.query())));
    }
    let hash = hash(given.password).await?;
    let insert =
        "insert into users (name, password) values (?, ?) on conflict do nothing returning id";
    let insert = sqlx::query_scalar::<_, i64>(insert)
        .bind(given.name.trim())
        .bind(&hash);
    let Some(id) = insert.fetch_optional(&app.db).await.map_err(broken)? else {
        flash.error("That name is taken.")?;
        return Ok(Redirect::to(&format!("/login{}", to.query())));
    };
    session.log_in_with_stamp(id, &hash)?;
    if given.remember_me.is_some() {
        session.remember_for(MONTH);
    }
    Ok(Redirect::to(to.or("/account")))
}

async fn log_in(
    State(app): State<App>,
    session: Session,
    flash: Flash,
    to: ReturnTo,
    Form(given): Form<Credentials>,
) -> Result<Redirect> {
    let user =
        sqlx::query_as("select id, password from users where name = ?").bind(given.name.trim());
    let user: Option<(i64, String)> = user.fetch_optional(&app.db).await.map_err(broken)?;
    let (id, hash) = user.unwrap_or((0, NOBODY.to_owned()));
    if !matches(given.password, hash.clone()).await? {
        flash.error("The name or the password is wrong.")?;
        return Ok(Redirect::to(&format!("/login{}", to.query())));
    }
    session.log_in_with_stamp(id, &hash)?;
    if given.remember_me.is_some() {
        session.remember_for(MONTH);
    }
    Ok(Redirect::to(to.or("/account")))
}

async fn log_in_page(flash: Flash, to: ReturnTo) -> Result<Html<String>> {
    let mut page = String::new();
    for message in flash.take().await? {
        page += &format!("<p>{}</p>", message.payload);
    }
    for (path, title) in [("/login", "Log in"), ("/signup", "Sign up")] {
        page += &format!(
            r#"<form method="post" action="{path}{}"><input name="name"><input name="password" type="password">
<label><input name="remember_me" type="checkbox"> Remember me</label><button>{title}</button></form>"#,
            to.query()
        );
    }
    Ok(Html(page))
}

async fn log_out(session: Session) -> Redirect {
    session.destroy();
    Redirect::to("/login")
}

/// The user's devices, each with a button that logs it out.
async fn account(
    State(app): State<App>,
    CurrentUser(id): CurrentUser<i64>,
) -> Result<Html<String>> {
    let devices = app
        .sessions
        .list(&SessionFilter::default().user(id), None, 100)
        .await?;
    let mut page = String::new();
    for device in devices.sessions {
        let agent = device.label("user_agent").unwrap_or("unknown");
        let agent = agent.replace('&', "&amp;").replace('<', "&lt;");
        let id = device.id();
        page += &format!(
            r#"<form method="post" action="/devices">{agent} <button name="id" value="{id}">Log out</button></form>"#
        );
    }
    Ok(Html(page))
}

#[derive(Deserialize)]
struct Device {
    id: String,
}

async fn end_device(
    State(app): State<App>,
    CurrentUser(user): CurrentUser<i64>,
    Form(device): Form<Device>,
) -> Result<Redirect> {
    if let Ok(id) = device.id.parse() {
        // Ends nothing if the session is another user's.
        app.sessions.revoke_for(user, id).await?;
    }
    Ok(Redirect::to("/account"))
}

#[derive(Deserialize)]
struct NewPassword {
    old: String,
    new: String,
}

async fn change_password(
    State(app): State<App>,
    session: Session,
    CurrentUser(id): CurrentUser<i64>,
    Form(given): Form<NewPassword>,
) -> Result<Response> {
    let current = sqlx::query_scalar("select password from users where id = ?").bind(id);
    let current: String = current.fetch_one(&app.db).await.map_err(broken)?;
    if given.new.chars().count() < 15 || !matches(given.old, current).await? {
        return Ok(StatusCode::FORBIDDEN.into_response());
    }
    let hash = hash(given.new).await?;
    let update = sqlx::query("update users set password = ? where id = ?")
        .bind(&hash)
        .bind(id);
    update.execute(&app.db).await.map_err(broken)?;
    // This session continues. The user's other sessions end, because their stamp is the old hash.
    session.set_stamp(&hash)?;
    Ok(Redirect::to("/account").into_response())
}

/// For administrators. The role is read in each request, so that a change applies at once.
async fn admin(State(app): State<App>, CurrentUser(id): CurrentUser<i64>) -> Result<String> {
    let role = sqlx::query_scalar("select role from users where id = ?").bind(id);
    let role: String = role.fetch_one(&app.db).await.map_err(broken)?;
    if role != "admin" {
        return Err(StatusCode::NOT_FOUND.into());
    }
    let count = sqlx::query_scalar("select count(*) from users")
        .fetch_one(&app.db)
        .await;
    let count: i64 = count.map_err(broken)?;
    Ok(format!("{count} users"))
}

/// Users and sessions are in one database.
async fn app(db: SqlitePool) -> std::result::Result<Router, Box<dyn std::error::Error>> {
    sqlx::query(USERS).execute(&db).await?;
    let store = SqliteStore::new(db.clone());
    store.migrate().await?;
    let users = db.clone();
    let layer = SessionLayer::new(store)
        .log_in_page("/login")
        .log_out_page("/logout")
        .label_user_agent()
        .user_stamp(move |id| {
            let users = users.clone();
            async move {
                // The store keeps ids as text.
                let id: i64 = id
                    .parse()
                    .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                let stamp = sqlx::query_scalar("select password from users where id = ?").bind(id);
                stamp.fetch_optional(&users).await as sqlx::Result<Option<String>>
            }
        });
    let sessions = layer.sessions();
    Ok(Router::new()
        .route("/account", get(account))
        .route("/devices", post(end_device))
        .route("/password", post(change_password))
        .route("/admin", get(admin))
        .route_layer(RequireUser::new())
        .route("/login", get(log_in_page).post(log_in))
        .route("/signup", post(sign_up))
        .route("/logout", post(log_out))
        .with_state(App { db, sessions })
        .layer(layer)
        .layer(CsrfLayer::new()))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let app = app(SqlitePool::connect("sqlite:app.db?mode=rwc").await?).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

#[cfg(test)]
#[path = "../tests/log_in.rs"]
mod tests;
