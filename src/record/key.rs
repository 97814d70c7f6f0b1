//! The key of a value: any string, or a [`Key`], which has the value's type too.

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use serde::Serialize;
use smallvec::SmallVec;

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
///
/// ```
/// use cloakroom::{KeyName, Session};
///
/// fn remove_all(session: &Session, keys: impl IntoIterator<Item: KeyName>) {
///     for key in keys {
///         session.remove(key);
///     }
/// }
/// ```
pub trait KeyName: sealed::Named {}

/// The types that name a value to be read as a `T`: any string, or a `Key<T>`. Other crates cannot
/// implement it.
///
/// ```
/// use cloakroom::{Error, ReadKey, Session};
///
/// fn number(session: &Session, key: impl ReadKey<u64>) -> Result<u64, Error> {
///     Ok(session.get(key)?.unwrap_or_default())
/// }
/// ```
pub trait ReadKey<T>: KeyName {}

/// The types that name a value to be written as a `V`. Other crates cannot implement it.
///
/// A string takes any value. A [`Key<T>`](Key) takes a `T`, a `&T`, and these types, whose JSON is the same:
///
/// | key of | also takes |
/// | --- | --- |
/// | `String` | `&str`, `Cow<str>` |
/// | `Vec<T>` | `&[T]`, `[T; N]`, `&[T; N]`, `Cow<[T]>` |
/// | `PathBuf` | `&Path`, `Cow<Path>` |
/// | `Box<T>`, `Rc<T>`, `Arc<T>`, `Cow<T>` | `&T` |
///
/// ```
/// use cloakroom::{Error, Key, Session};
///
/// const NAME: Key<String> = Key::new("name");
/// const TAGS: Key<Vec<u32>> = Key::new("tags");
///
/// fn fill_in(session: &Session, tags: &[u32]) -> Result<(), Error> {
///     session.insert(NAME, "Ann")?;
///     session.insert(TAGS, tags)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not take a value of type `{V}`",
    label = "this key takes another type",
    note = "a `Key<T>` takes a `T`, a `&T`, or its borrowed form: `&str` for `String`, `&[T]` for `Vec<T>`"
)]
pub trait WriteKey<V: Serialize>: KeyName {}

pub(crate) mod sealed {
    use super::Name;

    pub trait Named {
        fn name(&self) -> &str;

        fn to_name(&self) -> Name;
    }
}

/// The name of a key that a request has changed. Most names are short, and need no allocation.
#[derive(Clone, Debug)]
pub enum Name {
    /// Of a [`Key`].
    Const(&'static str),
    /// Of any string, in UTF-8.
    Own(SmallVec<[u8; 16]>),
}

impl Name {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Const(text) => text,
            Self::Own(bytes) => str::from_utf8(bytes).unwrap_or_default(),
        }
    }

    /// The text as bytes, which have the same order.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Const(text) => text.as_bytes(),
            Self::Own(bytes) => bytes,
        }
    }
}

macro_rules! string_keys {
    ($($string:ty),*) => {$(
        impl sealed::Named for $string {
            fn name(&self) -> &str {
                self
            }

            fn to_name(&self) -> Name {
                Name::Own(SmallVec::from_slice(self.as_bytes()))
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

    fn to_name(&self) -> Name {
        Name::Const(self.name)
    }
}

impl<T> KeyName for Key<T> {}
impl<T> ReadKey<T> for Key<T> {}
impl<T: Serialize> WriteKey<T> for Key<T> {}
impl<T: Serialize> WriteKey<&T> for Key<T> {}

/// Keys of a type that is the owner of another take the other by reference: its JSON is the same.
macro_rules! borrowed {
    ($([$($of:tt)*] $key:ty: $value:ty;)*) => {$(
        impl<$($of)*> WriteKey<$value> for Key<$key> {}
    )*};
}

borrowed! {
    [] String: &str;
    [] String: Cow<'_, str>;
    [] PathBuf: &Path;
    [] PathBuf: Cow<'_, Path>;
    [T: Serialize] Vec<T>: &[T];
    [T: Serialize + Clone] Vec<T>: Cow<'_, [T]>;
    [T: Serialize + ?Sized] Box<T>: &T;
    [T: Serialize + ?Sized] Rc<T>: &T;
    [T: Serialize + ?Sized] Arc<T>: &T;
    [T: Serialize + ToOwned + ?Sized] Cow<'_, T>: &T;
}

impl<T, const N: usize> WriteKey<[T; N]> for Key<Vec<T>> where [T; N]: Serialize {}
impl<T, const N: usize> WriteKey<&[T; N]> for Key<Vec<T>> where [T; N]: Serialize {}
