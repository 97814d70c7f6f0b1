//! Lets clients with a cookie use an app with tokens in a header.

use axum::{
    Router,
    extract::Request,
    middleware::{map_request, map_response},
    response::Response,
};
use cloakroom::Transport;
use http::{HeaderName, HeaderValue, header};

const COOKIE: &[u8] = b"__Host-id=";

/// Every transport.
pub(crate) fn every_transport() -> [Transport; 3] {
    let name = HeaderName::from_static("x-session");
    [
        Transport::Cookie,
        Transport::Bearer,
        Transport::Header(name),
    ]
}

/// Puts the value of each Cookie header into the transport's header, and the issued token back into a Set-Cookie.
pub(crate) fn carried(app: Router, transport: &Transport) -> Router {
    let (name, scheme) = match transport {
        Transport::Bearer => (header::AUTHORIZATION, &b"Bearer "[..]),
        Transport::Header(name) => (name.clone(), &b""[..]),
        _ => return app,
    };
    let issued = name.clone();
    app.layer(map_request(move |request| {
        let request = with_token(request, &name, scheme);
        async { request }
    }))
    .layer(map_response(move |response| {
        let response = with_cookie(response, &issued, scheme);
        async { response }
    }))
}

fn with_token(mut request: Request, name: &HeaderName, scheme: &[u8]) -> Request {
    let headers = request.headers_mut();
    let cookies: Vec<_> = headers
        .get_all(header::COOKIE)
        .into_iter()
        .cloned()
        .collect();
    headers.remove(header::COOKIE);
    for cookie in cookies {
        let cookie = cookie.as_bytes();
        let value = cookie.strip_prefix(COOKIE).unwrap_or(cookie);
        let value = HeaderValue::from_bytes(&[scheme, value].concat());
        headers.append(name, value.unwrap());
    }
    request
}

fn with_cookie(mut response: Response, name: &HeaderName, scheme: &[u8]) -> Response {
    let headers = response.headers_mut();
    if let Some(value) = headers.remove(name) {
        let token = value.as_bytes();
        let token = token.strip_prefix(scheme).unwrap_or(token);
        let end = if token.is_empty() { "; Max-Age=0" } else { "" };
        let cookie = [COOKIE, token, end.as_bytes()].concat();
        headers.append(
            header::SET_COOKIE,
            HeaderValue::from_bytes(&cookie).unwrap(),
        );
    }
    response
}
