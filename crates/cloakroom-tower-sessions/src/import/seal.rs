//! Whether the old cookie's value is signed or encrypted: [`Seal`].

use cookie::Cookie;
#[cfg(any(feature = "signed", feature = "private"))]
use cookie::{CookieJar, Key};

pub(super) enum Seal {
    None,
    #[cfg(feature = "signed")]
    Signed(Key),
    #[cfg(feature = "private")]
    Private(Key),
}

impl Seal {
    /// The id in a cookie's value from the header. `None` if the signature or the encryption is not valid.
    pub(super) fn open(&self, name: &str, value: &str) -> Option<String> {
        // tower-sessions' cookies are percent-encoded.
        let cookie = Cookie::parse_encoded(format!("{name}={value}")).ok()?;
        let cookie = cookie.into_owned();
        let opened = match self {
            Self::None => cookie,
            #[cfg(feature = "signed")]
            Self::Signed(key) => CookieJar::new().signed(key).verify(cookie)?,
            #[cfg(feature = "private")]
            Self::Private(key) => CookieJar::new().private(key).decrypt(cookie)?,
        };
        Some(opened.value().to_owned())
    }
}
