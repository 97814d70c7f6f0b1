//! `Set-Cookie`: issuing the session cookie, and removing it.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    cookie::{
        settings::{FormerName, SessionCookie},
        token_headers::TokenHeaders,
    },
    record::{
        token::Token,
        token_keys::{self, TokenKeys},
    },
};

impl SessionCookie {
    /// The `Set-Cookie` that issues `token`. `max_age` is in seconds.
    pub(crate) fn issue(
        &self,
        token: &Token,
        keys: Option<&TokenKeys>,
        max_age: Option<u64>,
    ) -> HeaderValue {
        let max_age = max_age.map_or_else(String::new, text_of_max_age);
        // The exact length: spare capacity costs another allocation in `HeaderValue`.
        let length =
            self.name.len() + 1 + token_keys::length(keys) + self.attributes.len() + max_age.len();
        let mut header = Vec::with_capacity(length);
        header.extend_from_slice(self.name.as_bytes());
        header.push(b'=');
        token_keys::write_onto(token, keys, &mut header);
        header.extend_from_slice(self.attributes.as_bytes());
        header.extend_from_slice(max_age.as_bytes());
        sensitive(header)
    }

    /// Removes the cookie, and those under former names, which would bring the token back
    /// (rule C4).
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        self.set(headers, removal(&self.name, &self.attributes));
        for former in &self.former {
            headers.append(header::SET_COOKIE, former.removal());
        }
    }

    /// Removes the former cookies that came with the request: the new one is set.
    pub(crate) fn remove_former(&self, headers: &mut HeaderMap, presented: &TokenHeaders) {
        for former in &self.former {
            if presented.cookie_values(&former.name).next().is_some() {
                headers.append(header::SET_COOKIE, former.removal());
            }
        }
    }

    /// Puts `cookie` among the response's headers, in place of any of this name (rule C3).
    pub(crate) fn set(&self, headers: &mut HeaderMap, cookie: HeaderValue) {
        if has_header(headers, header::SET_COOKIE) {
            self.remove_earlier(headers);
        }
        headers.append(header::SET_COOKIE, cookie);
    }

    /// Removes what sets a cookie of this name from the response's headers.
    #[cold]
    fn remove_earlier(&self, headers: &mut HeaderMap) {
        let is_ours = |header: &HeaderValue| {
            header
                .as_bytes()
                .trim_ascii_start()
                .strip_prefix(self.name.as_bytes())
                .is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'='))
        };
        if let header::Entry::Occupied(entry) = headers.entry(header::SET_COOKIE)
            && entry.iter().any(is_ours)
        {
            let (_, all) = entry.remove_entry_mult();
            let others: Vec<_> = all.filter(|header| !is_ours(header)).collect();
            for other in others {
                headers.append(header::SET_COOKIE, other);
            }
        }
    }
}

impl FormerName {
    fn removal(&self) -> HeaderValue {
        removal(&self.name, &self.attributes)
    }
}

#[cold]
fn text_of_max_age(seconds: u64) -> String {
    format!("; Max-Age={seconds}")
}

fn removal(name: &str, attributes: &str) -> HeaderValue {
    let removal = format!("{name}={attributes}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    sensitive(removal.into_bytes())
}

/// Whether there is a header of this name. Comparing the few names costs less than hashing one.
pub(crate) fn has_header(headers: &HeaderMap, wanted: HeaderName) -> bool {
    headers.keys().any(|name| *name == wanted)
}

fn sensitive(header: Vec<u8>) -> HeaderValue {
    let mut value = HeaderValue::try_from(header).expect("name and attributes were checked");
    // Keeps it out of `Debug`, and out of HPACK's tables.
    value.set_sensitive(true);
    value
}
