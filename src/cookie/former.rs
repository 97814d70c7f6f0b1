//! A cookie as it was before it was renamed: [`FormerCookie`]. This is the setting. A session that comes under a former
//! name gets a new id when it is used, by `State::use_for`.

use std::time::SystemTime;

use crate::{
    clock::Timestamp,
    cookie::check::{HOST, check_domain, check_name, check_path, prefix_of},
    error::ConfigError,
};

/// A session cookie as it was before it was renamed, for
/// [`also_read`](crate::SessionCookieBuilder::also_read).
///
/// `also_read` takes a plain name as well. Use this type to say until when the name is read, and
/// with which `Path` and `Domain` the cookie was set, and whether it was `Partitioned`.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cloakroom::{FormerCookie, SessionCookie, SessionLayer};
///
/// // 2027-01-31 00:00 UTC: by then, all earlier sessions have expired.
/// let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_801_353_600);
/// let former = FormerCookie::new("id").domain("example.com").until(until);
/// let layer = SessionLayer::default()
///     .cookie(SessionCookie::new("shop").also_read(former));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct FormerCookie {
    pub(super) name: String,
    pub(super) until: Option<Timestamp>,
    pub(super) path: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) partitioned: Option<bool>,
}

impl FormerCookie {
    /// A cookie with this name, as it is in headers, with its prefix.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            until: None,
            path: None,
            domain: None,
            partitioned: None,
        }
    }

    /// Reads the name until this time, by the layer's clock. Default: always.
    ///
    /// Add at least the absolute timeout to the time of the renaming. All earlier sessions have
    /// expired by then.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time.into());
        self
    }

    /// The `Path` that the cookie was set with. Default: the new cookie's, or `/` for a name that
    /// starts with `__Host-`.
    ///
    /// A browser removes a cookie only if the path and the domain are the same as when it was set.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The `Domain` that the cookie was set with. Default: the new cookie's, or none for a name
    /// that starts with `__Host-`.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Whether the cookie was set as `Partitioned`. Default: as the new cookie.
    ///
    /// Browsers keep partitioned cookies apart from others, so a removal without the attribute does not reach them.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = Some(partitioned);
        self
    }

    /// Whether a browser could have kept such a cookie.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_name(&self.name)?;
        self.path.as_deref().map_or(Ok(()), check_path)?;
        self.domain.as_deref().map_or(Ok(()), check_domain)?;
        let is_host_bound = prefix_of(&self.name).is_some_and(|prefix| prefix.starts_with(HOST));
        let has_other_path = self.path.as_deref().is_some_and(|path| path != "/");
        if is_host_bound && (has_other_path || self.domain.is_some()) {
            return Err(ConfigError::new(format!(
                "`also_read` gives `{}` a path or a domain, but a cookie with this prefix had neither: remove them",
                self.name
            )));
        }
        Ok(())
    }
}

impl From<&str> for FormerCookie {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for FormerCookie {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<&String> for FormerCookie {
    fn from(name: &String) -> Self {
        Self::new(name)
    }
}
