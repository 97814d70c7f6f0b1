//! Which value names the user: [`UserFrom`].

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::Value;

use crate::values::Values;

type Named = dyn Fn(&Value) -> Option<String> + Send + Sync;

/// The key of the value that names the user, and the function that reads the user from it.
#[derive(Clone)]
pub(crate) struct UserFrom {
    key: Cow<'static, str>,
    named: Arc<Named>,
}

impl UserFrom {
    pub(crate) fn new(
        key: impl Into<Cow<'static, str>>,
        named: impl Fn(&Value) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            key: key.into(),
            named: Arc::new(named),
        }
    }

    /// The user that the values name.
    pub(crate) fn of(&self, values: &Values) -> Option<String> {
        values.get(&*self.key).and_then(|value| (self.named)(value))
    }
}

impl fmt::Debug for UserFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserFrom").field(&self.key).finish()
    }
}

/// The user that axum-login's value names, for [`user_from`](crate::TowerSessionsLayer::user_from).
///
/// axum-login keeps the user's id in the field `user_id`. A number becomes its decimal digits, and a string stays as it is,
/// also a UUID that serializes as a string. Any other type becomes its JSON text. `None` if nobody is logged in.
///
/// ```
/// use cloakroom_tower_sessions::{TowerSessionsLayer, axum_login_user};
///
/// let layer = TowerSessionsLayer::new().user_from("axum-login.data", axum_login_user);
///
/// let data = serde_json::json!({ "user_id": 7, "auth_hash": [1, 2, 3] });
/// assert_eq!(axum_login_user(&data).as_deref(), Some("7"));
/// ```
#[must_use]
pub fn axum_login_user(data: &Value) -> Option<String> {
    match data.get("user_id")? {
        Value::Null => None,
        Value::String(id) => Some(id.clone()),
        id => Some(id.to_string()),
    }
}
