//! Counts each visitor's visits: `cargo run --example counter`.

use std::{env, process::ExitCode};

use axum::{Router, response::Html, routing::get};
use cloakroom::{Error, Session, SessionLayer};
use tokio::net::TcpListener;

/// One page, and a session for whoever looks at it.
pub fn app() -> Router {
    Router::new()
        .route("/", get(counter))
        .layer(SessionLayer::default())
}

async fn counter(session: Session) -> Result<Html<String>, Error> {
    let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
    Ok(page(visits))
}

fn page(visits: u64) -> Html<String> {
    let hint = if visits == 1 {
        "Your browser has a ticket now. Reload the page."
    } else {
        "Another browser, or a private window, counts for itself."
    };
    Html(format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Visit {visits}</title>
<style>
body {{ margin: 0; min-height: 100vh; display: grid; place-content: center; text-align: center;
  font: 1.1rem/1.5 system-ui, sans-serif; color: #2b2b33; background: #f4f1ec }}
h1 {{ margin: 0; font-size: 4rem; line-height: 1.2; color: #8a3b2e }}
a {{ color: #8a3b2e }}
</style>
</head>
<body>
<main>
<h1>visit {visits}</h1>
<p>{hint}</p>
<p><a href="/">Visit again</a></p>
</main>
</body>
</html>
"#
    ))
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
    println!("http://localhost:{port}");
    match axum::serve(listener, app()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the server stopped: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, header},
    };
    use tower::ServiceExt;

    use super::*;

    /// The page, and the cookie that came with it.
    async fn visit(app: &Router, cookie: &str) -> (String, Option<String>) {
        let request = Request::get("/").header(header::COOKIE, cookie);
        let request = request.body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let set_cookie = response.headers().get(header::SET_COOKIE);
        let set_cookie = set_cookie.map(|value| value.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), set_cookie)
    }

    #[tokio::test]
    async fn each_visitor_counts_from_one() {
        let app = app();
        let (page, cookie) = visit(&app, "").await;
        assert!(page.contains("<h1>visit 1</h1>"));

        let cookie = cookie.expect("the first visit sets a cookie");
        assert!(cookie.starts_with("__Host-id="));
        let cookie = cookie.split(';').next().unwrap();
        let (page, again) = visit(&app, cookie).await;
        assert!(page.contains("<h1>visit 2</h1>"));
        assert_eq!(again, None);

        let (page, _) = visit(&app, "").await;
        assert!(page.contains("<h1>visit 1</h1>"));
    }
}
