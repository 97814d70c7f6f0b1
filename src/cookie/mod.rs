//! The cookie: [`SessionCookie`], request header → tokens, token → `Set-Cookie`, removal.

use std::{fmt, iter, slice};

use http::{HeaderMap, HeaderValue, header};

use crate::{
    error::ConfigError,
    http::headers::has,
    record::token::{TOKEN_CHARS, Token},
};

/// The cookie that carries the token: its name and attributes, checked.
///
/// Made by [`SessionCookie::new`] and [`SessionCookieBuilder::build`]. The
/// default is `__Host-id` with `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/`
/// and no `Domain`.
///
/// ```
/// use cloakroom::{SameSite, SessionCookie, SessionLayer};
///
/// let cookie = SessionCookie::new("sid").same_site(SameSite::Strict).build()?;
/// let layer = SessionLayer::default().cookie(cookie);
/// # Ok::<(), cloakroom::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SessionCookie {
    /// As it stands in headers, prefix included.
    name: String,
    former: Vec<String>,
    /// From behind the value to the end, without Max-Age.
    attributes: String,
}

/// Whether the cookie is sent with requests that other sites cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SameSite {
    /// Never.
    Strict,
    /// With top-level navigations, such as following a link. The default.
    Lax,
    /// Always. Needs `Secure`.
    None,
}

/// Whether the name gets the prefix by which browsers enforce the attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CookiePrefix {
    /// `__Host-` when Secure with Path=/ and no Domain, `__Secure-` when
    /// Secure otherwise, none when insecure. The default.
    #[default]
    Auto,
    /// None. A sibling domain or an insecure page can then plant cookies of this name.
    None,
}

/// A [`SessionCookie`] being described; [`build`](Self::build) checks it.
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionCookieBuilder {
    name: String,
    former: Vec<String>,
    path: String,
    domain: Option<String>,
    same_site: SameSite,
    partitioned: bool,
    secure: bool,
    prefix: CookiePrefix,
}

const HOST: &str = "__Host-";
const SECURE: &str = "__Secure-";
/// Prefixes that browsers know (RFC 6265bis and its successors), compared without case.
const PREFIXES: [&str; 4] = [HOST, SECURE, "__Http-", "__Host-Http-"];

impl SessionCookie {
    /// A cookie of this name, without prefix: the prefix follows from the attributes.
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

    /// The name as it stands in headers, prefix included.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether browsers guarantee that no other host has set it.
    pub(crate) fn is_host_bound(&self) -> bool {
        self.name.starts_with(HOST)
    }

    /// The tokens in the request's Cookie headers (rules T2, T5).
    pub(crate) fn presented(&self, headers: &CookieHeaders) -> Presented {
        let mut presented = Presented::default();
        for (rank, name) in self.names().enumerate() {
            for header in headers.iter() {
                for value in values(header.as_bytes(), name.as_bytes()) {
                    match Token::parse(value) {
                        Some(token) => presented.push(token, rank > 0),
                        None => presented.has_malformed = true,
                    }
                }
            }
        }
        presented
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        slice::from_ref(&self.name).iter().chain(&self.former)
    }

    /// The `Set-Cookie` that hands out `token`; `max_age` in seconds.
    pub(crate) fn issue(&self, token: &Token, max_age: Option<u64>) -> HeaderValue {
        let max_age = max_age.map(|seconds| format!("; Max-Age={seconds}"));
        let max_age = max_age.as_deref().unwrap_or_default();
        // All of it is filled: a header that has room to spare takes an allocation more.
        let length = self.name.len() + 1 + TOKEN_CHARS + self.attributes.len() + max_age.len();
        let mut header = Vec::with_capacity(length);
        header.extend_from_slice(self.name.as_bytes());
        header.push(b'=');
        header.extend_from_slice(&token.encode());
        header.extend_from_slice(self.attributes.as_bytes());
        header.extend_from_slice(max_age.as_bytes());
        sensitive(header)
    }

    /// Takes the cookie away, and those under former names, which would come back (rule C4).
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        let attributes = &self.attributes;
        let removal = |name: &String| {
            let removal =
                format!("{name}={attributes}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
            sensitive(removal.into_bytes())
        };
        self.set(headers, removal(&self.name));
        for former in &self.former {
            headers.append(header::SET_COOKIE, removal(former));
        }
    }

    /// Puts `cookie` among the response's headers, in place of any of this name (rule C3).
    pub(crate) fn set(&self, headers: &mut HeaderMap, cookie: HeaderValue) {
        let is_ours = |header: &HeaderValue| {
            header
                .as_bytes()
                .trim_ascii_start()
                .strip_prefix(self.name.as_bytes())
                .is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'='))
        };
        if has(headers, header::SET_COOKIE)
            && let header::Entry::Occupied(entry) = headers.entry(header::SET_COOKIE)
            && entry.iter().any(is_ours)
        {
            let (_, all) = entry.remove_entry_mult();
            let others: Vec<_> = all.filter(|header| !is_ours(header)).collect();
            for other in others {
                headers.append(header::SET_COOKIE, other);
            }
        }
        headers.append(header::SET_COOKIE, cookie);
    }
}

fn sensitive(header: Vec<u8>) -> HeaderValue {
    let mut value = HeaderValue::try_from(header).expect("name and attributes were checked");
    // Keeps it out of `Debug`, and out of HPACK's tables.
    value.set_sensitive(true);
    value
}

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
    /// Only for requests below this path. Default: `/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Also for the subdomains of this domain. Default: none, this host alone.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Whether it is sent with requests that other sites cause. Default: [`SameSite::Lax`].
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Kept apart for each top-level site that embeds this one. Default: false. Needs `Secure`.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Without `Secure`: sent over plain http too. Default: `Secure`, which
    /// browsers also honour on `http://localhost`.
    pub fn insecure(mut self) -> Self {
        self.secure = false;
        self
    }

    /// Whether the name gets a prefix. Default: [`CookiePrefix::Auto`].
    pub fn prefix(mut self, prefix: CookiePrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Accepts tokens under a former name too, and re-issues them under this
    /// one. The name as it stood in headers, prefix included: `__Host-old`.
    pub fn also_read(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if !self.former.contains(&name) {
            self.former.push(name);
        }
        self
    }

    /// Checks everything, once.
    ///
    /// # Errors
    ///
    /// Says which attribute cannot work and what to do about it.
    pub fn build(self) -> Result<SessionCookie, ConfigError> {
        check_name(&self.name)?;
        if let Some(prefix) = prefix_of(&self.name) {
            return Err(ConfigError::new(format!(
                "the cookie name `{}` starts with `{prefix}`: leave the prefix away, it follows from the attributes",
                self.name
            )));
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(is_attribute_byte) {
            return Err(ConfigError::new(format!(
                "the cookie path `{}` must start with `/` and have no control characters, `;` or non-ASCII: percent-encode them",
                self.path.escape_debug()
            )));
        }
        if let Some(domain) = &self.domain {
            check_domain(domain)?;
        }
        if !self.secure && self.same_site == SameSite::None {
            return Err(ConfigError::new(
                "SameSite=None needs Secure: leave `insecure()` away, or use SameSite::Lax",
            ));
        }
        if !self.secure && self.partitioned {
            return Err(ConfigError::new(
                "Partitioned needs Secure: leave `insecure()` or `partitioned(true)` away",
            ));
        }
        let prefix = match self.prefix {
            CookiePrefix::None => "",
            CookiePrefix::Auto if !self.secure => "",
            CookiePrefix::Auto if self.path == "/" && self.domain.is_none() => HOST,
            CookiePrefix::Auto => SECURE,
        };
        let name = format!("{prefix}{}", self.name);
        for former in &self.former {
            check_name(former)?;
            if *former == name {
                return Err(ConfigError::new(format!(
                    "`also_read` names `{name}`, which is the cookie's own name: leave it away"
                )));
            }
        }
        let attributes = self.attributes();
        Ok(SessionCookie {
            name,
            former: self.former,
            attributes,
        })
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

/// RFC 6265 section 4.1.1: a token of RFC 2616.
fn check_name(name: &str) -> Result<(), ConfigError> {
    let is_token_byte =
        |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(ConfigError::new(format!(
            "the cookie name `{}` must be one or more ASCII letters, digits or any of !#$%&'*+-.^_`|~",
            name.escape_debug()
        )));
    }
    Ok(())
}

fn check_domain(domain: &str) -> Result<(), ConfigError> {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !domain.split('.').all(is_label) {
        return Err(ConfigError::new(format!(
            "the cookie domain `{}` must be a host name such as `example.com`, without leading dot, port or scheme",
            domain.escape_debug()
        )));
    }
    Ok(())
}

/// RFC 6265 section 4.1.1: any character except control characters and `;`.
fn is_attribute_byte(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && byte != b';'
}

fn prefix_of(name: &str) -> Option<&'static str> {
    PREFIXES.into_iter().find(|prefix| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

/// The values of the cookies of exactly this name in one Cookie header.
///
/// By bytes: a neighbour that is not UTF-8 must not cost the visitor his session.
fn values<'a>(header: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(header);
    let pairs = iter::from_fn(move || {
        let pairs = rest?;
        let end = memchr::memchr(b';', pairs);
        rest = end.map(|end| &pairs[end + 1..]);
        Some(&pairs[..end.unwrap_or(pairs.len())])
    });
    pairs.filter_map(move |pair| {
        let value = pair
            .trim_ascii_start()
            .strip_prefix(name)?
            .strip_prefix(b"=")?;
        Some(value.trim_ascii_end())
    })
}

/// The Cookie headers of a request, shared with it: read when somebody asks for the session.
pub(crate) struct CookieHeaders {
    first: Option<HeaderValue>,
    others: Vec<HeaderValue>,
}

impl CookieHeaders {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(header::COOKIE).iter();
        Self {
            first: all.next().cloned(),
            others: all.cloned().collect(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &HeaderValue> {
        self.first.iter().chain(&self.others)
    }
}

/// How many tokens of a request are looked up at most (rule T5).
pub(crate) const MAX_PRESENTED: usize = 3;

/// The distinct well-formed tokens of a request, those under the cookie's own name first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presented {
    first: Option<PresentedToken>,
    others: Vec<PresentedToken>,
    /// Whether a cookie of the name has a value that is not a token.
    pub(crate) has_malformed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentedToken {
    pub(crate) token: Token,
    /// Under a name from `also_read`.
    pub(crate) is_former: bool,
}

impl Presented {
    fn push(&mut self, token: Token, is_former: bool) {
        let count = self.iter().count();
        if count >= MAX_PRESENTED || self.iter().any(|known| known.token.is_same(&token)) {
            return;
        }
        let presented = PresentedToken { token, is_former };
        if self.first.is_none() {
            self.first = Some(presented);
        } else {
            self.others.push(presented);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PresentedToken> {
        self.first.iter().chain(&self.others)
    }
}
