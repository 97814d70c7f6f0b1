//! I10: which layer an imported session belongs to, and how its token travels.

use cloakroom::{SessionCookie, SessionLayer, TokenKeys, Transport};
use futures::future::join_all;
use http::{HeaderName, HeaderValue, Request, Response, header};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{ANN, House, IMPORTED};
use crate::support::{
    Fault, Visitor,
    acts::{destroy, id, live, log_in, seen},
    fixture::MINUTE,
    token::{NEVER_ISSUED, join},
};

const X_SESSION: HeaderName = HeaderName::from_static("x-session");

/// A visitor of this layer who has Ann's old cookie and nothing else.
fn ann(layer: &SessionLayer) -> Visitor {
    let visitor = Visitor::new(layer);
    visitor.set_cookie(Some(format!("old={ANN}")));
    visitor
}

impl House {
    /// Another layer over the same stores.
    fn beside(&self, name: &str) -> SessionLayer {
        SessionLayer::new(self.store.clone())
            .clock(self.clock.clone())
            .reap_every(None)
            .cookie(SessionCookie::new(name))
            .import(self.other.clone())
    }
}

#[tokio::test]
async fn i10_t6_a_session_that_one_layer_imports_is_closed_to_another_realm() {
    for keeps in [false, true] {
        let house = House::of_ann();
        house.other.0.lock().keeps = keeps;
        let (shop, forum) = (house.beside("shop"), house.beside("forum"));
        let customer = ann(&shop);
        assert_eq!(seen(&customer).await, IMPORTED);
        let token = customer.cookie().unwrap();
        assert!(token.starts_with("__Host-shop="), "{token}");

        // With the old cookie, within the minute in which the shop would still take it.
        let guest = ann(&forum);
        assert_eq!(seen(&guest).await, "none");
        assert_eq!(house.other.0.lock().loads, 1);
        // With the shop's token under the forum's name.
        guest.set_cookie(Some(token.replace("shop", "forum")));
        assert_eq!(seen(&guest).await, "none");
        assert_eq!(live(&shop.sessions(), None).await, [id(&customer)]);

        // A log-in at the forum is a session of its own, and closes the old one.
        let member = ann(&forum);
        log_in(&member, "ann").await;
        assert!(!house.other.has(ANN));
        assert_ne!(id(&member), id(&customer));
        assert_eq!(seen(&customer).await, IMPORTED);
        house.clock.advance(2 * MINUTE);
        assert_eq!(seen(&ann(&shop)).await, "none");
    }
}

#[tokio::test]
async fn i10_i2_layers_of_two_realms_at_once_import_one_session_for_one_of_them() {
    for keeps in [false, true] {
        let house = House::of_ann();
        house.other.0.lock().keeps = keeps;
        house.store.plan(|_| Fault::Yield);
        let layers = [house.beside("shop"), house.beside("forum")];
        let visitors: Vec<_> = (0..8).map(|number| ann(&layers[number % 2])).collect();
        let all = join_all(visitors.iter().map(seen)).await;
        let owner = all.iter().position(|seen| seen == IMPORTED).unwrap() % 2;
        for (number, seen) in all.iter().enumerate() {
            let expected = if number % 2 == owner {
                IMPORTED
            } else {
                "none"
            };
            assert_eq!(seen, expected, "{number}: {all:?}");
        }
        assert_eq!(house.sessions().await, 1);
    }
}

#[tokio::test]
async fn i10_layers_of_one_realm_share_what_each_imports() {
    let house = House::of_ann();
    let shop = house.beside("shop").realm("customers");
    let forum = house.beside("forum").realm("customers");
    let (customer, member) = (ann(&shop), ann(&forum));
    assert_eq!(seen(&customer).await, IMPORTED);
    assert_eq!(seen(&member).await, IMPORTED);
    assert_eq!(id(&customer), id(&member));
    assert!(member.cookie().unwrap().starts_with("__Host-forum="));
    assert_eq!(house.sessions().await, 1);
    destroy(&member).await;
    assert_eq!(seen(&customer).await, "none");
    assert_eq!(seen(&ann(&shop)).await, "none");
}

#[tokio::test]
async fn i10_t8_an_imported_token_carries_a_mac_where_there_are_keys() {
    let house = House::of_ann();
    let keys = || TokenKeys::new([1; 32]).unwrap();
    let layer = house.beside("shop").token_keys(keys());
    let (first, second) = (ann(&layer), ann(&layer));
    for visitor in [&first, &second] {
        assert_eq!(seen(visitor).await, IMPORTED);
        let token = visitor.cookie().unwrap().replace("__Host-shop=", "");
        assert_eq!(token.len(), 56);
        assert_eq!(seen(visitor).await, IMPORTED);
    }
    // A node whose keys differ, over the same stores.
    let other = house
        .beside("shop")
        .token_keys(TokenKeys::new([2; 32]).unwrap());
    let visitor = Visitor::new(&other);
    visitor.set_cookie(first.cookie());
    assert_eq!(seen(&visitor).await, "none");
}

/// One request with these headers: what it saw, and the response's headers.
async fn ask(
    layer: &SessionLayer,
    headers: &[(HeaderName, String)],
    user: Option<&str>,
) -> (Option<String>, http::HeaderMap) {
    let mut request = Request::new(());
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(name.clone(), value);
    }
    let service = service_fn(async |request: Request<()>| {
        let handle: &cloakroom::SessionHandle = request.extensions().get().unwrap();
        let session = handle.load().await.unwrap();
        let before = session.user().map(|user| user.to_string());
        if let Some(user) = user {
            session.log_in(user).unwrap();
        }
        Ok::<_, std::convert::Infallible>(Response::new(before.unwrap_or_default()))
    });
    let response = layer.layer(service).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (Some(body).filter(|user| !user.is_empty()), parts.headers)
}

fn old_cookie() -> (HeaderName, String) {
    (header::COOKIE, format!("old={ANN}"))
}

#[tokio::test]
async fn i10_t9_an_imported_session_gets_a_cookie_whatever_transport_comes_first() {
    for first in [Transport::Bearer, Transport::Header(X_SESSION)] {
        let house = House::of_ann();
        let layer = house.beside("shop").transport([first, Transport::Cookie]);
        let (user, headers) = ask(&layer, &[old_cookie()], None).await;
        assert_eq!(user.as_deref(), Some("ann"));
        assert!(headers.get(header::AUTHORIZATION).is_none() && headers.get(X_SESSION).is_none());
        let cookie = headers[header::SET_COOKIE].to_str().unwrap();
        let (pair, _) = cookie.split_once(';').unwrap();
        let (user, _) = ask(&layer, &[(header::COOKIE, pair.to_owned())], None).await;
        assert_eq!(user.as_deref(), Some("ann"));
        // The token is good in the cookie alone.
        let token = pair.split_once('=').unwrap().1;
        for carried in [
            (header::AUTHORIZATION, format!("Bearer {token}")),
            (X_SESSION, token.to_owned()),
        ] {
            assert_eq!(ask(&layer, &[carried], None).await.0, None);
        }
    }
}

#[tokio::test]
async fn i10_t9_a_log_in_with_an_old_cookie_gets_a_cookie() {
    let house = House::of_ann();
    let layer = house
        .beside("shop")
        .transport([Transport::Bearer, Transport::Cookie]);
    let (_, headers) = ask(&layer, &[old_cookie()], Some("ann")).await;
    assert!(headers.get(header::AUTHORIZATION).is_none());
    assert!(headers.contains_key(header::SET_COOKIE));
    assert!(!house.other.has(ANN));
}

#[tokio::test]
async fn i10_t9_a_layer_without_cookies_imports_nothing() {
    for only in [Transport::Bearer, Transport::Header(X_SESSION)] {
        let house = House::of_ann();
        let layer = house.beside("shop").transport(only);
        assert_eq!(ask(&layer, &[old_cookie()], None).await.0, None);
        assert_eq!(house.other.0.lock().loads, 0);
        assert!(house.other.has(ANN));
    }
}

#[tokio::test]
async fn i10_t9_a_request_with_a_token_in_a_header_imports_nothing() {
    let house = House::of_ann();
    let layer = house
        .beside("shop")
        .transport([Transport::Cookie, Transport::Bearer]);
    let service = service_fn(async |request: Request<()>| {
        let handle: &cloakroom::SessionHandle = request.extensions().get().unwrap();
        let session = handle.load().await.unwrap();
        session.set_transport(Transport::Bearer).unwrap();
        session.insert("n", 1).unwrap();
        Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    });
    let response = layer
        .layer(service)
        .oneshot(Request::new(()))
        .await
        .unwrap();
    let bearer = response.headers()[header::AUTHORIZATION].to_str().unwrap();
    for token in [bearer, &format!("Bearer {}", join(NEVER_ISSUED, [7; 16]))] {
        let headers = [(header::AUTHORIZATION, token.to_owned()), old_cookie()];
        assert_eq!(ask(&layer, &headers, None).await.0, None, "{token}");
    }
    assert_eq!(house.other.0.lock().loads, 0);
    assert_eq!(
        ask(&layer, &[old_cookie()], None).await.0.as_deref(),
        Some("ann")
    );
}
