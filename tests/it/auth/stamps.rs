//! Rule U5: what a change of the credentials does to a user's sessions.

use std::{io, sync::Arc};

use axum::{Router, extract::Path, routing::get};
use cloakroom::{
    CurrentUser, Error, ErrorKind, MemoryStore, Record, RequireUser, Session, SessionLayer,
    SessionStore as _,
    store::{StoreErrorKind, TieredStore},
    testing::Ticket,
};
use http::StatusCode;
use parking_lot::Mutex;

use crate::support::{Browser, Client};

/// The users' password hashes; `None` while the database is down.
#[derive(Clone)]
struct Users(Arc<Mutex<Option<Stamps>>>);

/// Each user with their stamp.
type Stamps = Vec<(String, String)>;

impl Users {
    fn new() -> Self {
        let users = ["ann", "bob"].map(|user| (user.to_owned(), "first".to_owned()));
        Self(Arc::new(Mutex::new(Some(users.to_vec()))))
    }

    fn set(&self, user: &str, hash: &str) {
        let mut users = self.0.lock();
        let users = users.as_mut().unwrap();
        users.iter_mut().find(|(name, _)| name == user).unwrap().1 = hash.to_owned();
    }

    fn find(&self, user: &str) -> io::Result<Option<String>> {
        let users = self.0.lock();
        let users = users
            .as_ref()
            .ok_or_else(|| io::Error::other("the database is down"))?;
        Ok(users
            .iter()
            .find(|(name, _)| name == user)
            .map(|(_, hash)| hash.clone()))
    }
}

fn layer(users: &Users) -> SessionLayer {
    with_stamps(users, SessionLayer::default())
}

fn with_stamps(users: &Users, layer: SessionLayer) -> SessionLayer {
    let users = users.clone();
    layer.user_stamp(move |user| {
        let users = users.clone();
        async move { users.find(&user) }
    })
}

fn app(users: &Users) -> Router {
    app_over(users, SessionLayer::default())
}

fn app_over(users: &Users, layer: SessionLayer) -> Router {
    let by_stamp = {
        let users = users.clone();
        async move |Path(user): Path<String>, session: Session| -> Result<(), Error> {
            let hash = users.find(&user).unwrap().unwrap();
            session.log_in_with_stamp(&user, hash)
        }
    };
    let change = {
        let users = users.clone();
        async move |Path(hash): Path<String>, session: Session, CurrentUser(user): CurrentUser| {
            users.set(&user, &hash);
            session.set_stamp(hash)
        }
    };
    let without = async |Path(user): Path<String>, session: Session| session.log_in(user);
    Router::new()
        .route("/orders", get(async || "orders"))
        .route_layer(RequireUser::new())
        .route("/name", get(async |CurrentUser(user): CurrentUser| user))
        .route(
            "/anybody",
            get(async |user: Option<CurrentUser>| user.is_some().to_string()),
        )
        .route("/login/{user}", get(by_stamp))
        .route("/login-without/{user}", get(without))
        .route("/change/{hash}", get(change))
        .layer(with_stamps(users, layer))
}

#[tokio::test]
async fn u5_a_change_of_the_credentials_ends_all_sessions_but_the_one_that_made_it() {
    let users = Users::new();
    let app = app(&users);
    let [here, there, bob] = [(); 3].map(|()| Browser::new(app.clone()));
    here.get("/login/ann").await;
    there.get("/login/ann").await;
    bob.get("/login/bob").await;
    for browser in [&here, &there] {
        assert_eq!(browser.get("/name").await.body, "ann");
        assert_eq!(browser.get("/orders").await.body, "orders");
    }
    assert_eq!(here.get("/change/second").await.status, StatusCode::OK);
    assert_eq!(here.get("/name").await.body, "ann");
    assert_eq!(bob.get("/name").await.body, "bob");
    let reply = there.get("/orders").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    // It is over, and its cookie removed.
    assert_eq!(there.cookie("__Host-id"), None);
    assert_eq!(there.get("/anybody").await.body, "false");
    there.get("/login/ann").await;
    assert_eq!(there.get("/anybody").await.body, "true");
}

#[tokio::test]
async fn u5_a_node_whose_cache_has_the_former_stamp_ends_nothing() {
    let users = Users::new();
    let store = MemoryStore::default();
    let node = || {
        let front = MemoryStore::default();
        app_over(
            &users,
            SessionLayer::new(TieredStore::new(front, store.clone())),
        )
    };
    let (here, there) = (Browser::new(node()), Browser::new(node()));
    here.get("/login/ann").await;
    there.set_cookie("__Host-id", &here.cookie("__Host-id").unwrap());
    assert_eq!(there.get("/name").await.body, "ann");
    assert_eq!(here.get("/change/second").await.status, StatusCode::OK);
    assert_eq!(there.get("/name").await.body, "ann");
    assert_eq!(here.get("/name").await.body, "ann");
}

#[tokio::test]
async fn u5_a_request_that_began_before_the_change_does_not_end_the_session_that_made_it() {
    let users = Users::new();
    let layer = layer(&users);
    let visitor = Client::new(layer.clone());
    visitor
        .visit(async |session| session.log_in_with_stamp("ann", "first").unwrap())
        .await;
    let twin = Client::with_cookie(layer, visitor.cookie().unwrap());
    let user = visitor.visit(async |session: Session| {
        assert_eq!(session.user().as_deref(), Some("ann"));
        users.set("ann", "second");
        twin.visit(async |session| session.set_stamp("second").unwrap())
            .await;
        session.current_user().await.unwrap()
    });
    assert_eq!(user.await.as_deref(), Some("ann"));
    let user = visitor.visit(async |session| session.current_user().await.unwrap());
    assert_eq!(user.await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn u5_a_socket_that_has_set_the_stamp_goes_on() {
    let users = Users::new();
    let visitor = Client::new(layer(&users));
    visitor
        .visit(async |session| session.log_in_with_stamp("ann", "first").unwrap())
        .await;
    let session = visitor.visit(async |session| session).await;
    users.set("ann", "second");
    session.set_stamp("second").unwrap();
    assert_eq!(
        session.current_user().await.unwrap().as_deref(),
        Some("ann")
    );
    session.save().await.unwrap();
    assert_eq!(
        session.current_user().await.unwrap().as_deref(),
        Some("ann")
    );
    users.set("ann", "third");
    assert_eq!(session.current_user().await.unwrap(), None);
    let user = visitor.visit(async |session| session.current_user().await.unwrap());
    assert_eq!(user.await, None);
}

#[tokio::test]
async fn u5_a_public_page_treats_a_user_with_changed_credentials_as_anonymous() {
    let users = Users::new();
    let browser = Browser::new(app(&users));
    browser.get("/login/ann").await;
    users.set("ann", "second");
    assert_eq!(browser.get("/anybody").await.body, "false");
    assert_eq!(browser.cookie("__Host-id"), None);
}

#[tokio::test]
async fn u5_a_session_without_a_stamp_and_a_user_who_is_gone_are_logged_out() {
    let users = Users::new();
    let browser = Browser::new(app(&users));
    browser.get("/login-without/ann").await;
    assert_eq!(browser.get("/name").await.status, StatusCode::UNAUTHORIZED);
    browser.get("/login/bob").await;
    users.0.lock().as_mut().unwrap().clear();
    assert_eq!(browser.get("/name").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn u5_a_stamp_that_cannot_be_read_is_503_and_ends_nothing() {
    let users = Users::new();
    let browser = Browser::new(app(&users));
    browser.get("/login/ann").await;
    let all = users.0.lock().take();
    for path in ["/name", "/anybody", "/orders"] {
        let reply = browser.get(path).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    *users.0.lock() = all;
    assert_eq!(browser.get("/name").await.body, "ann");
}

#[tokio::test]
async fn the_request_that_logs_in_is_not_asked_and_others_are_asked_once() {
    let asked = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&asked);
    let layer = SessionLayer::default().user_stamp(move |_| {
        *counter.lock() += 1;
        async { Ok::<_, io::Error>(Some("hash")) }
    });
    let visitor = Client::new(layer);
    visitor
        .visit(async |session| {
            assert_eq!(session.current_user().await.unwrap(), None);
            session.log_in_with_stamp("ann", "hash").unwrap();
            let user = session.current_user().await.unwrap();
            assert_eq!(user.as_deref(), Some("ann"));
        })
        .await;
    assert_eq!(*asked.lock(), 0);
    visitor
        .visit(async |session| {
            for _ in 0..3 {
                assert!(session.current_user().await.unwrap().is_some());
            }
        })
        .await;
    assert_eq!(*asked.lock(), 1);
}

#[tokio::test]
async fn a_later_log_in_without_a_stamp_has_none_and_a_cycle_keeps_it() {
    let visitor = Client::new(layer(&Users::new()));
    let current = async || {
        let user = visitor.visit(async |session| session.current_user().await.unwrap());
        user.await
    };
    visitor
        .visit(async |session| {
            // Before the log-in it is for its session all the same.
            session.log_in("ann").unwrap();
            session.set_stamp("first").unwrap();
        })
        .await;
    visitor
        .visit(async |session| session.cycle_id().unwrap())
        .await;
    assert_eq!(current().await.as_deref(), Some("ann"));
    visitor
        .visit(async |session| session.log_in("ann").unwrap())
        .await;
    assert_eq!(current().await, None);
}

#[tokio::test]
async fn nobody_has_no_stamp() {
    let visitor = Client::new(SessionLayer::default());
    let error = visitor.visit(async |session| session.set_stamp("hash").unwrap_err());
    assert_eq!(error.await.kind(), ErrorKind::NoUser);
}

#[tokio::test]
async fn u5_the_store_has_a_salted_hash_of_the_stamp_and_older_nodes_leave_the_record_alone() {
    const STAMP: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA";
    let store = MemoryStore::default();
    let layer = SessionLayer::new(store.clone());
    let stored = async |log_in: fn(&Session) -> Result<(), Error>| {
        let ticket = Ticket::new(&layer, log_in).await.unwrap();
        let (record, _) = store.load(ticket.id()).await.unwrap().unwrap();
        let bytes = record.to_bytes();
        let again = Record::from_bytes(&bytes).unwrap().to_bytes();
        assert_eq!(again, bytes);
        String::from_utf8(bytes).unwrap()
    };
    let with = async || stored(|session| session.log_in_with_stamp("ann", STAMP)).await;
    let (one, other) = (with().await, with().await);
    let without = stored(|session| session.log_in("ann")).await;
    let stamp = |record: &str| {
        let value: serde_json::Value = serde_json::from_str(record).unwrap();
        (
            value["format"].as_u64(),
            value["stamp"].as_str().map(str::to_owned),
        )
    };
    assert_eq!(stamp(&without), (Some(1), None));
    assert_eq!(stamp(&one).0, Some(2));
    assert_eq!(stamp(&one).1.unwrap().len(), 64);
    assert_ne!(stamp(&one).1, stamp(&other).1);
    for part in STAMP.split('$').filter(|part| part.len() > 4) {
        assert!(!one.contains(part), "{part}");
    }
}

#[test]
fn a_stamp_that_is_malformed_is_corrupt() {
    let verifier = "A".repeat(43);
    for stamp in ["5", "\"\"", "\"A\"", "\"====\"", "null"] {
        let text = format!(
            r#"{{"format":2,"version":"1-0000000000000001","verifier":"{verifier}","created_at":5,"stamp":{stamp},"data":{{}}}}"#
        );
        let error = Record::from_bytes(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{stamp}");
    }
}

#[tokio::test]
async fn u5_a_reader_of_stamps_that_panics_is_503_and_ends_nothing() {
    let broken = SessionLayer::default().user_stamp(|user| {
        assert!(user.is_empty(), "the reader is broken");
        async { io::Result::Ok(Some("first")) }
    });
    let app = Router::new()
        .route("/name", get(async |CurrentUser(user): CurrentUser| user))
        .route(
            "/login",
            get(async |session: Session| session.log_in("ann")),
        )
        .layer(broken);
    let browser = Browser::new(app);
    browser.get("/login").await;
    let reply = browser.get("/name").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(browser.cookie("__Host-id").is_some());
}

#[tokio::test(start_paused = true)]
async fn u5_a_stamp_that_cannot_be_read_in_time_is_503_and_logs_nobody_out() {
    let is_hanging = Arc::new(Mutex::new(false));
    let layer = {
        let is_hanging = Arc::clone(&is_hanging);
        SessionLayer::default().user_stamp(move |_| {
            let hangs = *is_hanging.lock();
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok::<_, io::Error>(Some("first"))
            }
        })
    };
    let app = Router::new()
        .route("/name", get(async |CurrentUser(user): CurrentUser| user))
        .route(
            "/login",
            get(async |session: Session| session.log_in_with_stamp("ann", "first")),
        )
        .layer(layer);
    let ann = Browser::new(app);
    assert_eq!(ann.get("/login").await.status, StatusCode::OK);
    *is_hanging.lock() = true;
    let reply = ann.get("/name").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    *is_hanging.lock() = false;
    assert_eq!(ann.get("/name").await.body, "ann");
}
