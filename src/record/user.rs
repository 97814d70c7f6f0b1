//! The id of a session's user: [`UserId`].

use std::{any::type_name, borrow::Cow, fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

use crate::error::{Error, ErrorKind};

/// The application's id of a user, as text.
///
/// [`Session::log_in`](crate::Session::log_in) and all other methods that take a user take any type that converts
/// into a `UserId`: a string, an integer or a [`Uuid`]. An integer is written in decimal, a UUID in lower case with
/// hyphens. The crate compares ids byte by byte.
///
/// Other types do not convert by themselves, even if they implement `Display`. Otherwise a display name could become
/// an id by accident. For an id type of your own, write the conversion:
///
/// ```
/// use cloakroom::{Error, Session, UserId};
///
/// struct AccountId(u64);
///
/// impl From<AccountId> for UserId {
///     fn from(id: AccountId) -> Self {
///         id.0.into()
///     }
/// }
///
/// fn log_in(session: &Session, account: AccountId) -> Result<(), Error> {
///     session.log_in(account)
/// }
/// ```
///
/// A type that only implements `Display` is not accepted:
///
/// ```compile_fail
/// use cloakroom::UserId;
///
/// let _ = UserId::from(std::path::Path::new("ann").display());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Box<str>);

impl UserId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_inner(self) -> Box<str> {
        self.0
    }

    /// The id as a `T`, the type that it was made from.
    ///
    /// # Errors
    ///
    /// `Deserialize` if it does not parse as a `T`.
    pub fn parse<T: FromStr>(&self) -> Result<T, Error> {
        parse(&self.0)
    }
}

/// `user` as a `T`. The error names the type, and not the id.
pub(crate) fn parse<T: FromStr>(user: &str) -> Result<T, Error> {
    user.parse().map_err(|_| {
        let what = format!(
            "the session's user id does not parse as {}",
            type_name::<T>()
        );
        Error::new(ErrorKind::Deserialize, what)
    })
}

macro_rules! from_strings {
    ($($string:ty),*) => {$(
        impl From<$string> for UserId {
            fn from(user: $string) -> Self {
                Self(user.into())
            }
        }
    )*};
}

macro_rules! from_references {
    ($($string:ty),*) => {$(
        impl From<&$string> for UserId {
            fn from(user: &$string) -> Self {
                Self((**user).into())
            }
        }
    )*};
}

macro_rules! from_numbers {
    ($($number:ty),*) => {$(
        impl From<$number> for UserId {
            fn from(user: $number) -> Self {
                Self(user.to_string().into())
            }
        }

        impl From<&$number> for UserId {
            fn from(user: &$number) -> Self {
                (*user).into()
            }
        }
    )*};
}

from_strings!(&str, String, Box<str>, Cow<'_, str>);
from_references!(&str, String, Box<str>, Cow<'_, str>, Arc<str>);
from_numbers!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, Uuid
);

impl From<Arc<str>> for UserId {
    fn from(user: Arc<str>) -> Self {
        Self((*user).into())
    }
}

impl From<&Self> for UserId {
    fn from(user: &Self) -> Self {
        user.clone()
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> Self {
        user.0.into()
    }
}

impl AsRef<str> for UserId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Does not show the id.
impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(..)")
    }
}
