//! hyper and tower, without axum: `cargo run --example tower_service --no-default-features`.

use std::{convert::Infallible, env, process::ExitCode, time::Duration};

use bytes::Bytes;
use cloakroom::{Error, SessionHandle, SessionLayer};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, signal, time::timeout};
use tower::{Layer, Service, service_fn};

/// How long the server waits at its end for running requests.
const PATIENCE: Duration = Duration::from_secs(5);

/// A service that counts visits, for requests with any body.
pub fn app<B>() -> impl Service<
    Request<B>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send,
> + Clone
+ Send
where
    B: Send + 'static,
{
    SessionLayer::default().layer(service_fn(visit))
}

async fn visit<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/" {
        return Ok(page(StatusCode::NOT_FOUND, "There is nothing here"));
    }
    // This is the only call of the store.
    let handle = request.extensions().get().cloned();
    Ok(
        match count(handle.expect("a SessionLayer around this")).await {
            Ok(visits) => page(StatusCode::OK, &format!("visit {visits}")),
            Err(error) if error.is_transient() => {
                page(StatusCode::SERVICE_UNAVAILABLE, "Please try again later")
            }
            Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong"),
        },
    )
}

async fn count(handle: SessionHandle) -> Result<u64, Error> {
    let session = handle.load().await?;
    session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)
}

fn page(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let html = format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{text}</title>
<style>
body {{ margin: 0; min-height: 100vh; display: grid; place-content: center;
  font: 1.1rem/1.5 system-ui, sans-serif; background: #f4f1ec }}
h1 {{ color: #8a3b2e }}
</style>
</head>
<body>
<h1>{text}</h1>
</body>
</html>
"#
    );
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .body(Full::from(html))
        .expect("these headers are valid")
}

#[tokio::main]
async fn main() -> ExitCode {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let address = format!("127.0.0.1:{port}");
    let listener = match TcpListener::bind(&address).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}; set PORT to a free port");
            return ExitCode::FAILURE;
        }
    };
    // Browsers accept Secure cookies on localhost over plain http.
    println!("http://localhost:{port} (Ctrl-C ends it)");
    let app = TowerToHyperService::new(app());
    let open = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = signal::ctrl_c() => break,
        };
        let connection = match accepted {
            Ok((connection, _)) => TokioIo::new(connection),
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                return ExitCode::FAILURE;
            }
        };
        let server = auto::Builder::new(TokioExecutor::new());
        let served = server.serve_connection(connection, app.clone());
        let served = open.watch(served.into_owned());
        tokio::spawn(async move {
            if let Err(error) = served.await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
    if timeout(PATIENCE, open.shutdown()).await.is_err() {
        eprintln!("some requests are not waited for any longer");
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(
        app: impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible>,
        path: &str,
        cookie: &str,
    ) -> (StatusCode, Option<String>, String) {
        let request = Request::get(path).header(header::COOKIE, cookie);
        let response = app.oneshot(request.body(()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let cookie = parts.headers.get(header::SET_COOKIE);
        let cookie = cookie.map(|cookie| cookie.to_str().unwrap().to_owned());
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            cookie,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_plain_tower_service_counts_visits() {
        let app = app();
        let (_, cookie, page) = get(app.clone(), "/", "").await;
        assert!(page.contains("<h1>visit 1</h1>"));
        let cookie = cookie.expect("the first visit sets a cookie");
        let cookie = cookie.split(';').next().unwrap();
        let (_, again, page) = get(app, "/", cookie).await;
        assert!(page.contains("<h1>visit 2</h1>"));
        assert_eq!(again, None);
    }

    #[tokio::test]
    async fn a_request_without_use_for_the_session_gets_none() {
        let (status, cookie, _) = get(app(), "/favicon.ico", "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(cookie, None);
    }
}
