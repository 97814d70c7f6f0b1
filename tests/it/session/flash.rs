//! Rule U6: messages that are shown once.

use axum::{Router, extract::Path, response::Redirect, routing::get};
use cloakroom::{
    Error, ErrorKind, Flash, FlashLevel, Session, SessionLayer, StoreCall,
    store::StoreErrorKind,
    testing::{Fault, FaultyStore},
};
use futures::future::join_all;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::support::{Browser, Client};

async fn show(flash: Flash) -> Result<String, Error> {
    let taken = flash.take().await?;
    let lines = taken
        .iter()
        .map(|message| format!("{}:{message}", message.level));
    Ok(lines.collect::<Vec<_>>().join(" "))
}

fn app(layer: SessionLayer) -> Router {
    let save = async |flash: Flash, Path(name): Path<String>| {
        flash.success(format!("{name} saved"))?;
        Ok::<_, Error>(Redirect::to("/on"))
    };
    let on = async |flash: Flash| {
        flash.info("on the way")?;
        Ok::<_, Error>(Redirect::to("/"))
    };
    Router::new()
        .route("/save/{name}", get(save))
        .route("/on", get(on))
        .route(
            "/login",
            get(async |session: Session| session.log_in("ann")),
        )
        .route("/", get(show))
        .layer(layer)
}

#[tokio::test]
async fn u6_messages_are_shown_once_after_any_number_of_redirects() {
    let browser = Browser::new(app(SessionLayer::default()));
    assert_eq!(browser.get("/").await.body, "");
    assert_eq!(browser.cookie("__Host-id"), None);
    browser.get("/save/tea").await;
    browser.get("/on").await;
    browser.get("/login").await;
    assert_eq!(
        browser.get("/").await.body,
        "success:tea saved info:on the way"
    );
    assert_eq!(browser.get("/").await.body, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u6_no_message_is_lost_and_each_is_shown_in_one_tab() {
    let browser = Browser::new(app(SessionLayer::default()));
    browser.get("/save/first").await;
    let names: Vec<String> = (0..10).map(|n| format!("/save/n{n}")).collect();
    join_all(names.iter().map(|name| browser.get(name))).await;
    let tabs = join_all((0..5).map(|_| browser.get("/"))).await;
    let mut shown: Vec<&str> = tabs
        .iter()
        .flat_map(|tab| tab.body.split("success:").skip(1))
        .map(str::trim)
        .collect();
    shown.sort_unstable();
    assert_eq!(shown.len(), 11, "{shown:?}");
    shown.dedup();
    assert_eq!(shown.len(), 11, "{shown:?}");
}

#[tokio::test]
async fn u6_at_most_32_messages_are_kept_and_the_oldest_goes_first() {
    let visitor = Client::new(SessionLayer::default());
    visitor
        .visit(async |session| {
            let flash = Flash::<u32>::of(&session);
            for n in 0..40_u32 {
                flash.info(n).unwrap();
            }
            assert_eq!((flash.len(), flash.is_empty()), (32, false));
        })
        .await;
    let taken = visitor
        .visit(async |session| Flash::<u32>::of(&session).take().await.unwrap())
        .await;
    let payloads: Vec<u32> = taken.iter().map(|message| message.payload).collect();
    assert_eq!(payloads, (8..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_of_this_request_can_be_shown_by_it() {
    let visitor = Client::new(SessionLayer::default());
    for _ in 0..2 {
        visitor
            .visit(async |session| {
                session.insert("n", 1).unwrap();
                let flash = Flash::<String>::of(&session);
                flash.error("No").unwrap();
                let taken = flash.take().await.unwrap();
                assert_eq!((taken.len(), taken[0].level), (1, FlashLevel::Error));
                assert!(flash.take().await.unwrap().is_empty());
            })
            .await;
    }
    visitor
        .visit(async |session| assert!(Flash::<String>::of(&session).is_empty()))
        .await;
}

#[tokio::test]
async fn u6_a_message_of_another_type_does_not_affect_the_page() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Notice {
        Shipped { order: u64, weight: Option<f64> },
    }
    let shipped = || Notice::Shipped {
        order: u64::MAX,
        weight: None,
    };
    let visitor = Client::new(SessionLayer::default());
    visitor
        .visit(async |session| {
            Flash::<String>::of(&session).warning("old").unwrap();
            let flash = Flash::<Notice>::of(&session);
            flash.debug(shipped()).unwrap();
            let not_finite = Notice::Shipped {
                order: 1,
                weight: Some(f64::NAN),
            };
            let error = flash.debug(not_finite).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Serialize);
        })
        .await;
    visitor
        .visit(async |session| {
            let taken = Flash::<Notice>::of(&session).take().await.unwrap();
            assert_eq!(taken.len(), 1);
            assert_eq!(taken[0].payload, shipped());
            // What the application has put in their place.
            session.insert("cloakroom.flash", "oops").unwrap();
        })
        .await;
    visitor
        .visit(async |session| {
            let flash = Flash::<String>::of(&session);
            assert_eq!(flash.len(), 0);
            assert!(flash.take().await.unwrap().is_empty());
            session.insert("cloakroom.flash", 5).unwrap();
            flash.info("Saved").unwrap();
            assert_eq!(flash.take().await.unwrap().len(), 1);
        })
        .await;
}

#[tokio::test]
async fn messages_that_are_too_large_are_refused_and_the_others_stay() {
    let visitor = Client::new(SessionLayer::default().max_data_bytes(200));
    visitor
        .visit(async |session| {
            let flash = Flash::<String>::of(&session);
            flash.info("short").unwrap();
            let error = flash.info("x".repeat(200)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert_eq!(flash.take().await.unwrap().len(), 1);
        })
        .await;
}

#[tokio::test]
async fn pages_without_messages_ask_the_store_for_nothing_and_a_store_that_fails_is_503() {
    let store = FaultyStore::in_memory();
    let browser = Browser::new(app(SessionLayer::new(store.clone())));
    browser.get("/login").await;
    store.plan_for(StoreCall::Update, Fault::Fail(StoreErrorKind::Unavailable));
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    store.heal();
    browser.get("/save/tea").await;
    store.plan_for(StoreCall::Update, Fault::Fail(StoreErrorKind::Unavailable));
    assert_eq!(
        browser.get("/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[test]
fn a_message_shows_its_payload_and_flash_shows_none() {
    assert_eq!(FlashLevel::Warning.to_string(), "warning");
    assert!(FlashLevel::Error > FlashLevel::Success);
}
