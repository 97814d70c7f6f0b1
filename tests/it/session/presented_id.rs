//! Which session the cookies name, known without asking the store.

use axum::response::IntoResponse;
use cloakroom::{PresentedId, Session, SessionLayer};

use crate::support::{
    FaultyStore, Visitor,
    acts::{self, destroy, insert},
    token,
};

async fn presented(visitor: &Visitor, loads: bool) -> PresentedId {
    let mut presented = None;
    visitor
        .ask(async |handle| {
            if loads {
                handle.load().await.unwrap();
            }
            presented = Some(handle.presented_id());
            ().into_response()
        })
        .await;
    presented.unwrap()
}

#[tokio::test]
async fn the_cookies_name_a_session_without_a_store_call() {
    let store = FaultyStore::in_memory();
    let visitor = Visitor::new(&SessionLayer::new(store.clone()));
    assert_eq!(presented(&visitor, false).await, PresentedId::None);
    visitor.set_cookie(Some("__Host-id=malformed".into()));
    assert_eq!(presented(&visitor, false).await, PresentedId::None);
    insert(&visitor, "n", 1).await;
    let _ = store.calls();
    let named = PresentedId::Id(acts::id(&visitor));
    assert_eq!(presented(&visitor, false).await, named);
    let cookie = visitor.cookie().unwrap();
    let never = token::join(token::NEVER_ISSUED, [0; 16]);
    visitor.set_cookie(Some(format!("{cookie}; __Host-id={never}")));
    assert_eq!(presented(&visitor, false).await, PresentedId::Unclear);
    assert_eq!(store.calls(), []);
    assert_eq!(presented(&visitor, true).await, named);
}

#[tokio::test]
async fn once_the_session_is_loaded_it_is_that_of_the_visitors_session() {
    let visitor = Visitor::new(&SessionLayer::default());
    insert(&visitor, "n", 1).await;
    let old = visitor.twin();
    destroy(&visitor).await;
    assert!(matches!(presented(&old, false).await, PresentedId::Id(_)));
    assert_eq!(presented(&old, true).await, PresentedId::None);
    let reply = old.visit(async |session: Session| session.insert("n", 1));
    reply.await;
    assert_eq!(presented(&old, true).await, PresentedId::Id(acts::id(&old)));
}
