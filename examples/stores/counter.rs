//! Shared by the examples of stores: a counter and its server.

#[path = "../site/mod.rs"]
mod site;

use std::{env, error::Error, io, process::ExitCode};

use axum::{Router, response::Html, routing::get};
use cloakroom::{Session, SessionLayer};

/// Counts each visitor's visits, in the layer's store.
pub(crate) fn app(layer: SessionLayer) -> Router {
    site::finish(Router::new().route("/", get(counter)).layer(layer))
}

async fn counter(session: Session) -> Result<Html<String>, cloakroom::Error> {
    let visits = session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)?;
    let body = format!(
        r#"<h1>visit {visits}</h1>
<p>Restart the program: the counter continues.</p>
<p><a href="/">Visit again</a></p>"#
    );
    Ok(site::page(&format!("Visit {visits}"), &body))
}

/// The argument of the program, or an error that says what is `expected`.
pub(crate) fn argument(expected: &str) -> Result<String, io::Error> {
    env::args()
        .nth(1)
        .ok_or_else(|| io::Error::other(format!("the argument is missing: {expected}")))
}

/// Serves the counter with the layer that `connect` returns, on the port `PORT`, by default 3000.
pub(crate) async fn serve(
    connect: impl Future<Output = Result<SessionLayer, Box<dyn Error>>>,
) -> ExitCode {
    match connect.await {
        Ok(layer) => site::serve(app(layer)).await,
        Err(error) => site::fail(with_causes(&*error)),
    }
}

/// The error with its sources: the message of a driver is in a source.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, header},
    };
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_counter_goes_on_for_a_visitor_who_comes_back() {
        let app = app(SessionLayer::default());
        let mut cookie = String::new();
        for visit in 1..4 {
            let request = Request::get("/").header(header::COOKIE, &cookie);
            let request = request.body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            if let Some(set) = response.headers().get(header::SET_COOKIE) {
                let pair = set.to_str().unwrap().split(';').next();
                cookie = pair.unwrap().to_owned();
            }
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(&format!("<h1>visit {visit}</h1>")), "{body}");
        }
    }
}
