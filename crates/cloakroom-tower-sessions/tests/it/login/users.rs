use std::{collections::HashSet, fmt};

use axum_login::{AuthUser, AuthnBackend, AuthzBackend, UserId};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqlitePool, raw_sql, sqlite::SqliteRow};

#[derive(Clone)]
pub(super) struct User {
    id: i64,
    pub(super) name: String,
    password_hash: Vec<u8>,
}

/// The hash is no part of a log.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl AuthUser for User {
    type Id = i64;

    fn id(&self) -> i64 {
        self.id
    }

    /// A changed password ends the user's sessions.
    fn session_auth_hash(&self) -> &[u8] {
        &self.password_hash
    }
}

#[derive(Clone, Deserialize)]
pub(super) struct Credentials {
    username: String,
    password: String,
    pub(super) next: Option<String>,
}

/// Users, groups and permissions in SQLite, as the example's migration has them.
#[derive(Clone)]
pub(super) struct Backend(SqlitePool);

// A test's passwords, and one round for speed; an application takes a password hash.
fn hash(password: &str) -> Vec<u8> {
    Sha256::digest(password).to_vec()
}

const SCHEMA: &str = "
    create table users (id integer primary key, username text not null unique, password blob not null);
    create table groups (id integer primary key, name text not null unique);
    create table permissions (id integer primary key, name text not null unique);
    create table users_groups (user_id integer not null, group_id integer not null);
    create table groups_permissions (group_id integer not null, permission_id integer not null);
    insert into groups (id, name) values (1, 'users'), (2, 'superusers');
    insert into permissions (id, name) values (1, 'protected.read'), (2, 'restricted.read');
    insert into groups_permissions values (1, 1), (2, 2);
    insert into users_groups values (1, 1), (2, 1), (2, 2);
";

impl Backend {
    pub(super) async fn new(pool: SqlitePool) -> Self {
        raw_sql(SCHEMA).execute(&pool).await.unwrap();
        let backend = Self(pool);
        for (id, name) in [(1, "ferris"), (2, "admin")] {
            let insert = sqlx::query("insert into users values (?, ?, ?)");
            let insert = insert.bind(id).bind(name).bind(hash("hunter42"));
            insert.execute(&backend.0).await.unwrap();
        }
        backend
    }

    pub(super) async fn change_password(&self, name: &str, password: &str) {
        let update = sqlx::query("update users set password = ? where username = ?");
        let update = update.bind(hash(password)).bind(name.to_owned());
        update.execute(&self.0).await.unwrap();
    }
}

fn user(row: Option<SqliteRow>) -> Option<User> {
    row.map(|row| User {
        id: row.get("id"),
        name: row.get("username"),
        password_hash: row.get("password"),
    })
}

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = Credentials;
    type Error = sqlx::Error;

    async fn authenticate(&self, creds: Credentials) -> Result<Option<User>, sqlx::Error> {
        let select = sqlx::query("select * from users where username = ?").bind(creds.username);
        let user = user(select.fetch_optional(&self.0).await?);
        Ok(user.filter(|user| user.password_hash == hash(&creds.password)))
    }

    async fn get_user(&self, id: &UserId<Self>) -> Result<Option<User>, sqlx::Error> {
        let select = sqlx::query("select * from users where id = ?").bind(*id);
        Ok(user(select.fetch_optional(&self.0).await?))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Permission(String);

impl From<&str> for Permission {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl AuthzBackend for Backend {
    type Permission = Permission;

    async fn get_group_permissions(&self, user: &User) -> Result<HashSet<Permission>, sqlx::Error> {
        let select = sqlx::query(
            "select permissions.name from users_groups
             join groups_permissions using (group_id)
             join permissions on permissions.id = groups_permissions.permission_id
             where users_groups.user_id = ?",
        );
        let rows = select.bind(user.id).fetch_all(&self.0).await?;
        Ok(rows
            .into_iter()
            .map(|row| Permission(row.get("name")))
            .collect())
    }
}
