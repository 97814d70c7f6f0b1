//! Whether a request shows that a `Secure` cookie will not come back: [`loses_secure_cookies`].

use http::{HeaderMap, HeaderName, Request, header, uri::Scheme};

use crate::cookie::has_header;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whether the client sent the request over plain http, as its URI or a proxy says, to a host
/// that is not this machine. Browsers send no `Secure` cookies then.
pub(crate) fn loses_secure_cookies<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    // Most requests have no header about the scheme.
    let names_scheme = |name: &HeaderName| *name == header::FORWARDED || *name == X_FORWARDED_PROTO;
    if request.uri().scheme().is_none() && !headers.keys().any(names_scheme) {
        return false;
    }
    let forwarded = |name| forwarded(headers, name);
    let scheme = forwarded("proto")
        .or_else(|| first(headers, X_FORWARDED_PROTO))
        .or_else(|| request.uri().scheme().map(Scheme::as_str));
    if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")) {
        return false;
    }
    let host = forwarded("host")
        .or_else(|| first(headers, X_FORWARDED_HOST))
        .or_else(|| request.uri().host())
        .or_else(|| first(headers, header::HOST));
    host.is_some_and(|host| !is_loopback(host))
}

/// The first value in a comma-separated header: what the proxy next to the client says.
fn first(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    if !has_header(headers, name.clone()) {
        return None;
    }
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.split(',').next()?.trim())
}

/// A parameter in the first element of a `Forwarded` header (RFC 7239).
fn forwarded<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    first(headers, header::FORWARDED)?
        .split(';')
        .find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let is_meant = key.trim().eq_ignore_ascii_case(name);
            is_meant.then(|| value.trim().trim_matches('"'))
        })
}

fn is_loopback(host: &str) -> bool {
    let name = if host.starts_with('[') {
        host.split_inclusive(']').next().unwrap_or(host)
    } else {
        host.split(':').next().unwrap_or(host)
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name == "[::1]"
        || name
            .parse()
            .is_ok_and(|address: std::net::Ipv4Addr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_over_plain_http_to_another_host_loses_secure_cookies() {
        let loses = |uri: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            loses_secure_cookies(&request.body(()).unwrap())
        };
        let host = ("host", "shop.example:3000");
        assert!(!loses("/", &[host]));
        assert!(loses("http://192.168.1.7:3000/", &[]));
        assert!(!loses("https://shop.example/", &[]));
        assert!(loses("/", &[host, ("x-forwarded-proto", "http")]));
        assert!(loses("/", &[host, ("x-forwarded-proto", "HTTP, https")]));
        assert!(!loses("/", &[host, ("x-forwarded-proto", "https, http")]));
        assert!(loses(
            "/",
            &[host, ("forwarded", "for=10.0.0.1;Proto=http, proto=https")]
        ));
        assert!(!loses(
            "http://shop.example/",
            &[("forwarded", "proto=\"https\"")]
        ));
        let proxied = [("host", "127.0.0.1"), ("x-forwarded-proto", "http")];
        assert!(!loses("/", &proxied));
        assert!(loses(
            "/",
            &[&proxied[..], &[("x-forwarded-host", "shop.example")]].concat()
        ));
        assert!(loses(
            "/",
            &[("forwarded", "host=\"shop.example:80\";proto=http")]
        ));
        for near in [
            "localhost:3000",
            "shop.localhost",
            "127.0.0.2",
            "[::1]:3000",
            "LocalHost.",
        ] {
            assert!(
                !loses("/", &[("host", near), ("x-forwarded-proto", "http")]),
                "{near}"
            );
        }
    }
}
