//! The name and the attributes of the session cookie: [`SessionCookie`] and its builder.

use std::fmt;

use crate::{
    clock::Timestamp,
    cookie::{
        check::{HOST, SECURE, check_domain, check_name, check_path, prefix_of},
        former::FormerCookie,
    },
    error::ConfigError,
    record::realm::Realm,
};

/// The name and the attributes of the session cookie.
///
/// [`SessionCookie::new`] begins with a name. Pass the result to
/// [`SessionLayer::cookie`](crate::SessionLayer::cookie), which checks it. The default cookie is
/// `__Host-id` with `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/` and no `Domain`.
///
/// ```
/// use cloakroom::{SameSite, SessionCookie, SessionLayer};
///
/// // `__Host-shop`, which is not sent when another site links to this one.
/// let layer = SessionLayer::default()
///     .cookie(SessionCookie::new("shop").same_site(SameSite::Strict));
/// ```
///
/// [`build`](SessionCookieBuilder::build) returns an error if the attributes cannot work. Use
/// it if the name is not known when the program is compiled:
///
/// ```
/// use cloakroom::{ConfigError, SessionCookie, SessionLayer};
///
/// fn layer(cookie_name: &str) -> Result<SessionLayer, ConfigError> {
///     let cookie = SessionCookie::new(cookie_name).build()?;
///     Ok(SessionLayer::default().cookie(cookie))
/// }
/// assert!(layer("my shop").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SessionCookie {
    /// As it stands in headers, with its prefix.
    pub(super) name: String,
    pub(super) realm: Realm,
    pub(super) former: Vec<FormerName>,
    /// Everything behind the value but Max-Age.
    pub(super) attributes: String,
    is_secure: bool,
}

/// A name from `also_read`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FormerName {
    /// As it stands in headers, with its prefix.
    pub(super) name: String,
    pub(super) realm: Realm,
    /// The attributes of its removal, without Max-Age.
    pub(super) attributes: String,
    /// From when on it is not read.
    pub(super) until: Option<Timestamp>,
}

/// Whether browsers send the cookie with requests from other sites.
///
/// `Lax` and `Strict` keep the session out of most cross-site requests. They do not replace a
/// protection against cross-site request forgery: a form on another site that posts to your
/// log-in page can still log the visitor in, because the response to a top-level navigation may
/// set the cookie. A subdomain counts as the same site. tower-http's `CsrfLayer` protects against both.
///
/// ```
/// use cloakroom::{SameSite, SessionCookie, SessionLayer};
///
/// let layer = SessionLayer::default()
///     .cookie(SessionCookie::new("shop").same_site(SameSite::Strict));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SameSite {
    /// With no request from another site. A visitor who follows a link to the site arrives
    /// without their session.
    Strict,
    /// With top-level navigations, such as following a link, but not with forms that post, images,
    /// frames or scripts. The default.
    Lax,
    /// With every request. Needs `Secure`.
    None,
}

/// Whether the cookie name gets a prefix. Browsers accept a cookie with a prefix only if its
/// attributes fit the prefix.
///
/// ```
/// use cloakroom::{CookiePrefix, SessionCookie};
///
/// let cookie = SessionCookie::new("shop").build()?;
/// assert_eq!(cookie.name(), "__Host-shop");
/// let cookie = SessionCookie::new("shop").prefix(CookiePrefix::None).build()?;
/// assert_eq!(cookie.name(), "shop");
/// # Ok::<(), cloakroom::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CookiePrefix {
    /// `__Host-` for a `Secure` cookie with `Path=/` and no `Domain`, `__Secure-` for any other
    /// `Secure` cookie, and none for an insecure one. The default.
    #[default]
    Auto,
    /// No prefix. A subdomain or an insecure page can then set a cookie of this name.
    None,
}

/// A builder of a [`SessionCookie`]. [`SessionCookie::new`] returns it.
///
/// ```
/// use cloakroom::{SessionCookie, SessionLayer};
///
/// // `__Secure-shop`, which example.com shares with its subdomains.
/// let layer = SessionLayer::default()
///     .cookie(SessionCookie::new("shop").domain("example.com"));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionCookieBuilder {
    name: String,
    former: Vec<FormerCookie>,
    path: String,
    domain: Option<String>,
    same_site: SameSite,
    partitioned: bool,
    secure: bool,
    prefix: CookiePrefix,
}

impl SessionCookie {
    /// Returns a builder of a cookie with this name and the default attributes. Leave out the prefix, such
    /// as `__Host-`: the builder adds it according to the attributes.
    ///
    /// ```
    /// use cloakroom::{SessionCookie, SessionLayer};
    ///
    /// // `__Host-shop`
    /// let layer = SessionLayer::default().cookie(SessionCookie::new("shop"));
    /// ```
    #[allow(clippy::new_ret_no_self)]
    pub fn new(name: impl Into<String>) -> SessionCookieBuilder {
        SessionCookieBuilder {
            name: name.into(),
            former: Vec::new(),
            path: "/".to_owned(),
            domain: None,
            same_site: SameSite::Lax,
            partitioned: false,
            secure: true,
            prefix: CookiePrefix::Auto,
        }
    }

    /// The name as it appears in headers, with its prefix: `__Host-id` by default.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether browsers guarantee that no other host has set it.
    pub(crate) fn is_host_bound(&self) -> bool {
        self.name.starts_with(HOST)
    }

    /// Whether browsers send it over https only.
    pub(crate) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The realm of the sessions that it is issued for, unless the layer has another.
    pub(crate) fn realm(&self) -> Realm {
        self.realm
    }

    /// Whether it has this name, or a former one that is read.
    pub(crate) fn is_named(&self, name: &str, now: Timestamp) -> bool {
        name == self.name() || self.former_at(now).any(|former| former.name == name)
    }

    /// Whether the realm is that of its name, or of a former one that is read.
    pub(crate) fn reads(&self, realm: Realm, now: Timestamp) -> bool {
        realm == self.realm || self.former_at(now).any(|former| former.realm == realm)
    }

    pub(super) fn former_at(&self, now: Timestamp) -> impl Iterator<Item = &FormerName> {
        self.former
            .iter()
            .filter(move |former| former.until.is_none_or(|until| now < until))
    }
}

/// `__Host-id` with the default attributes.
impl Default for SessionCookie {
    fn default() -> Self {
        Self::new("id").build().expect("the defaults are valid")
    }
}

impl fmt::Debug for SessionCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCookie")
            .field("name", &self.name)
            .field("former", &self.former)
            .field("attributes", &self.attributes)
            .finish()
    }
}

impl SessionCookieBuilder {
    /// Sends the cookie only to this path and the paths below it. Default: `/`.
    ///
    /// With another path the name's prefix is `__Secure-`, because `__Host-` needs `Path=/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sends the cookie to this domain and its subdomains. Default: only to the host that set it.
    ///
    /// With a domain the name's prefix is `__Secure-`, and each subdomain can set a cookie of this
    /// name. If a request brings valid tokens of two sessions, or more tokens than are looked up,
    /// the visitor is anonymous for this request: a subdomain can keep a visitor logged out in
    /// this way, but cannot put them into a session of its choice.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Whether browsers send the cookie with requests from other sites. Default:
    /// [`SameSite::Lax`].
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Whether the cookie is `Partitioned`: a visitor has a separate cookie under each top-level site that
    /// embeds this one in a frame. Default: false.
    ///
    /// It needs `Secure`, and is useful only with [`SameSite::None`]: browsers do not send any other
    /// cookie to a frame in another site.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Leaves out `Secure`, so that browsers send the cookie over plain http too. Default:
    /// `Secure`. The name of an insecure cookie has no prefix.
    ///
    /// Use it in development only. You need it if the site is on a LAN address without https. Browsers
    /// send `Secure` cookies to `http://localhost` and `http://127.0.0.1`, except older versions of Safari.
    pub fn insecure(mut self) -> Self {
        self.secure = false;
        self
    }

    /// Whether the name gets a prefix. Default: [`CookiePrefix::Auto`].
    pub fn prefix(mut self, prefix: CookiePrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Accepts the token of a cookie with this former name too. Call it once for each former name.
    /// Default: none.
    ///
    /// Use it when you rename the cookie or change its attributes, so that visitors keep their
    /// sessions. It takes the name as it appeared in headers, with its prefix, such as `__Host-old`. It
    /// also takes a [`FormerCookie`], which can set until when the name is read.
    ///
    /// When a request loads a session under a former name, the session gets a new id, as by
    /// [`cycle_id`](crate::Session::cycle_id). The response sets the new cookie and removes the former
    /// one. So a copy of the former cookie no longer opens the session. Set [`FormerCookie::until`] for a
    /// name without prefix, because a subdomain or an insecure page can set a cookie of such a name.
    ///
    /// When the session is destroyed, the response removes the cookies with former names as well.
    ///
    /// ```
    /// use cloakroom::{SessionCookie, SessionLayer};
    ///
    /// // The cookie was `__Host-id` before.
    /// let layer = SessionLayer::default()
    ///     .cookie(SessionCookie::new("shop").also_read("__Host-id"));
    /// ```
    pub fn also_read(mut self, former: impl Into<FormerCookie>) -> Self {
        let former = former.into();
        self.former.retain(|known| known.name != former.name);
        self.former.push(former);
        self
    }

    /// Checks the name and the attributes.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] if browsers would not accept the cookie. Its message says which attribute is wrong,
    /// and what to do.
    pub fn build(self) -> Result<SessionCookie, ConfigError> {
        check_name(&self.name)?;
        if let Some(prefix) = prefix_of(&self.name) {
            return Err(ConfigError::new(format!(
                "the cookie name `{}` starts with `{prefix}`: remove the prefix, which follows from the attributes",
                self.name
            )));
        }
        check_path(&self.path)?;
        if let Some(domain) = &self.domain {
            check_domain(domain)?;
        }
        if !self.secure && self.same_site == SameSite::None {
            return Err(ConfigError::new(
                "SameSite=None needs Secure: remove `insecure()`, or use SameSite::Lax",
            ));
        }
        if !self.secure && self.partitioned {
            return Err(ConfigError::new(
                "Partitioned needs Secure: remove `insecure()` or `partitioned(true)`",
            ));
        }
        let prefix = match self.prefix {
            CookiePrefix::None => "",
            CookiePrefix::Auto if !self.secure => "",
            CookiePrefix::Auto if self.path == "/" && self.domain.is_none() => HOST,
            CookiePrefix::Auto => SECURE,
        };
        let name = format!("{prefix}{}", self.name);
        let mut former = Vec::with_capacity(self.former.len());
        for cookie in &self.former {
            if cookie.name == name {
                return Err(ConfigError::new(format!(
                    "`also_read` names `{name}`, which is the cookie's own name: remove it"
                )));
            }
            cookie.check()?;
            former.push(FormerName {
                name: cookie.name.clone(),
                realm: realm_of(&cookie.name)?,
                attributes: self.removal_of(cookie),
                until: cookie.until,
            });
        }
        Ok(SessionCookie {
            realm: realm_of(&name)?,
            former,
            attributes: self.attributes(),
            is_secure: self.secure,
            name,
        })
    }

    /// The attributes with which browsers accept the removal of this former cookie.
    fn removal_of(&self, former: &FormerCookie) -> String {
        let mut removal = self.clone();
        if let Some(path) = &former.path {
            removal.path.clone_from(path);
        }
        if former.domain.is_some() {
            removal.domain.clone_from(&former.domain);
        }
        removal.partitioned = former.partitioned.unwrap_or(removal.partitioned);
        // Browsers keep a partitioned cookie only if it is secure.
        removal.secure |= removal.partitioned;
        if let Some(prefix) = prefix_of(&former.name) {
            removal.secure = true;
            if prefix.starts_with(HOST) {
                removal.path = "/".to_owned();
                removal.domain = None;
            }
        }
        removal.attributes()
    }

    fn attributes(&self) -> String {
        let mut template = cookie::Cookie::build(("", ""))
            .http_only(true)
            .same_site(match self.same_site {
                SameSite::Strict => cookie::SameSite::Strict,
                SameSite::Lax => cookie::SameSite::Lax,
                SameSite::None => cookie::SameSite::None,
            })
            .secure(self.secure)
            .partitioned(self.partitioned)
            .path(self.path.as_str());
        if let Some(domain) = &self.domain {
            template = template.domain(domain.as_str());
        }
        // "=; HttpOnly; …": an empty name, an empty value, and all that follows them.
        template.build().to_string()[1..].to_owned()
    }
}

impl TryFrom<SessionCookieBuilder> for SessionCookie {
    type Error = ConfigError;

    /// [`SessionCookieBuilder::build`].
    fn try_from(cookie: SessionCookieBuilder) -> Result<Self, ConfigError> {
        cookie.build()
    }
}

fn realm_of(name: &str) -> Result<Realm, ConfigError> {
    Realm::named(name).ok_or_else(|| ConfigError::new("the program has too many cookie names"))
}
