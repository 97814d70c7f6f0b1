//! Messages that are shown once: [`Flash`].

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tracing::warn;

use crate::{
    error::{Error, ErrorKind},
    record::value,
    session::Session,
};

/// The key that the messages are kept under.
const KEY: &str = "cloakroom.flash";

/// How many messages are kept at most.
const MAX_MESSAGES: usize = 32;

/// Messages for the visitor that are shown once, on the next page, such as "Saved".
///
/// With axum, a handler takes it as an argument. Elsewhere, use [`Flash::of`]. One handler adds messages and
/// redirects. The handler of the next page takes the messages and shows them. They survive any number of redirects,
/// and a log-in.
///
/// ```
/// use axum::response::Redirect;
/// use cloakroom::{Error, Flash};
///
/// async fn save(flash: Flash) -> Result<Redirect, Error> {
///     flash.success("Saved")?;
///     Ok(Redirect::to("/"))
/// }
///
/// async fn home(flash: Flash) -> Result<String, Error> {
///     let mut page = String::new();
///     for message in flash.take().await? {
///         page += &format!("{}: {}\n", message.level, message.payload);
///     }
///     Ok(page)
/// }
/// ```
///
/// - **No message is lost** when several requests add messages at the same time.
/// - **Each message is shown once.** [`take`](Self::take) removes the messages from the store before it returns them,
///   so only one of several tabs shows them. If the response is cancelled after that, the messages are lost.
/// - **The number is bounded.** At most 32 messages are kept. Another one replaces the oldest.
///
/// # Payloads
///
/// A message is a `String`, or any other type that serde can read and write. Use one type in the whole application,
/// for example an enum. A message of another type, for example from an older version of the application, is dropped
/// with a warning when it is taken.
///
/// ```
/// use cloakroom::{Error, Flash};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Notice {
///     Shipped { order: u64 },
/// }
///
/// fn shipped(flash: &Flash<Notice>, order: u64) -> Result<(), Error> {
///     flash.info(Notice::Shipped { order })
/// }
/// ```
///
/// # Errors
///
/// Adding a message has the errors of [`Session::update`]. Taking messages has the errors of [`Session::claim`].
/// ([Rule](crate#rules) U6.)
pub struct Flash<T = String> {
    session: Session,
    payload: PhantomData<fn(T) -> T>,
}

/// How important a message is. Its `Display` is its name in lower case, for use as a CSS class.
///
/// ```
/// use cloakroom::{Error, Flash, FlashLevel};
///
/// fn report(flash: &Flash, failed: usize) -> Result<(), Error> {
///     let level = if failed == 0 { FlashLevel::Success } else { FlashLevel::Warning };
///     flash.push(level, format!("{failed} rows failed"))
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlashLevel {
    /// For developers.
    Debug,
    /// Information.
    Info,
    /// The action of the visitor has succeeded.
    Success,
    /// Something may need attention.
    Warning,
    /// The action of the visitor has failed.
    Error,
}

/// A message of a [`Flash`]. [`Flash::take`] returns it.
///
/// ```
/// use cloakroom::FlashMessage;
///
/// /// The text of this application's messages needs no escaping in HTML.
/// fn html(message: &FlashMessage) -> String {
///     format!(r#"<p class="{}">{}</p>"#, message.level, message.payload)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlashMessage<T = String> {
    /// How important it is.
    pub level: FlashLevel,
    /// The message itself.
    pub payload: T,
}

/// A message as it is stored. The payload is read later, so that one of another type does not affect the others.
#[derive(Serialize, Deserialize)]
struct Kept {
    level: FlashLevel,
    payload: Box<RawValue>,
}

impl<T: Serialize + DeserializeOwned> Flash<T> {
    /// The messages of this session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        Self {
            session: session.clone(),
            payload: PhantomData,
        }
    }

    /// Adds a message.
    ///
    /// # Errors
    ///
    /// `Serialize` if the payload cannot be written as JSON. `TooLarge` if the session's data would exceed
    /// [`max_data_bytes`](crate::SessionLayer::max_data_bytes).
    pub fn push(&self, level: FlashLevel, payload: impl Into<T>) -> Result<(), Error> {
        let json = value::write(KEY, &payload.into())?;
        let Ok(payload) = serde_json::from_slice::<Box<RawValue>>(&json) else {
            let what = "the payload of a message does not serialize to JSON";
            return Err(Error::new(ErrorKind::Serialize, what));
        };
        let add = move |kept: Option<Vec<Kept>>| {
            let mut kept = kept.unwrap_or_default();
            let excess = (kept.len() + 1).saturating_sub(MAX_MESSAGES);
            kept.drain(..excess);
            kept.push(Kept {
                level,
                payload: payload.clone(),
            });
            kept
        };
        match self.session.update(KEY, add.clone()) {
            // The application has stored another value under this key.
            Err(error) if error.kind() == ErrorKind::Deserialize => {
                self.session.remove(KEY);
                self.session.update(KEY, add).map(drop)
            }
            added => added.map(drop),
        }
    }

    /// Adds a message for developers.
    ///
    /// # Errors
    ///
    /// The same as [`push`](Self::push).
    pub fn debug(&self, payload: impl Into<T>) -> Result<(), Error> {
        self.push(FlashLevel::Debug, payload)
    }

    /// Adds a message with information.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn info(&self, payload: impl Into<T>) -> Result<(), Error> {
        self.push(FlashLevel::Info, payload)
    }

    /// Adds a message about an action that succeeded.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn success(&self, payload: impl Into<T>) -> Result<(), Error> {
        self.push(FlashLevel::Success, payload)
    }

    /// Adds a warning.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn warning(&self, payload: impl Into<T>) -> Result<(), Error> {
        self.push(FlashLevel::Warning, payload)
    }

    /// Adds a message about an action that failed.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn error(&self, payload: impl Into<T>) -> Result<(), Error> {
        self.push(FlashLevel::Error, payload)
    }

    /// Removes and returns all messages, including those of this request, the oldest first. No other request gets
    /// them.
    ///
    /// If there are messages, it writes to the store at once, like [`Session::claim`]. If there are none, it makes no
    /// call.
    ///
    /// # Errors
    ///
    /// The store's errors. The messages may be lost then, but no other request has got them.
    pub async fn take(&self) -> Result<Vec<FlashMessage<T>>, Error> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let taken: Option<Box<RawValue>> = self.session.claim(KEY).await?;
        let taken = taken.as_ref().map_or("[]", |taken| taken.get());
        let taken: Vec<Kept> = serde_json::from_str(taken).unwrap_or_default();
        let messages = taken.into_iter().filter_map(|kept| {
            let Ok(payload) = serde_json::from_str(kept.payload.get()) else {
                warn!(level = %kept.level, "a flash message of another type was dropped");
                return None;
            };
            Some(FlashMessage {
                level: kept.level,
                payload,
            })
        });
        Ok(messages.collect())
    }
}

impl<T> Flash<T> {
    /// The number of messages that [`take`](Self::take) would return.
    #[must_use]
    pub fn len(&self) -> usize {
        let kept: Result<Option<Vec<Kept>>, _> = self.session.get(KEY);
        kept.ok().flatten().map_or(0, |kept| kept.len())
    }

    /// Whether [`take`](Self::take) would return no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.session.contains_key(KEY)
    }
}

impl<T> Clone for Flash<T> {
    fn clone(&self) -> Self {
        Self {
            session: self.session.clone(),
            payload: PhantomData,
        }
    }
}

/// Does not show the messages.
impl<T> fmt::Debug for Flash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flash")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl<T: fmt::Display> fmt::Display for FlashMessage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.payload.fmt(f)
    }
}

impl fmt::Display for FlashLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}
