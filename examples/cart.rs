//! A shopping cart as a typed value of the session: `cargo run --example cart`.
//!
//! Two tabs that add at once lose nothing: an update that meets a fresher cart
//! runs again on that.

use std::{collections::BTreeMap, env, fmt::Write as _, process::ExitCode};

use axum::{
    Form, Router,
    response::{Html, Redirect},
    routing::{get, post},
};
use cloakroom::{Error, Key, Session, SessionData, SessionLayer, SessionValue};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// What is for sale. An order names the goods by their place here.
const GOODS: [&str; 3] = ["Hat stand", "Umbrella", "Scarf"];

/// Pieces, by the goods' place in [`GOODS`].
#[derive(Default, Serialize, Deserialize)]
struct Cart {
    pieces: BTreeMap<usize, u32>,
}

impl SessionValue for Cart {
    const KEY: &str = "cart";
}

/// A key that says what it holds: whatever else is inserted under it does not compile.
const GIFT: Key<bool> = Key::new("gift");

/// The shop, with its cart in the session.
pub fn app() -> Router {
    Router::new()
        .route("/", get(shop))
        .route("/add", post(add))
        .route("/gift", post(gift))
        .route("/empty", post(empty))
        .layer(SessionLayer::default())
}

#[derive(Deserialize)]
struct Order {
    goods: usize,
}

async fn add(mut cart: SessionData<Cart>, Form(order): Form<Order>) -> Result<Redirect, Error> {
    if order.goods < GOODS.len() {
        cart.update(move |cart| {
            let pieces = cart.pieces.entry(order.goods).or_default();
            *pieces = pieces.saturating_add(1);
        })?;
    }
    Ok(Redirect::to("/"))
}

async fn gift(session: Session) -> Result<Redirect, Error> {
    session.update(GIFT, |is_gift| !is_gift.unwrap_or(false))?;
    Ok(Redirect::to("/"))
}

async fn empty(session: Session) -> Redirect {
    session.remove(Cart::KEY);
    session.remove(GIFT);
    Redirect::to("/")
}

async fn shop(cart: SessionData<Cart>) -> Result<Html<String>, Error> {
    let is_gift = cart.session().get(GIFT)?.unwrap_or(false);
    let mut rows = String::new();
    for (goods, name) in GOODS.iter().enumerate() {
        let pieces = cart.pieces.get(&goods).copied().unwrap_or(0);
        let _ = write!(
            rows,
            r#"<tr><td>{name}</td><td class="number">{pieces}</td>
<td><form method="post" action="/add"><button name="goods" value="{goods}" aria-label="Add: {name}">Add</button></form></td></tr>
"#
        );
    }
    let (wrapping, change) = if is_gift {
        ("It will be wrapped as a gift.", "Do not wrap it")
    } else {
        ("It will not be wrapped.", "Wrap it as a gift")
    };
    let total: u64 = cart.pieces.values().copied().map(u64::from).sum();
    Ok(page(&format!(
        r#"<h1>Your cart: {total}</h1>
<table>
<thead><tr><th>Goods</th><th class="number">Pieces</th><th><span class="hidden">Order</span></th></tr></thead>
<tbody>
{rows}</tbody>
</table>
<p>{wrapping}</p>
<div class="actions">
<form method="post" action="/gift"><button>{change}</button></form>
<form method="post" action="/empty"><button>Empty the cart</button></form>
</div>
<p class="hint">Open a second tab, and add in both.</p>"#
    )))
}

fn page(body: &str) -> Html<String> {
    Html(format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cart</title>
<style>
body {{ margin: 0; padding: 8vh 1rem; font: 1rem/1.5 system-ui, sans-serif; color: #2b2b33; background: #f4f1ec }}
main {{ max-width: 26rem; margin: auto; padding: 2rem; background: #fff; border-radius: 0.5rem; box-shadow: 0 1px 6px #0002 }}
h1 {{ margin: 0 0 1rem; font-size: 1.6rem; color: #8a3b2e }}
table {{ width: 100%; border-collapse: collapse }}
th {{ text-align: left; font-weight: 600 }}
td, th {{ padding: 0.4rem 0; border-bottom: 1px solid #e4dfd8 }}
td:last-child, .number {{ text-align: right }}
button {{ padding: 0.35rem 1rem; font: inherit; color: #fff; background: #8a3b2e; border: 0; border-radius: 0.25rem; cursor: pointer }}
.actions {{ display: flex; flex-wrap: wrap; gap: 0.75rem }}
.hint {{ margin: 1.5rem 0 0; font-size: 0.9rem; color: #5f5b56 }}
.hidden {{ position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden }}
</style>
</head>
<body>
<main>
{body}
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
    use std::{convert::Infallible, sync::Arc};

    use axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode, header},
        response::Response,
    };
    use futures::{future::join_all, stream};
    use tokio::sync::Barrier;
    use tower::ServiceExt;

    use super::*;

    async fn post(app: &Router, cookie: &str, path: &str, body: Body) -> Response {
        let request = Request::post(path)
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        response
    }

    async fn shop(app: &Router, cookie: &str) -> String {
        let request = Request::get("/").header(header::COOKIE, cookie);
        let request = request.body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn cookie(response: &Response) -> String {
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    /// A form that arrives only when all tabs have sent theirs: by then every
    /// request has loaded the cart, and none has changed it.
    fn form_at_once(barrier: Arc<Barrier>) -> Body {
        Body::from_stream(stream::once(async move {
            barrier.wait().await;
            Ok::<_, Infallible>("goods=1")
        }))
    }

    #[tokio::test]
    async fn tabs_that_add_at_once_lose_nothing() {
        let app = app();
        let cookie = cookie(&post(&app, "", "/add", Body::from("goods=0")).await);
        let barrier = Arc::new(Barrier::new(20));
        let tabs = (0..20).map(|_| post(&app, &cookie, "/add", form_at_once(barrier.clone())));
        join_all(tabs).await;
        let page = shop(&app, &cookie).await;
        assert!(page.contains("<h1>Your cart: 21</h1>"), "{page}");
        assert!(page.contains(r#"<td>Umbrella</td><td class="number">20</td>"#));
    }

    #[tokio::test]
    async fn the_cart_and_its_wrapping_are_emptied_together() {
        let app = app();
        let cookie = cookie(&post(&app, "", "/gift", Body::empty()).await);
        post(&app, &cookie, "/add", Body::from("goods=2")).await;
        assert!(
            shop(&app, &cookie)
                .await
                .contains("It will be wrapped as a gift.")
        );
        post(&app, &cookie, "/empty", Body::empty()).await;
        let page = shop(&app, &cookie).await;
        assert!(page.contains("<h1>Your cart: 0</h1>"));
        assert!(page.contains("It will not be wrapped."));
    }

    #[tokio::test]
    async fn goods_that_do_not_exist_begin_no_session() {
        let response = post(&app(), "", "/add", Body::from("goods=99")).await;
        assert_eq!(response.headers().get(header::SET_COOKIE), None);
    }
}
