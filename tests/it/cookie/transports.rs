//! T9: tokens in headers.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use cloakroom::{
    MemoryStore, Rejection, Session, SessionHandle, SessionLayer, SessionStore, Transport,
    store::StoreErrorKind, testing::Ticket,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{
    Fault, FaultyStore, FixedClock, Log, Recorder, StoreCall,
    token::{NEVER_ISSUED, is_well_formed, join, split},
};

const X_SESSION: HeaderName = HeaderName::from_static("x-session");
const HOUR: Duration = Duration::from_secs(60 * 60);

fn named() -> Transport {
    Transport::Header(X_SESSION)
}

struct House {
    store: FaultyStore,
    clock: FixedClock,
}

impl House {
    fn new() -> Self {
        Self {
            store: FaultyStore::in_memory(),
            clock: FixedClock::default(),
        }
    }

    fn layer(&self) -> SessionLayer {
        SessionLayer::new(self.store.clone())
            .clock(self.clock.clone())
            .reap_every(None)
    }

    fn both(&self) -> SessionLayer {
        self.layer()
            .transport([Transport::Cookie, Transport::Bearer, named()])
    }
}

#[tokio::test]
async fn t9_a_response_with_a_token_in_a_header_is_stored_nowhere() {
    let layer = House::new().layer().transport([Transport::Bearer]);
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let handle = request.extensions().get::<SessionHandle>().unwrap();
        handle.load().await.unwrap().insert("n", 1).unwrap();
        let response = Response::builder().header(header::CACHE_CONTROL, "private, max-age=60");
        Ok::<_, Infallible>(response.body(String::new()).unwrap())
    }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert!(response.headers().contains_key(header::AUTHORIZATION));
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
}

/// One request with these headers, whose handler does `act`.
async fn ask<T>(
    layer: &SessionLayer,
    headers: &[(HeaderName, String)],
    act: impl AsyncFnOnce(Session) -> T,
) -> (T, Response<String>) {
    let mut request = Request::new(());
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(name.clone(), value);
    }
    let (mut act, output) = (Some(act), Mutex::new(None));
    let slot = &output;
    let service = service_fn(move |request: Request<()>| {
        let act = act.take().unwrap();
        async move {
            let handle: &SessionHandle = request.extensions().get().unwrap();
            let done = act(handle.load().await.unwrap()).await;
            *slot.lock() = Some(done);
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let response = layer.layer(service).oneshot(request).await.unwrap();
    (output.into_inner().unwrap(), response)
}

async fn who(layer: &SessionLayer, headers: &[(HeaderName, String)]) -> Option<String> {
    let (user, _) = ask(layer, headers, async |session| session.user()).await;
    user.map(|user| user.to_string())
}

/// The token in the response, by any transport.
fn token(headers: &HeaderMap) -> Option<String> {
    let text = |name: &HeaderName| Some(headers.get(name)?.to_str().unwrap().to_owned());
    let cookie = text(&header::SET_COOKIE).map(|set| {
        set.split(';')
            .next()
            .unwrap()
            .split_once('=')
            .unwrap()
            .1
            .to_owned()
    });
    let bearer = text(&header::AUTHORIZATION).map(|value| value.replace("Bearer ", ""));
    cookie.or(bearer).or_else(|| text(&X_SESSION))
}

/// Logs Ann in by this transport; her token.
async fn log_in(layer: &SessionLayer, transport: Transport) -> String {
    let ((), response) = ask(layer, &[], async |session| {
        session.set_transport(transport).unwrap();
        session.log_in("ann").unwrap();
    })
    .await;
    token(response.headers()).unwrap()
}

/// The header by which a client brings the token.
fn carried(transport: &Transport, token: &str) -> (HeaderName, String) {
    match transport {
        Transport::Bearer => (header::AUTHORIZATION, format!("Bearer {token}")),
        Transport::Header(name) => (name.clone(), token.to_owned()),
        _ => (header::COOKIE, format!("__Host-id={token}")),
    }
}

fn all() -> [Transport; 3] {
    [Transport::Cookie, Transport::Bearer, named()]
}

#[tokio::test]
async fn t9_a_token_is_accepted_by_the_transport_it_was_issued_for_and_by_no_other() {
    let house = House::new();
    let recorder = Recorder::default();
    let layer = house.both().on_event(recorder.clone());
    for issued in all() {
        let token = log_in(&layer, issued.clone()).await;
        for presented in all() {
            recorder.events();
            let found = who(&layer, &[carried(&presented, &token)]).await;
            let expected = (issued == presented).then_some("ann");
            assert_eq!(found.as_deref(), expected, "{issued:?} by {presented:?}");
            let why = (Some(split(&token).0), Rejection::OtherTransport);
            let rejected = if expected.is_some() {
                vec![]
            } else {
                vec![why]
            };
            assert_eq!(recorder.rejections(), rejected);
        }
    }
}

#[tokio::test]
async fn t9_the_token_goes_out_in_the_header_it_is_expected_in() {
    let house = House::new();
    for transport in [Transport::Bearer, named()] {
        let layer = house.layer().transport(transport.clone());
        let (_, response) = ask(&layer, &[], async |session| session.log_in("ann").unwrap()).await;
        let headers = response.headers();
        let token = token(headers).unwrap();
        assert!(is_well_formed(&token), "{token}");
        let (name, value) = carried(&transport, &token);
        assert_eq!(headers[&name], value);
        assert!(headers[&name].is_sensitive());
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(
            headers[header::VARY].to_str().unwrap().to_lowercase(),
            name.as_str()
        );
        assert!(!headers.contains_key(header::SET_COOKIE));
        // It is not sent again, and removed at the end.
        let carried = [(name.clone(), value)];
        let (_, response) = ask(&layer, &carried, async |_| ()).await;
        assert!(!response.headers().contains_key(&name));
        assert_eq!(response.headers()[header::CACHE_CONTROL], "private");
        let (_, response) = ask(&layer, &carried, async |session| session.destroy()).await;
        assert_eq!(response.headers()[&name], "");
        assert_eq!(who(&layer, &carried).await, None);
    }
}

#[tokio::test]
async fn t9_the_first_that_is_presented_decides_and_there_is_no_fallback() {
    let house = House::new();
    let layer = house.both();
    let mut tokens = Vec::new();
    for transport in all() {
        tokens.push(carried(
            &transport,
            &log_in(&layer, transport.clone()).await,
        ));
    }
    let invented = join(NEVER_ISSUED, [7; 16]);
    for (place, first) in all().iter().enumerate() {
        // What comes after a token that is worth nothing, or that is malformed, does not count.
        for bad in [invented.clone(), "A".repeat(43)] {
            if bad.starts_with('A') && *first == Transport::Bearer {
                continue;
            }
            let mut headers = vec![carried(first, &bad)];
            headers.extend(tokens[place + 1..].iter().cloned());
            assert_eq!(who(&layer, &headers).await, None, "{first:?}");
        }
        assert_eq!(who(&layer, &tokens[place..]).await.as_deref(), Some("ann"));
    }
    // The order is that of the layer.
    let other = house
        .layer()
        .transport([Transport::Bearer, Transport::Cookie]);
    let headers = [carried(&Transport::Bearer, &invented), tokens[0].clone()];
    assert_eq!(who(&other, &headers).await, None);
    assert_eq!(who(&layer, &headers).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn t9_a_request_that_came_with_a_cookie_never_gets_a_token_in_a_header() {
    let house = House::new();
    for layer in [
        house.both().renew_every(HOUR).idle_timeout(None),
        house
            .layer()
            .transport([Transport::Bearer, named(), Transport::Cookie])
            .renew_every(HOUR)
            .idle_timeout(None),
    ] {
        let cookie = log_in(&layer, Transport::Cookie).await;
        let bearer = log_in(&layer, Transport::Bearer).await;
        let invented = join(NEVER_ISSUED, [7; 16]);
        house.clock.advance(HOUR);
        for cookie in [cookie.as_str(), &invented, "malformed", ""] {
            for with_bearer in [false, true] {
                for act in ["nothing", "change", "cycle", "log in"] {
                    let mut headers = vec![carried(&Transport::Cookie, cookie)];
                    if with_bearer {
                        headers.push(carried(&Transport::Bearer, &bearer));
                    }
                    let (_, response) = ask(&layer, &headers, async |session| {
                        session.set_transport(Transport::Bearer).unwrap();
                        match act {
                            "change" => session.insert("n", 1).unwrap(),
                            "cycle" => session.cycle_id().unwrap(),
                            "log in" => session.log_in("bob").unwrap(),
                            _ => {}
                        }
                    })
                    .await;
                    for name in [header::AUTHORIZATION, X_SESSION] {
                        let value = response.headers().get(&name);
                        assert_eq!(value, None, "{cookie} {with_bearer} {act}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn t9_a_client_without_a_token_gets_the_chosen_transport() {
    let house = House::new();
    let layer = house.both();
    for transport in all() {
        let token = log_in(&layer, transport.clone()).await;
        assert_eq!(
            who(&layer, &[carried(&transport, &token)]).await.as_deref(),
            Some("ann")
        );
    }
    // The first of the list, where nobody chooses.
    let (_, response) = ask(&layer, &[], async |session| session.insert("n", 1).unwrap()).await;
    assert!(response.headers().contains_key(header::SET_COOKIE));
    // Whatever is chosen once the session is stored, its token goes out as it was stored.
    let (_, response) = ask(&layer, &[], async |session| {
        session.set_transport(named()).unwrap();
        session.insert("n", 1).unwrap();
        session.save().await.unwrap();
        session.set_transport(Transport::Cookie).unwrap();
    })
    .await;
    assert!(response.headers().contains_key(X_SESSION));
    // One that the layer does not use.
    let (refused, _) = ask(&house.layer(), &[], async |session| {
        session.set_transport(Transport::Bearer).is_err()
    })
    .await;
    assert!(refused);
}

#[tokio::test]
async fn t9_a_route_chooses_before_its_handler_runs() {
    let house = House::new();
    let layer = house.both();
    let service = service_fn(async |request: Request<()>| {
        let handle: &SessionHandle = request.extensions().get().unwrap();
        handle.set_transport(Transport::Bearer).unwrap();
        handle.load().await.unwrap().log_in("ann").unwrap();
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let response = layer
        .layer(service)
        .oneshot(Request::new(()))
        .await
        .unwrap();
    assert!(response.headers().contains_key(header::AUTHORIZATION));
}

#[tokio::test]
async fn t9_a_header_that_stands_twice_opens_nothing() {
    let house = House::new();
    let recorder = Recorder::default();
    let layer = house.both().on_event(recorder.clone());
    for transport in [Transport::Bearer, named()] {
        let token = log_in(&layer, transport.clone()).await;
        let other = log_in(&layer, transport.clone()).await;
        recorder.events();
        house.store.calls();
        for second in [token.as_str(), &other] {
            let twice = [carried(&transport, &token), carried(&transport, second)];
            assert_eq!(who(&layer, &twice).await, None);
        }
        if transport == Transport::Bearer {
            let basic = (header::AUTHORIZATION, "Basic YW5uOg==".to_owned());
            assert_eq!(
                who(&layer, &[carried(&transport, &token), basic]).await,
                None
            );
        }
        assert_eq!(house.store.calls(), [], "{transport:?}");
        assert!(
            recorder
                .rejections()
                .iter()
                .all(|it| *it == (None, Rejection::Malformed))
        );
    }
}

#[tokio::test]
async fn t9_an_authorization_header_of_another_scheme_is_ignored() {
    let house = House::new();
    let recorder = Recorder::default();
    let layer = house.both().on_event(recorder.clone());
    let x = carried(&named(), &log_in(&layer, named()).await);
    recorder.events();
    for value in [
        "Basic YW5uOnN3b3JkZmlzaA==",
        "Bearer",
        "Bearer ",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
        "Digest username=\"ann\"",
        "",
    ] {
        // What comes after it in the list is looked at.
        let headers = [(header::AUTHORIZATION, value.to_owned()), x.clone()];
        assert_eq!(
            who(&layer, &headers).await.as_deref(),
            Some("ann"),
            "{value}"
        );
    }
    assert_eq!(recorder.rejections(), []);
}

#[tokio::test]
async fn t9_the_scheme_ignores_case_and_nothing_else_does() {
    let house = House::new();
    let layer = house.both();
    let token = log_in(&layer, Transport::Bearer).await;
    for (value, is_good) in [
        (format!("bearer {token}"), true),
        (format!("BEARER  {token} "), true),
        (format!("Bearer{token}"), false),
        (format!("Token {token}"), false),
        (format!("Bearer {token}, Bearer {token}"), false),
        (format!("Bearer \"{token}\""), false),
        (token.clone(), false),
    ] {
        let found = who(&layer, &[(header::AUTHORIZATION, value.clone())]).await;
        assert_eq!(found.is_some(), is_good, "{value}");
    }
    let token = log_in(&layer, named()).await;
    for (value, is_good) in [
        (token.clone(), true),
        (format!("Bearer {token}"), false),
        (format!("{token},{token}"), false),
        (String::new(), false),
    ] {
        let found = who(&layer, &[(X_SESSION, value.clone())]).await;
        assert_eq!(found.is_some(), is_good, "{value}");
    }
}

#[tokio::test]
async fn t9_values_that_are_no_token_never_reach_the_store() {
    let house = House::new();
    let layer = house.both();
    let long = "A".repeat(64 * 1024);
    let quoted = join(NEVER_ISSUED, [1; 16]) + "\"";
    for value in ["null", "../../etc/passwd", "%00", "\u{e9}", &long, &quoted] {
        for transport in all() {
            assert_eq!(who(&layer, &[carried(&transport, value)]).await, None);
            assert_eq!(house.store.calls(), [], "{transport:?}");
        }
    }
}

#[tokio::test]
async fn t9_a_forged_token_in_a_header_is_never_adopted() {
    let house = House::new();
    let layer = house.both();
    let planted = join(NEVER_ISSUED, [7; 16]);
    for transport in [Transport::Bearer, named()] {
        let headers = [carried(&transport, &planted)];
        let (_, response) = ask(&layer, &headers, async |session| {
            session.log_in("ann").unwrap();
        })
        .await;
        // The next token comes as this one came.
        let (name, _) = &headers[0];
        assert!(response.headers().contains_key(name));
        let token = token(response.headers()).unwrap();
        assert_ne!(split(&token).0, split(&planted).0);
        assert_eq!(who(&layer, &headers).await, None);
    }
    assert!(
        house
            .store
            .inner()
            .load(NEVER_ISSUED.into())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn t9_a_planted_token_opens_nothing_after_a_log_in_in_a_header() {
    let house = House::new();
    let layer = house.both();
    for transport in [Transport::Bearer, named()] {
        let (_, response) = ask(&layer, &[], async |session| {
            session.set_transport(transport.clone()).unwrap();
            session.insert("n", 1).unwrap();
        })
        .await;
        let planted = [carried(&transport, &token(response.headers()).unwrap())];
        let (_, response) = ask(&layer, &planted, async |session| {
            session.log_in("ann").unwrap();
        })
        .await;
        let ours = [carried(&transport, &token(response.headers()).unwrap())];
        assert_eq!(who(&layer, &planted).await, None);
        assert_eq!(who(&layer, &ours).await.as_deref(), Some("ann"));
        let (_, response) = ask(&layer, &ours, async |session| session.cycle_id().unwrap()).await;
        let cycled = [carried(&transport, &token(response.headers()).unwrap())];
        assert_eq!(who(&layer, &ours).await, None);
        assert_eq!(who(&layer, &cycled).await.as_deref(), Some("ann"));
    }
}

#[tokio::test]
async fn t9_a_double_click_on_the_log_in_leads_to_one_session() {
    let house = House::new();
    let layer = house.both();
    let (_, response) = ask(&layer, &[], async |session| {
        session.set_transport(Transport::Bearer).unwrap();
        session.insert("cart", 7).unwrap();
    })
    .await;
    let anonymous = [carried(
        &Transport::Bearer,
        &token(response.headers()).unwrap(),
    )];
    let (inner, outer) = ask(&layer, &anonymous, async |session| {
        session.log_in("ann").unwrap();
        let second = ask(&layer, &anonymous, async |session| {
            session.log_in("ann").unwrap();
        });
        second.await.1
    })
    .await;
    let mut ids = BTreeSet::new();
    for response in [inner, outer] {
        let token = token(response.headers()).unwrap();
        ids.insert(split(&token).0);
        let headers = [carried(&Transport::Bearer, &token)];
        let (cart, _) = ask(&layer, &headers, async |session| {
            session.get("cart").unwrap()
        })
        .await;
        assert_eq!(cart, Some(7));
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn t9_a_renewed_secret_comes_in_the_header_and_the_old_one_is_noticed() {
    let house = House::new();
    let layer = house.both().renew_every(HOUR).idle_timeout(None);
    let first = carried(&Transport::Bearer, &log_in(&layer, Transport::Bearer).await);
    house.clock.advance(HOUR);
    let (_, response) = ask(&layer, std::slice::from_ref(&first), async |_| ()).await;
    let second = carried(&Transport::Bearer, &token(response.headers()).unwrap());
    assert_ne!(first, second);
    assert!(who(&layer, std::slice::from_ref(&second)).await.is_some());
    house.clock.advance(HOUR / 30);
    assert_eq!(who(&layer, &[first]).await, None);
    assert_eq!(who(&layer, &[second]).await, None, "it was copied");
}

#[tokio::test]
async fn t9_vary_names_the_searched_headers() {
    let house = House::new();
    let layer = house.both();
    let vary = async |headers: &[(HeaderName, String)]| {
        let (_, response) = ask(&layer, headers, async |_| ()).await;
        let vary = response.headers()[header::VARY].to_str().unwrap();
        vary.to_lowercase()
    };
    let invented = join(NEVER_ISSUED, [7; 16]);
    assert_eq!(vary(&[]).await, "cookie, authorization, x-session");
    assert_eq!(
        vary(&[carried(&Transport::Cookie, &invented)]).await,
        "cookie"
    );
    let bearer = carried(&Transport::Bearer, &invented);
    assert_eq!(vary(&[bearer]).await, "cookie, authorization");
}

#[tokio::test]
async fn t9_a_record_says_its_transport_in_format_2_and_keeps_it() {
    let house = House::new();
    let layer = house.both();
    let token = log_in(&layer, named()).await;
    let headers = [carried(&named(), &token)];
    ask(&layer, &headers, async |session| {
        session.insert("n", 1).unwrap();
    })
    .await;
    let (record, _) = house
        .store
        .inner()
        .load(split(&token).0)
        .await
        .unwrap()
        .unwrap();
    let fields: serde_json::Value = serde_json::from_slice(&record.to_bytes()).unwrap();
    assert_eq!(fields["format"], 2);
    assert_eq!(fields["transport"], "x-session");
    // It survives the store's encoding.
    let read = cloakroom::Record::from_bytes(&record.to_bytes()).unwrap();
    assert_eq!(read.to_bytes(), record.to_bytes());
    assert!(read.memory_bytes() > 0);
    // A session of before has a cookie.
    let cookie = log_in(&house.layer(), Transport::Cookie).await;
    assert_eq!(
        who(&layer, &[carried(&Transport::Cookie, &cookie)])
            .await
            .as_deref(),
        Some("ann")
    );
}

#[tokio::test]
async fn t9_a_session_that_cannot_be_kept_is_503_and_a_failed_log_out_takes_the_header_away() {
    let house = House::new();
    let layer = house.both();
    let token = log_in(&layer, Transport::Bearer).await;
    let fault = Fault::Fail(StoreErrorKind::Unavailable);
    house.store.plan_for(StoreCall::Update, fault);
    let headers = [carried(&Transport::Bearer, &token)];
    let (_, response) = ask(&layer, &headers, async |session| session.destroy()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::AUTHORIZATION], "");
    let (_, response) = ask(&layer, &headers, async |session| {
        session.insert("n", 1).unwrap();
    })
    .await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!response.headers().contains_key(header::AUTHORIZATION));
}

#[tokio::test]
async fn t9_no_token_is_shown_in_logs_or_debug() {
    let log = Log::capture();
    let house = House::new();
    let layer = house.both();
    let token = log_in(&layer, Transport::Bearer).await;
    let guess = join(split(&token).0, [9; 16]);
    for value in [&token, &guess] {
        let (shown, response) = ask(
            &layer,
            &[carried(&Transport::Bearer, value)],
            async |session| format!("{session:?}"),
        )
        .await;
        let shown = format!("{shown} {:?} {layer:?}", response.headers());
        assert!(!shown.contains(&value[22..]), "{shown}");
    }
    let (_, response) = ask(&layer, &[], async |session| {
        session.set_transport(Transport::Bearer).unwrap();
        session.log_in("ann").unwrap();
    })
    .await;
    assert!(format!("{:?}", response.headers()).contains("Sensitive"));
    let logged = log.text();
    assert!(!logged.contains(&token[22..]) && !logged.contains(&guess[22..]));
}

#[tokio::test]
async fn t9_tokens_in_headers_carry_a_mac_where_there_are_keys() {
    let house = House::new();
    let keys = cloakroom::TokenKeys::new([1; 32]).unwrap();
    let layer = house.both().token_keys(keys);
    let token = log_in(&layer, Transport::Bearer).await;
    assert_eq!(token.len(), 56);
    let headers = [carried(&Transport::Bearer, &token)];
    assert_eq!(who(&layer, &headers).await.as_deref(), Some("ann"));
    house.store.calls();
    let unkeyed = join(NEVER_ISSUED, [7; 16]);
    let forged = format!("{}A", &token[..55]);
    for bad in [unkeyed, forged] {
        for transport in all() {
            assert_eq!(who(&layer, &[carried(&transport, &bad)]).await, None);
        }
    }
    assert_eq!(house.store.calls(), []);
    // With a former key the token comes again, in the header.
    let rotated = cloakroom::TokenKeys::new([2; 32]).unwrap();
    let layer = house
        .both()
        .token_keys(rotated.also_accept([1; 32]).unwrap());
    let (_, response) = ask(&layer, &headers, async |_| ()).await;
    let issued = response.headers()[header::AUTHORIZATION].to_str().unwrap();
    assert_ne!(issued, headers[0].1);
    assert_eq!(issued[..49], headers[0].1[..49]);
}

#[tokio::test]
async fn a_ticket_brings_its_token_as_the_layer_expects_it() {
    let layer = SessionLayer::new(MemoryStore::default()).transport(Transport::Bearer);
    let mut ticket = Ticket::new(&layer, |session| session.log_in("ann"))
        .await
        .unwrap();
    let request = ticket.request().body(()).unwrap();
    let value = request.headers()[header::AUTHORIZATION].clone();
    assert!(value.as_bytes().starts_with(b"Bearer "));
    assert!(ticket.peek().await.unwrap().is_some());
    let headers = [(header::AUTHORIZATION, value.to_str().unwrap().to_owned())];
    let (_, response) = ask(&layer, &headers, async |session| {
        session.cycle_id().unwrap();
    })
    .await;
    assert!(ticket.peek().await.unwrap().is_none());
    assert!(ticket.take_cookie(response.headers()));
    assert!(ticket.peek().await.unwrap().is_some());
}

#[test]
fn a_layer_says_at_once_what_is_wrong_with_its_transports() {
    let refused = |transports: Vec<Transport>| {
        let built = std::panic::catch_unwind(|| SessionLayer::default().transport(transports));
        assert!(built.is_err());
    };
    refused(vec![]);
    refused(vec![Transport::Cookie, Transport::Cookie]);
    for name in [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::HOST,
        header::LOCATION,
        header::UPGRADE,
        header::VARY,
        header::WWW_AUTHENTICATE,
    ] {
        refused(vec![Transport::Header(name)]);
    }
    let _ = SessionLayer::default().transport(all());
}
