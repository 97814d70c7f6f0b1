//! The key of a value: any string, or a [`Key`], which has the value's type too.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::Serialize;

/// The key of a value, together with the value's type.
///
/// Methods of a [`Session`](crate::Session) take any string as a key; each call then chooses the type. A
/// `Key` fixes the type in one place, so that a value cannot be written as one type and read as another.
///
/// ```
/// use cloakroom::{Error, Key, Session};
///
/// const CART: Key<Vec<String>> = Key::new("cart");
///
/// fn add(session: &Session, item: String) -> Result<(), Error> {
///     let mut cart = session.get(CART)?.unwrap_or_default();
///     cart.push(item);
///     session.insert(CART, &cart)
/// }
/// ```
pub struct Key<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// A key with this name, for a value of type `T`. Two keys with the same name name the same value.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    /// The name under which the value is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}

/// The types that name a value: `&str`, `String`, `&String`, `Cow<str>` and [`Key`]. Other crates cannot
/// implement it.
pub trait KeyName: sealed::Named {}

/// The types that name a value which is read as a `T`: any string, or a `Key<T>`. Other crates cannot
/// implement it.
pub trait ReadKey<T>: KeyName {}

/// The types that name a value which is written as a `V`: any string, or a `Key<T>` where `V` is `T` or `&T`.
/// Other crates cannot implement it.
pub trait WriteKey<V: Serialize>: KeyName {}

pub(crate) mod sealed {
    use std::borrow::Cow;

    pub trait Named {
        fn name(&self) -> &str;

        fn into_name(self) -> Cow<'static, str>;
    }
}

macro_rules! string_keys {
    ($($string:ty),*) => {$(
        impl sealed::Named for $string {
            fn name(&self) -> &str {
                self
            }

            fn into_name(self) -> Cow<'static, str> {
                Cow::Owned(self.into())
            }
        }

        impl KeyName for $string {}
        impl<T> ReadKey<T> for $string {}
        impl<V: Serialize> WriteKey<V> for $string {}
    )*};
}

string_keys!(&str, String, &String, Cow<'_, str>);

impl<T> sealed::Named for Key<T> {
    fn name(&self) -> &str {
        self.name
    }

    fn into_name(self) -> Cow<'static, str> {
        Cow::Borrowed(self.name)
    }
}

impl<T> KeyName for Key<T> {}
impl<T> ReadKey<T> for Key<T> {}
impl<T: Serialize> WriteKey<T> for Key<T> {}
impl<T: Serialize> WriteKey<&T> for Key<T> {}
