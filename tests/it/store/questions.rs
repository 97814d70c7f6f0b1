//! How often a store is asked about tokens that open nothing.

use std::{convert::Infallible, sync::Arc};

use cloakroom::{
    MemoryStore, SessionCookie, SessionHandle, SessionLayer, SessionStore,
    store::{DynStore, TieredStore},
};
use http::{Request, Response, header};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{
    FaultyStore, StoreCall,
    token::{NEVER_ISSUED, join},
};

/// What `store` is asked by a request with three invented tokens.
async fn asked(store: impl SessionStore) -> Vec<StoreCall> {
    let counted = FaultyStore::new(store);
    let layer = SessionLayer::new(counted.clone())
        .cookie(SessionCookie::new("id"))
        .reap_every(None);
    let cookies = [1, 2, 3].map(|n| format!("__Host-id={}", join(NEVER_ISSUED, [n; 16])));
    let request = Request::get("/").header(header::COOKIE, cookies.join("; "));
    let service = service_fn(async |request: Request<()>| {
        let handle: &SessionHandle = request.extensions().get().unwrap();
        assert!(handle.load().await.unwrap().is_new());
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = layer.layer(service);
    service.oneshot(request.body(()).unwrap()).await.unwrap();
    counted.calls()
}

const ONCE: [StoreCall; 3] = [StoreCall::Load; 3];

#[tokio::test]
async fn a_store_without_a_cache_is_asked_once_for_each_token() {
    assert_eq!(asked(MemoryStore::default()).await, ONCE);
    assert_eq!(asked(Arc::new(MemoryStore::default())).await, ONCE);
    assert_eq!(asked(DynStore::new(MemoryStore::default())).await, ONCE);
    let wrapped = DynStore::new(Arc::new(FaultyStore::in_memory()));
    assert_eq!(asked(wrapped).await, ONCE);
}

#[cfg(feature = "file")]
#[tokio::test]
async fn a_directory_is_asked_once_for_each_token() {
    let place = std::env::temp_dir().join(format!("cloakroom-asked-{}", std::process::id()));
    let store = cloakroom::store::FileStore::open(&place).unwrap();
    assert_eq!(asked(store).await, ONCE);
    std::fs::remove_dir_all(place).unwrap();
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_database_is_asked_once_for_each_token() {
    let store = cloakroom::store::SqliteStore::connect("sqlite::memory:")
        .await
        .unwrap();
    store.migrate().await.unwrap();
    assert_eq!(asked(store).await, ONCE);
}

#[tokio::test]
async fn behind_a_cache_a_rejection_is_confirmed() {
    let tiered = || TieredStore::new(MemoryStore::default(), MemoryStore::default());
    let twice = [StoreCall::Load, StoreCall::LoadLatest].repeat(3);
    assert_eq!(asked(tiered()).await, twice);
    assert_eq!(asked(Arc::new(tiered())).await, twice);
    assert_eq!(asked(DynStore::new(tiered())).await, twice);
    assert_eq!(asked(FaultyStore::new(tiered())).await, twice);
}
