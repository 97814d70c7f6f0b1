//! A shopping cart as a typed value of the session: `cargo run --example cart`.
//!
//! If two tabs add something at the same time, both changes are kept: the update
//! of the second one runs again on the cart that the first one has saved.

mod site;

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use axum::{
    Form, Router,
    response::{Html, Redirect},
    routing::{get, post},
};
use cloakroom::{Error, Key, Session, SessionData, SessionLayer, SessionValue};
use serde::{Deserialize, Serialize};

/// What is for sale. Forms name an item by its position here.
const GOODS: [&str; 3] = ["Hat stand", "Umbrella", "Scarf"];

/// The number of pieces, by the position in [`GOODS`].
#[derive(Default, Serialize, Deserialize)]
struct Cart {
    pieces: BTreeMap<usize, u32>,
}

impl SessionValue for Cart {
    const KEY: &str = "cart";
}

/// A key with its type: inserting a value of another type does not compile.
const GIFT: Key<bool> = Key::new("gift");

/// The shop, with its cart in the session.
pub fn app() -> Router {
    let app = Router::new()
        .route("/", get(shop))
        .route("/add", post(add))
        .route("/gift", post(gift))
        .route("/empty", post(empty))
        .layer(SessionLayer::default());
    site::finish(app)
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
    let body = format!(
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
<p class="hint">Open this page in a second tab, and add something in both.</p>"#
    );
    Ok(site::page("Cart", &body))
}

#[tokio::main]
async fn main() -> ExitCode {
    site::serve(app()).await
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

    #[tokio::test]
    async fn another_site_puts_nothing_into_the_cart() {
        let app = app();
        for path in ["/add", "/gift", "/empty"] {
            let (status, _) = site::tests::form_from_another_site(&app, path).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
    }
}
