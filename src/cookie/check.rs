//! Which names, paths and domains a cookie may have.

use crate::error::ConfigError;

pub(super) const HOST: &str = "__Host-";
pub(super) const SECURE: &str = "__Secure-";

/// The prefixes that browsers know (RFC 6265bis and its successors). They ignore case.
const PREFIXES: [&str; 4] = [HOST, SECURE, "__Http-", "__Host-Http-"];

/// The prefix that a browser sees in a cookie name.
pub(super) fn prefix_of(name: &str) -> Option<&'static str> {
    PREFIXES.into_iter().find(|prefix| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

/// RFC 6265 section 4.1.1: a token of RFC 2616.
pub(super) fn check_name(name: &str) -> Result<(), ConfigError> {
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

/// RFC 6265 section 4.1.1: any character except control characters and `;`.
pub(super) fn check_path(path: &str) -> Result<(), ConfigError> {
    let is_attribute_byte = |byte| (b' '..=b'~').contains(&byte) && byte != b';';
    if !path.starts_with('/') || !path.bytes().all(is_attribute_byte) {
        return Err(ConfigError::new(format!(
            "the cookie path `{}` must start with `/` and have no control characters, `;` or non-ASCII: percent-encode them",
            path.escape_debug()
        )));
    }
    Ok(())
}

pub(super) fn check_domain(domain: &str) -> Result<(), ConfigError> {
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
