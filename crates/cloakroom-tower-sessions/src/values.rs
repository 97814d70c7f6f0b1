//! All values of a session, as tower-sessions has them: [`Values`], and their conversion to cloakroom's.

use std::collections::HashMap;

use cloakroom::{Error, Session};
use serde_json::Value;

pub(crate) type Values = HashMap<String, Value>;

/// The values that `session` has now.
///
/// # Errors
///
/// `Deserialize` for a value that `serde_json::Value` cannot hold.
pub(crate) fn read(session: &Session) -> Result<Values, Error> {
    let mut values = Values::new();
    for key in session.keys() {
        if let Some(value) = session.get(&key)? {
            values.insert(key, value);
        }
    }
    Ok(values)
}

/// Applies the difference between `former` and `latter` to `session`. It does not touch other keys, because other requests may
/// change them at the same time.
///
/// # Errors
///
/// `TooLarge`. The values of `session` are as they were then.
pub(crate) fn write(session: &Session, former: &Values, latter: &Values) -> Result<(), Error> {
    replace(session, former, latter).map(drop)
}

/// Whether [`write`] would succeed.
///
/// # Errors
///
/// The same as [`write`].
pub(crate) fn check(session: &Session, former: &Values, latter: &Values) -> Result<(), Error> {
    let replaced = replace(session, former, latter)?;
    put_back(session, replaced)
}

/// Returns the keys that it changes, with their values before.
fn replace<'a>(
    session: &Session,
    former: &'a Values,
    latter: &'a Values,
) -> Result<Vec<(&'a String, Option<Value>)>, Error> {
    let mut replaced = Vec::new();
    let removed = former.keys().filter(|key| !latter.contains_key(*key));
    for key in removed {
        replaced.push((key, session.get::<Value>(key)?));
        session.remove(key);
    }
    let changed = latter
        .iter()
        .filter(|(key, value)| former.get(*key) != Some(value));
    for (key, value) in changed {
        let was = session.get::<Value>(key)?;
        if let Err(error) = session.insert(key, value) {
            put_back(session, replaced)?;
            return Err(error);
        }
        replaced.push((key, was));
    }
    Ok(replaced)
}

fn put_back(session: &Session, replaced: Vec<(&String, Option<Value>)>) -> Result<(), Error> {
    // Added values are removed first, so that there is room for the former ones.
    let (were_there, added): (Vec<_>, Vec<_>) =
        replaced.into_iter().partition(|(_, was)| was.is_some());
    for (key, _) in added {
        session.remove(key);
    }
    for (key, was) in were_there.into_iter().rev() {
        session.insert(key, was)?;
    }
    Ok(())
}
