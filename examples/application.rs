//! A whole application: sign-up and log-in with argon2, "remember me", roles, flash messages, a cart, a payment that
//! asks for the password again, an API for a mobile app, devices, and a socket: `cargo run --example application`.
//!
//! The users are in memory instead of a database: see `site/users.rs`. The first user who signs up is the administrator.

mod site;
#[path = "site/users.rs"]
mod users;

use std::{collections::btree_map::Entry, process::ExitCode, time::Duration};

use axum::{
    Form, Json, Router,
    extract::{State, ws},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use cloakroom::{
    ClearSiteData, CurrentUser, Error, Flash, Key, RequireUser, ReturnTo, Session, SessionFilter,
    SessionLayer, Sessions, TimeLeft, Transport,
};
use serde::Deserialize;
use serde_json::{Value, json};

use self::{
    site::{PrivatePage, escape, private_page},
    users::{User, Users, hash},
};

type Page = Result<PrivatePage, Error>;
type Answer = Result<Redirect, Error>;

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// In bytes.
const MIN_PASSWORD: usize = 8;

/// The cart: how many hats are in it.
const HATS: Key<u32> = Key::new("hats");

#[derive(Clone)]
struct App {
    users: Users,
    sessions: Sessions,
}

/// The application, with its sessions in memory.
pub fn app() -> Router {
    app_with(SessionLayer::default())
}

/// The application, with the store and the clock of a layer.
pub fn app_with(layer: SessionLayer) -> Router {
    let users = Users::default();
    let stamps = users.clone();
    let layer = layer
        // Browsers have a cookie. The mobile app has a token in a header.
        .transport([Transport::Cookie, Transport::Bearer])
        .log_in_page("/login")
        .confirm_page("/confirm")
        .log_out_page("/logout")
        // A change of the password logs the other devices out.
        .user_stamp(move |name| {
            let user = stamps.find(&name);
            async { Ok::<_, Error>(user.map(|user| user.password_hash)) }
        })
        .label_user_agent()
        .max_sessions_per_user(10)
        .no_store_for_users(true)
        .clear_site_data([ClearSiteData::Cache]);
    let sessions = layer.sessions();
    // `route_layer`, so that a path that does not exist is 404 and not the log-in page.
    let for_users = Router::new()
        .route("/account", get(account))
        .route("/account/end", post(end_device))
        .route("/confirm", get(confirm_page).post(confirm))
        .route("/admin", get(admin))
        .route("/socket", get(socket))
        .route_layer(RequireUser::new());
    let for_payment = Router::new()
        .route("/pay", get(pay_page).post(pay))
        .route("/password", get(password_page).post(change_password))
        .route_layer(RequireUser::new().fresh(5 * MINUTE));
    let app = Router::new()
        .route("/", get(home))
        .route("/cart", post(add_to_cart))
        .route("/signup", post(sign_up))
        .route("/login", get(log_in_page).post(log_in))
        .route("/logout", post(log_out))
        .route("/api/login", post(log_in_app))
        .route("/api/logout", post(log_out_app))
        .route("/api/cart", post(add_to_cart_app))
        .route("/api/me", get(me))
        .route("/api/session", get(async |left: TimeLeft| left))
        .merge(for_users)
        .merge(for_payment)
        .with_state(App { users, sessions })
        .layer(layer);
    // It refuses forms that other sites send.
    site::finish(app)
}

async fn home(user: Option<CurrentUser>, session: Session, flash: Flash) -> Page {
    let links = match &user {
        Some(CurrentUser(name)) => format!(
            r#"<p>Hello, {}. <a href="/account">Account</a> <a href="/admin">Users</a></p>
<form method="post" action="/logout"><button class="quiet">Log out</button></form>"#,
            escape(name)
        ),
        None => r#"<p><a href="/login">Log in or sign up</a></p>"#.to_owned(),
    };
    let hats = session.get(HATS)?.unwrap_or(0);
    let body = format!(
        r#"<h1>Hats in your cart: {hats}</h1>{links}
<form method="post" action="/cart"><button>Add a hat</button></form>
<p><a href="/pay">Pay</a></p>"#
    );
    page("Shop", &flash, &body).await
}

async fn add_to_cart(session: Session) -> Answer {
    session.update(HATS, |hats| hats.unwrap_or(0).saturating_add(1))?;
    Ok(Redirect::to("/"))
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
    remember: Option<String>,
}

async fn log_in_page(flash: Flash, to: ReturnTo) -> Page {
    let form = |title: &str, path: &str, word: &str| {
        format!(
            r#"<h1>{title}</h1>
<form method="post" action="{path}{query}">
<label>Name <input name="name" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="{word}" required></label>
<label class="check"><input name="remember" type="checkbox"> Remember me for 30 days</label>
<button>{title}</button>
</form>"#,
            query = to.query()
        )
    };
    let log_in = form("Log in", "/login", "current-password");
    let sign_up = form("Sign up", "/signup", "new-password");
    page("Log in", &flash, &(log_in + &sign_up)).await
}

async fn sign_up(
    State(app): State<App>,
    session: Session,
    to: ReturnTo,
    Form(given): Form<Credentials>,
) -> Answer {
    let name = given.name.trim();
    if name.is_empty() || name.len() > 64 || given.password.len() < MIN_PASSWORD {
        let message = "A name, and a password of at least eight characters, please.";
        return refuse(&session, message, "/login", &to);
    }
    let password_hash = hash(&given.password).await;
    let user = {
        let mut users = app.users.0.lock();
        let is_admin = users.is_empty();
        let Entry::Vacant(entry) = users.entry(name.to_owned()) else {
            return refuse(&session, "That name is taken.", "/login", &to);
        };
        let user = User {
            password_hash,
            is_admin,
        };
        entry.insert(user).clone()
    };
    enter(&session, &user, &given, &to)
}

async fn log_in(
    State(app): State<App>,
    session: Session,
    to: ReturnTo,
    Form(given): Form<Credentials>,
) -> Answer {
    // A real service also limits how often one may try.
    match app.users.verify(given.name.trim(), &given.password).await {
        Some(user) => enter(&session, &user, &given, &to),
        None => refuse(&session, "That is not the password.", "/login", &to),
    }
}

fn enter(session: &Session, user: &User, given: &Credentials, to: &ReturnTo) -> Answer {
    session.log_in_with_stamp(given.name.trim(), &user.password_hash)?;
    if given.remember.is_some() {
        session.remember_for(MONTH);
    }
    Flash::<String>::of(session).success("Welcome!")?;
    Ok(Redirect::to(to.or("/")))
}

fn refuse(session: &Session, why: &str, page: &str, to: &ReturnTo) -> Answer {
    Flash::<String>::of(session).error(why)?;
    Ok(Redirect::to(&format!("{page}{}", to.query())))
}

/// The cart stays in the browser's next session.
async fn log_out(session: Session, flash: Flash) -> Answer {
    session.destroy_except([HATS])?;
    flash.info("You have logged out.")?;
    Ok(Redirect::to("/"))
}

async fn account(
    State(app): State<App>,
    session: Session,
    CurrentUser(user): CurrentUser,
    flash: Flash,
) -> Page {
    let filter = SessionFilter::default().user(user);
    let mut rows = String::new();
    for device in app.sessions.list(&filter, None, 100).await?.sessions {
        let id = device.id();
        let is_this = session.id() == Some(id);
        let mark = if is_this { " (this one)" } else { "" };
        let name = escape(device.label("user_agent").unwrap_or("Unknown device"));
        rows += &format!(
            r#"<li>{name}{mark} <form method="post" action="/account/end"><button name="id" value="{id}">Log out</button></form></li>"#
        );
    }
    let body = format!(
        r#"<h1>Your devices</h1><ul>{rows}</ul>
<p><a href="/password">Change the password</a> <a href="/">Back</a></p>
<p id="state" role="status">This page notices when you log out elsewhere.</p>
<script>
const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket');
socket.onmessage = message => document.getElementById('state').textContent = message.data;
</script>"#
    );
    page("Account", &flash, &body).await
}

#[derive(Deserialize)]
struct Device {
    id: String,
}

async fn end_device(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    Form(device): Form<Device>,
) -> Answer {
    if let Ok(id) = device.id.parse() {
        // Only one of their own.
        app.sessions.revoke_for(user, id).await?;
    }
    Ok(Redirect::to("/account"))
}

async fn admin(State(app): State<App>, CurrentUser(user): CurrentUser) -> Response {
    if !app.users.find(&user).is_some_and(|user| user.is_admin) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let names: Vec<String> = app.users.0.lock().keys().map(|name| escape(name)).collect();
    let list = format!("<h1>Users</h1><p>{}</p>", names.join(", "));
    private_page("Users", &list).into_response()
}

async fn confirm_page(flash: Flash, to: ReturnTo) -> Page {
    let path = format!("/confirm{}", to.query());
    let form = password_form("Your password, once more", &path, "current-password");
    page("Confirm", &flash, &form).await
}

#[derive(Deserialize)]
struct Password {
    password: String,
}

async fn confirm(
    State(app): State<App>,
    session: Session,
    CurrentUser(user): CurrentUser,
    to: ReturnTo,
    Form(given): Form<Password>,
) -> Answer {
    if app.users.verify(&user, &given.password).await.is_none() {
        return refuse(&session, "That is not the password.", "/confirm", &to);
    }
    session.confirm()?;
    Ok(Redirect::to(to.or("/")))
}

async fn pay_page(session: Session, flash: Flash) -> Page {
    let hats = session.get(HATS)?.unwrap_or(0);
    let body =
        format!(r#"<h1>Pay for {hats} hats</h1><form method="post"><button>Pay</button></form>"#);
    page("Pay", &flash, &body).await
}

/// If the visitor clicks twice, one request claims the cart.
async fn pay(session: Session, flash: Flash) -> Answer {
    match session.claim(HATS).await? {
        Some(hats) => flash.success(format!("Paid for {hats} hats."))?,
        None => flash.warning("There is nothing to pay for.")?,
    }
    Ok(Redirect::to("/"))
}

async fn password_page(flash: Flash) -> Page {
    let form = password_form("A new password", "/password", "new-password");
    page("Password", &flash, &form).await
}

async fn change_password(
    State(app): State<App>,
    session: Session,
    CurrentUser(user): CurrentUser,
    flash: Flash,
    Form(given): Form<Password>,
) -> Answer {
    if given.password.len() < MIN_PASSWORD {
        flash.error(format!("At least {MIN_PASSWORD} characters, please."))?;
        return Ok(Redirect::to("/password"));
    }
    let password_hash = hash(&given.password).await;
    if let Some(user) = app.users.0.lock().get_mut(&user) {
        user.password_hash.clone_from(&password_hash);
    }
    // This device stays logged in.
    session.set_stamp(password_hash)?;
    flash.success("The other devices are logged out.")?;
    Ok(Redirect::to("/account"))
}

/// The response has the token in `Authorization`. The session lives as long as that of a browser with "remember me".
async fn log_in_app(
    State(app): State<App>,
    session: Session,
    Json(given): Json<Credentials>,
) -> Result<Response, Error> {
    let name = given.name.trim();
    let Some(user) = app.users.verify(name, &given.password).await else {
        let error = Json(json!({ "error": "That is not the password." }));
        return Ok((StatusCode::FORBIDDEN, error).into_response());
    };
    session.set_transport(Transport::Bearer)?;
    session.log_in_with_stamp(name, &user.password_hash)?;
    session.remember_for(MONTH);
    Ok(Json(json!({ "name": name })).into_response())
}

async fn log_out_app(session: Session) -> StatusCode {
    session.destroy();
    StatusCode::NO_CONTENT
}

async fn add_to_cart_app(_: CurrentUser, session: Session) -> Result<Json<Value>, Error> {
    let hats = session.update(HATS, |hats| hats.unwrap_or(0).saturating_add(1))?;
    Ok(Json(json!({ "hats": hats })))
}

async fn me(CurrentUser(name): CurrentUser, session: Session) -> Result<Json<Value>, Error> {
    let hats = session.get(HATS)?.unwrap_or(0);
    Ok(Json(json!({ "name": name, "hats": hats })))
}

async fn socket(session: Session, upgrade: ws::WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        session.ended().await;
        let _ = socket.send(ws::Message::text("You are logged out.")).await;
    })
}

fn password_form(title: &str, path: &str, word: &str) -> String {
    format!(
        r#"<h1>{title}</h1><form method="post" action="{path}">
<label>Password <input name="password" type="password" autocomplete="{word}" required></label>
<button>Go on</button></form>"#
    )
}

async fn page(title: &str, flash: &Flash, body: &str) -> Page {
    let mut shown = String::new();
    for message in flash.take().await? {
        let (level, text) = (message.level, escape(&message.payload));
        shown += &format!(r#"<p class="banner {level}" role="status">{text}</p>"#);
    }
    Ok(private_page(title, &(shown + body)))
}

#[tokio::main]
async fn main() -> ExitCode {
    site::serve(app()).await
}

#[cfg(test)]
#[path = "site/application_tests.rs"]
mod tests;
