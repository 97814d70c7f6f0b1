//! The users of the example `application`, and their passwords.

use std::{collections::BTreeMap, sync::Arc};

use argon2::{
    Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _,
    password_hash::{SaltString, rand_core::OsRng},
};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

#[derive(Clone)]
pub(crate) struct User {
    pub(crate) password_hash: String,
    pub(crate) is_admin: bool,
}

/// In place of a table in a database.
#[derive(Clone, Default)]
pub(crate) struct Users(pub(crate) Arc<Mutex<BTreeMap<String, User>>>);

impl Users {
    pub(crate) fn find(&self, name: &str) -> Option<User> {
        self.0.lock().get(name).cloned()
    }

    /// The user with this name and this password. It takes as long for a name that nobody has.
    pub(crate) async fn verify(&self, name: &str, password: &str) -> Option<User> {
        let user = self.find(name);
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let password = password.to_owned();
        let is_right = spawn_blocking(move || {
            let hash = PasswordHash::new(hash.as_deref().unwrap_or(NOBODY)).ok()?;
            let argon2 = Argon2::default();
            argon2.verify_password(password.as_bytes(), &hash).ok()
        });
        is_right.await.ok().flatten().and(user)
    }
}

/// A hash that no password has.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A slow, salted hash: it takes a thread of its own.
pub(crate) async fn hash(password: &str) -> String {
    let password = password.to_owned();
    let hashed = spawn_blocking(move || {
        let salt = SaltString::generate(&mut OsRng);
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        hash.expect("the parameters are the defaults").to_string()
    });
    hashed.await.expect("hashing does not panic")
}
