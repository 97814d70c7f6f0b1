//! Which paths are safe to send a visitor to: [`is_local`].

use std::sync::Arc;

use percent_encoding::percent_decode_str;

/// How long a path may be, with its query, in bytes.
const MAX_BYTES: usize = 2048;

/// Whether `path` stays on this host, whatever a browser makes of it.
///
/// Browsers take `\` for `/`, leave out tabs and line breaks, and take what begins with two slashes for
/// another host.
pub(crate) fn is_local(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_rooted = matches!(bytes, [b'/'] | [b'/', b'!'..=b'.' | b'0'..=b'~', ..]);
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
    is_rooted && bytes.len() <= MAX_BYTES && bytes.iter().all(is_plain)
}

/// # Panics
///
/// If the path leads to another host.
#[track_caller]
pub(crate) fn check_page(path: &str) -> Arc<str> {
    assert!(
        is_local(path),
        "the page `{path}` is no path of this host: it begins with one `/`, and has neither `\\` nor spaces"
    );
    path.into()
}

/// Whether both paths lead to the same page, however they are written.
pub(crate) fn is_same_page(one: &str, other: &str) -> bool {
    segments(one) == segments(other)
}

/// As a browser, a proxy or a router may read them.
fn segments(path: &str) -> Vec<String> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut segments = Vec::new();
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_ascii_lowercase()),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_this_host_is_local() {
        let long = format!("/{}", "a".repeat(2047));
        for path in [
            "/",
            "/orders",
            "/orders?page=2&q=%2F%5C",
            "/~ann/a//b#c",
            "/?",
            &long,
        ] {
            assert!(is_local(path), "{path}");
        }
    }

    #[test]
    fn what_a_browser_takes_for_another_host_is_not_local() {
        let long = format!("/{}", "a".repeat(2048));
        for path in [
            "",
            "orders",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "/orders\r\nSet-Cookie: a=b",
            "/orders\0",
            "/a\\b",
            "/ü",
            "/\u{2028}/evil.example",
            &long,
        ] {
            assert!(!is_local(path), "{path:?}");
        }
    }

    #[test]
    fn a_page_is_the_same_in_every_spelling() {
        for path in [
            "/login",
            "/login/",
            "/login?next=/",
            "/login#a",
            "/LOGIN",
            "/%6Cogin",
            "/./login",
            "/a/../login",
            "/%2e/login",
            "//login",
            "/a%2f..%2flogin",
        ] {
            assert!(is_same_page(path, "/login"), "{path}");
        }
        for path in ["/", "/logins", "/log/in", "/login/help"] {
            assert!(!is_same_page(path, "/login"), "{path}");
        }
    }
}
