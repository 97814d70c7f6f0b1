//! What the application keeps of a request, in the events that the request causes.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use cloakroom::{Event, EventKind, MemoryStore, Session, SessionLayer};
use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use tower::ServiceExt as _;

use crate::support::Visitor;

#[derive(Debug, PartialEq, Eq)]
struct Asked(String);

/// The kind of each event, with what it has of its request.
type Told = Arc<Mutex<Vec<(EventKind, Option<String>)>>>;

fn listening(layer: SessionLayer) -> (SessionLayer, Told) {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let layer = layer
        .event_context(|head| Asked(format!("{} {}", head.method, head.uri.path())))
        .on_event(move |event: &Event| {
            let asked = event.context().map(|Asked(request)| request.clone());
            assert_eq!(event.context::<u32>(), None, "of another type");
            tell.lock().push((event.kind().clone(), asked));
        });
    (layer, told)
}

fn router(layer: SessionLayer) -> Router {
    Router::new()
        .route(
            "/join",
            get(async |session: Session| session.log_in("ann").map(|_| ())),
        )
        .route(
            "/late",
            get(async |session: Session| {
                tokio::time::sleep(Duration::from_millis(1)).await;
                session.insert("n", 1)?;
                session.save().await
            }),
        )
        .route("/leave", get(async |session: Session| session.destroy()))
        .layer(layer)
}

async fn ask(app: &Router, path: &str, cookie: &str) -> String {
    let request = Request::get(path).header(header::COOKIE, cookie);
    let reply = app
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    match reply.headers().get(header::SET_COOKIE) {
        Some(set) => set.to_str().unwrap().split(';').next().unwrap().to_owned(),
        None => cookie.to_owned(),
    }
}

#[tokio::test]
async fn each_event_of_a_request_has_its_context() {
    let (layer, told) = listening(SessionLayer::default());
    let app = router(layer);
    let cookie = ask(&app, "/join", "").await;
    ask(&app, "/late", &cookie).await;
    ask(&app, "/leave", &cookie).await;
    ask(&app, "/join", "__Host-id=nonsense").await;
    let told = told.lock();
    let of = |path: &str| {
        let path = Some(path.to_owned());
        told.iter().filter(|(_, asked)| *asked == path).count()
    };
    assert_eq!(of("GET /join"), 5, "{told:?}");
    assert_eq!(of("GET /late"), 1, "{told:?}");
    assert_eq!(of("GET /leave"), 1, "{told:?}");
    assert_eq!(told.len(), 7, "{told:?}");
}

#[tokio::test]
async fn requests_that_run_at_the_same_time_keep_their_own() {
    let (layer, told) = listening(SessionLayer::default());
    let app = router(layer);
    let (ann, bob) = (ask(&app, "/join", "").await, ask(&app, "/join", "").await);
    tokio::join!(ask(&app, "/late", &ann), ask(&app, "/leave", &bob));
    for (kind, asked) in told.lock().iter() {
        let path = match kind {
            EventKind::Saved { .. } => "GET /late",
            EventKind::Ended { .. } => "GET /leave",
            _ => "GET /join",
        };
        assert_eq!(asked.as_deref(), Some(path), "{kind:?}");
    }
}

#[tokio::test]
async fn what_an_operator_does_has_no_request() {
    let (layer, told) = listening(SessionLayer::default());
    ask(&router(layer.clone()), "/join", "").await;
    told.lock().clear();
    layer.sessions().revoke_user("ann").await.unwrap();
    let told = told.lock();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, None);
}

#[tokio::test]
async fn a_session_that_a_newcomer_evicts_has_nothing_of_the_newcomers_request() {
    let store = MemoryStore::builder().max_sessions(1).build();
    let (layer, told) = listening(SessionLayer::new(store));
    let app = router(layer);
    ask(&app, "/late", "").await;
    told.lock().clear();
    ask(&app, "/late", "").await;
    for (kind, asked) in told.lock().iter() {
        let is_ending = matches!(kind, EventKind::Ended { .. });
        assert_eq!(asked.is_none(), is_ending, "{kind:?}");
    }
}

#[tokio::test]
async fn a_closure_that_panics_costs_the_context_and_not_the_request() {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let layer = SessionLayer::default()
        .event_context(|_| -> Asked { panic!("of the test") })
        .on_event(move |event: &Event| {
            let asked = event.context().map(|Asked(request)| request.clone());
            tell.lock().push((event.kind().clone(), asked));
        });
    let visitor = Visitor::new(&layer);
    let reply = visitor.visit(async |session: Session| session.insert("n", 1));
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(*told.lock(), [(EventKind::Created, None)]);
}
