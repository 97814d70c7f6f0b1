//! Who may use the console: [`Access`].

use std::{future::ready, net::SocketAddr};

use axum::extract::ConnectInfo;
use http::{Version, header, request::Parts};

/// Decides whether a request may use the console, and returns the operator's name.
///
/// Functions and closures that take the request's head implement it. The console calls it first, for every request.
///
/// ```
/// use axum::http::request::Parts;
/// use cloakroom::{SessionHandle, SessionLayer};
/// use cloakroom_console::console;
///
/// /// Admits users who are operators.
/// async fn operators(request: Parts) -> Option<String> {
///     let session = request.extensions.get::<SessionHandle>()?.load().await.ok()?;
///     let user = session.user()?;
///     ["olga", "otto"].contains(&&*user).then(|| user.to_string())
/// }
///
/// let layer = SessionLayer::default();
/// let app = axum::Router::<()>::new()
///     .nest("/console", console(layer.sessions(), operators))
///     .layer(layer);
/// ```
pub trait Access: Send + Sync + 'static {
    /// The operator's name. `None` if the request may not use the console. The response is a 403 then.
    fn operator(&self, request: Parts) -> impl Future<Output = Option<String>> + Send;
}

impl<F, R> Access for F
where
    F: Fn(Parts) -> R + Send + Sync + 'static,
    R: Future<Output = Option<String>> + Send,
{
    fn operator(&self, request: Parts) -> impl Future<Output = Option<String>> + Send {
        self(request)
    }
}

/// Admits browsers on the same machine, for development. [`loopback`] returns it.
#[derive(Clone, Copy, Debug)]
pub struct Loopback(());

/// Admits browsers on the same machine, as the operator `localhost`. Use it in development.
///
/// Start the server with the client's address
/// (`app.into_make_service_with_connect_info::<SocketAddr>()`). Refused are requests with a header that proxies add, such as
/// `X-Forwarded-For`, requests in HTTP/1.0, which nginx sends by default, and those for another host than `localhost`.
///
/// Do not use it behind a proxy. One on the same machine that adds no such header looks like a browser there, and lets everybody
/// in.
#[must_use]
pub fn loopback() -> Loopback {
    Loopback(())
}

impl Access for Loopback {
    fn operator(&self, request: Parts) -> impl Future<Output = Option<String>> + Send {
        ready(is_local(&request).then(|| "localhost".to_owned()))
    }
}

fn is_local(request: &Parts) -> bool {
    let address = request.extensions.get::<ConnectInfo<SocketAddr>>();
    // A socket for both versions of IP gives an address of version 4 as one of version 6.
    let is_near =
        address.is_some_and(|ConnectInfo(address)| address.ip().to_canonical().is_loopback());
    let proxies = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    let is_proxied = proxies
        .iter()
        .any(|name| request.headers.contains_key(*name));
    // Another host's name for this machine: a page of that host could read the answers.
    let host = request
        .headers
        .get(header::HOST)
        .map(|host| host.as_bytes());
    let host = host.or_else(|| request.uri.authority().map(|it| it.as_str().as_bytes()));
    // No browser sends HTTP/1.0.
    let is_proxied = is_proxied || request.version <= Version::HTTP_10;
    is_near && !is_proxied && host.is_some_and(is_local_name)
}

fn is_local_name(host: &[u8]) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let (host, port) = host.split_at(name.len().min(host.len()));
        let is_port =
            port.is_empty() || port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit);
        host.eq_ignore_ascii_case(name.as_bytes()) && is_port
    })
}
