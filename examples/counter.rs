//! Counts each visitor's visits: `cargo run --example counter`.

mod site;

use std::process::ExitCode;

use axum::{Router, response::Html, routing::get};
use cloakroom::{Error, Session, SessionLayer};

/// One page, which counts the visits of each visitor.
pub fn app() -> Router {
    let app = Router::new()
        .route("/", get(counter))
        .layer(SessionLayer::default());
    site::finish(app)
}

async fn counter(session: Session) -> Result<Html<String>, Error> {
    let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
    Ok(page(visits))
}

fn page(visits: u64) -> Html<String> {
    let hint = if visits == 1 {
        r#"<p>Your browser has a session cookie now. Reload the page.</p>
<p class="hint">Does it stay at 1? Then your browser does not send the cookie back. Without https, browsers accept it
only on <code>localhost</code>: open the URL that the program printed. Older versions of Safari do not accept it there
either: use another browser, or https.</p>"#
    } else {
        "<p>Another browser, or a private window, has a session of its own.</p>"
    };
    let body = format!("<h1>visit {visits}</h1>\n{hint}\n<p><a href=\"/\">Visit again</a></p>");
    site::page(&format!("Visit {visits}"), &body)
}

#[tokio::main]
async fn main() -> ExitCode {
    site::serve(app()).await
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

    #[tokio::test]
    async fn the_first_page_says_what_to_do_where_the_cookie_does_not_come_back() {
        let app = app();
        let (page, cookie) = visit(&app, "").await;
        assert!(page.contains("Does it stay at 1?"));
        let cookie = cookie.unwrap();
        let (page, _) = visit(&app, cookie.split(';').next().unwrap()).await;
        assert!(!page.contains("Does it stay at 1?"));
    }
}
