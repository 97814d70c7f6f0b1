//! The console over a memory store with a hundred thousand visitors, whom the program plays.
//!
//! ```sh
//! cargo run --release -p cloakroom-console --example console   # PORT=8080 for another port than 3000
//! ```
//!
//! Then open <http://localhost:3000/console>.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, http::Request, response::Redirect, routing::get};
use cloakroom::{MemoryStore, Session, SessionLayer};
use cloakroom_console::{Console, loopback};
use http::header;
use tower::ServiceExt as _;

/// How many visitors there are.
const VISITORS: u64 = 100_000;

/// How often one of them asks for a page, in each second.
const VISITS: u64 = 400;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
    let layer = layer();
    tokio::spawn(play(layer.clone(), VISITORS, VISITS));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://localhost:{port}/console");
    let app = app(&layer).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

fn layer() -> SessionLayer {
    SessionLayer::new(MemoryStore::builder().max_bytes(96 * 1024 * 1024).build())
        .idle_timeout(Duration::from_secs(3600))
        .max_sessions_per_user(3)
}

fn app(layer: &SessionLayer) -> Router {
    let console = Console::new(layer.sessions(), loopback())
        .node("demo")
        .show_values();
    Router::new()
        .route("/", get(async || Redirect::to("/console")))
        .nest("/console", console.router())
}

/// A shop, as far as its sessions are concerned.
fn shop(layer: &SessionLayer) -> Router {
    Router::new()
        .route(
            "/look",
            get(async |session: Session| {
                session
                    .update("pages", |pages: Option<u32>| pages.unwrap_or(0) + 1)
                    .map(drop)
            }),
        )
        .route(
            "/buy",
            get(async |session: Session| {
                session
                    .update("cart", |cart: Option<Vec<usize>>| {
                        let mut cart = cart.unwrap_or_default();
                        cart.push(cart.len() * 7 + 1);
                        cart
                    })
                    .map(drop)
            }),
        )
        .route(
            "/log-in/{user}",
            get(
                async |session: Session, axum::extract::Path(user): axum::extract::Path<String>| {
                    session.insert("theme", "dark")?;
                    session.log_in(user)
                },
            ),
        )
        .route("/log-out", get(async |session: Session| session.destroy()))
        .layer(layer.clone())
}

/// Numbers that look random: a linear congruential generator is enough for a play.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const NAMES: [&str; 24] = [
    "ada",
    "alan",
    "barbara",
    "bjarne",
    "dennis",
    "dorothy",
    "donald",
    "edsger",
    "frances",
    "grace",
    "guido",
    "hedy",
    "james",
    "jean",
    "john",
    "katherine",
    "ken",
    "leslie",
    "linus",
    "margaret",
    "niklaus",
    "radia",
    "tim",
    "yukihiro",
];

/// Plays the visitors, until the program ends: first all of them come, then some at a time do something.
async fn play(layer: SessionLayer, visitors: u64, visits: u64) {
    let shop = shop(&layer);
    let mut dice = Dice(42);
    let mut cookies: Vec<Option<String>> = Vec::new();
    for visitor in 0..visitors {
        cookies.push(visit(&shop, "/look", None).await);
        if visitor % 1000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        for _ in 0..visits / 10 {
            let index = usize::try_from(dice.below(visitors)).unwrap_or(0);
            let former = cookies[index].clone();
            let cookie = match dice.below(100) {
                0..60 => visit(&shop, "/look", former).await,
                60..85 => visit(&shop, "/buy", former).await,
                85..93 => {
                    let user = NAMES[usize::try_from(dice.below(NAMES.len() as u64)).unwrap_or(0)];
                    let path = format!("/log-in/{user}.{}", dice.below(400));
                    visit(&shop, &path, former).await
                }
                93..97 => visit(&shop, "/log-out", former).await,
                // Somebody tries what is no cookie of ours, or none any more.
                97 => {
                    let name = former
                        .as_deref()
                        .and_then(|cookie| cookie.split('=').next());
                    let guess = format!("{}=guess", name.unwrap_or("session"));
                    visit(&shop, "/look", Some(guess)).await;
                    former
                }
                _ => None,
            };
            cookies[index] = cookie;
        }
    }
}

/// One request. Gives the cookie that the visitor has afterwards.
async fn visit(shop: &Router, path: &str, cookie: Option<String>) -> Option<String> {
    let mut request = Request::get(path);
    if let Some(cookie) = &cookie {
        request = request.header(header::COOKIE, cookie);
    }
    let request = request.body(Body::empty()).ok()?;
    let response = shop.clone().oneshot(request).await.ok()?;
    let set = response.headers().get(header::SET_COOKIE);
    let Some(set) = set.and_then(|set| set.to_str().ok()) else {
        return cookie;
    };
    let (pair, attributes) = set.split_once(';')?;
    (!attributes.contains("Max-Age=0")).then(|| pair.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::{extract::ConnectInfo, http::StatusCode};

    use super::*;

    #[tokio::test]
    async fn the_console_shows_the_visitors_that_the_program_plays() {
        let layer = layer();
        let playing = tokio::spawn(play(layer.clone(), 50, 10));
        while layer.sessions().count().await.unwrap() < 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        playing.abort();
        let mut request = Request::get("/console").header(header::HOST, "localhost:3000");
        let local = SocketAddr::from(([127, 0, 0, 1], 5000));
        request.extensions_mut().unwrap().insert(ConnectInfo(local));
        let response = app(&layer)
            .oneshot(request.body(Body::empty()).unwrap())
            .await;
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
}
