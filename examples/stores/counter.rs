//! What the examples of stores share: a counter over any of them, and its server.

use std::{env, error::Error, io};

use axum::{Router, routing::get};
use cloakroom::{Session, SessionLayer};
use tokio::net::TcpListener;

/// Counts each visitor's visits, in the layer's store.
pub(crate) fn app(layer: SessionLayer) -> Router {
    Router::new().route("/", get(counter)).layer(layer)
}

async fn counter(session: Session) -> Result<String, cloakroom::Error> {
    let visits = session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)?;
    Ok(format!("visit {visits}\n"))
}

/// What stands on the command line, or an error that says what should.
pub(crate) fn argument(expected: &str) -> Result<String, io::Error> {
    env::args()
        .nth(1)
        .ok_or_else(|| io::Error::other(format!("say where sessions are kept: {expected}")))
}

/// Serves the counter on the port `PORT`, by default 3000.
pub(crate) async fn serve(layer: SessionLayer) -> Result<(), Box<dyn Error>> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://localhost:{port}");
    axum::serve(listener, app(layer)).await?;
    Ok(())
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
            assert_eq!(body, format!("visit {visit}\n"));
        }
    }
}
