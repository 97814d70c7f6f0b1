//! Shared by the examples: the layout of a page, errors as pages, and a server that ends on Ctrl-C.
#![allow(dead_code)] // Each example uses its part.

use std::{
    env, fmt::Display, future::Future, io, net::SocketAddr, pin::pin, process::ExitCode,
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderName, StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Response},
};
use cloakroom::Shutdown;
use tokio::{net::TcpListener, time::timeout};
use tower_http::csrf::CsrfLayer;

/// How long the server waits at its end for running requests. A supervisor should not kill it sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// A page with this title and this content.
pub(crate) fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:image/svg+xml,{ICON}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"#,
        style = include_str!("style.css"),
    ))
}

/// The icon, escaped for a URL.
const ICON: &str = "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%238a3b2e' \
                    d='M1 3h14v3a2 2 0 0 0 0 4v3H1v-3a2 2 0 0 0 0-4z'/%3E%3C/svg%3E";

/// A page that the browser does not keep. Otherwise the next person at the keyboard could go back to it.
pub(crate) type PrivatePage = ([(HeaderName, &'static str); 1], Html<String>);

pub(crate) fn private_page(title: &str, body: &str) -> PrivatePage {
    ([(header::CACHE_CONTROL, "no-store")], page(title, body))
}

/// Escapes text for HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Refuses forms that another site sends, and shows each error as a page.
///
/// `SameSite=Lax` alone is not enough: the browser sends no cookie with such a form, but it accepts the cookie in the
/// response, so another site could log a visitor in as somebody else.
pub(crate) fn finish(app: Router) -> Router {
    app.layer(CsrfLayer::new())
        .layer(middleware::map_response(show_error))
}

/// Replaces only the body of an error. Its headers say when to try again, and may remove a cookie. An answer in JSON is
/// for a program.
async fn show_error(response: Response) -> Response {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value == "application/json") {
        return response;
    }
    let (title, hint) = match response.status() {
        StatusCode::UNAUTHORIZED => (
            "Log in, please",
            "Your session has ended, or your log-in is too old for this.",
        ),
        StatusCode::FORBIDDEN => ("Not allowed", "This form belongs to another site."),
        StatusCode::NOT_FOUND => ("Nothing here", "There is no page at this address."),
        StatusCode::SERVICE_UNAVAILABLE => (
            "One moment",
            "Your session cannot be reached right now. Please try again in a few seconds.",
        ),
        status if status.is_server_error() => (
            "Something went wrong",
            "This is our fault. Please try again.",
        ),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            ("That did not fit", "A field of the form is missing.")
        }
        _ => return response,
    };
    let body =
        format!("<h1>{title}</h1>\n<p>{hint}</p>\n<p><a href=\"/\">Back to the start</a></p>");
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    (parts, page(title, &body)).into_response()
}

/// Serves on the port `PORT`, by default 3000, until Ctrl-C.
pub(crate) async fn serve(app: Router) -> ExitCode {
    serve_with(app, &Shutdown::new()).await
}

/// The same as [`serve`]. Sockets and streams that wait for `shutdown` end with it.
pub(crate) async fn serve_with(app: Router, shutdown: &Shutdown) -> ExitCode {
    let listener = match listen().await {
        Ok(listener) => listener,
        Err(message) => return fail(message),
    };
    match serve_until(listener, app, shutdown, asked_to_end()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("the server stopped: {error}")),
    }
}

/// Prints the error.
pub(crate) fn fail(message: impl Display) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

/// Listens on the port `PORT`, by default 3000, and prints the URL.
pub(crate) async fn listen() -> Result<TcpListener, String> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let address = format!("127.0.0.1:{port}");
    let listener = TcpListener::bind(&address).await;
    let listener = listener
        .map_err(|error| format!("cannot listen on {address}: {error}; set PORT to a free port"))?;
    // With `PORT=0` the system chooses it.
    let port = listener
        .local_addr()
        .map_or(port, |local| local.port().to_string());
    // Browsers accept Secure cookies on localhost over plain http.
    println!("http://localhost:{port} (Ctrl-C ends it)");
    Ok(listener)
}

/// Serves until `signal`. Then waits for running requests, but not for clients that never read their response.
pub(crate) async fn serve_until(
    listener: TcpListener,
    app: Router,
    shutdown: &Shutdown,
    signal: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let server = axum::serve(
        listener,
        app.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(shutdown.after(signal));
    let mut server = pin!(server.into_future());
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown.begun() => {}
    }
    if let Ok(ended) = timeout(PATIENCE, server).await {
        ended?;
    } else {
        eprintln!("some requests are not waited for any longer");
    }
    // Waits until the unfinished commits of cancelled requests are rolled back.
    shutdown.finish(PATIENCE).await;
    Ok(())
}

/// Waits for Ctrl-C, or for a supervisor's signal.
pub(crate) async fn asked_to_end() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            },
            Err(_) => drop(interrupted.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupted.await);
}

#[cfg(test)]
pub(crate) mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    use super::*;

    /// The status and the body of the answer to a form from another site.
    pub(crate) async fn form_from_another_site(app: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header("sec-fetch-site", "cross-site")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from("name=Eve&password=open+sesame"))
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers().get(header::SET_COOKIE), None);
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_error_is_a_page_and_keeps_its_headers() {
        let failing = || async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], "") };
        let app = finish(Router::new().route("/", axum::routing::get(failing)));
        for (path, title) in [("/", "One moment"), ("/favicon.ico", "Nothing here")] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            let retry = response.headers().get("retry-after").is_some();
            assert_eq!(retry, path == "/");
            assert!(
                response.headers()[header::CONTENT_TYPE]
                    .as_bytes()
                    .starts_with(b"text/html")
            );
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(&format!("<h1>{title}</h1>")), "{body}");
        }
    }
}
