use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use cloakroom::{Session, SessionHandle, SessionLayer, Sessions, testing::FaultyStore};
use cloakroom_tower_sessions::{TowerSessionsLayer, axum_login_user};
use http::{Request, header};
use parking_lot::Mutex;
use tower::{Layer, ServiceExt as _};

use super::{Reply, browser::Cookies};

/// A visitor whose every request brings its own handler. The value "user" names the user.
pub(crate) struct Visitor {
    pub(crate) cookies: Cookies,
    pub(crate) sessions: Sessions,
    pub(crate) store: FaultyStore,
    layer: SessionLayer,
}

/// The views of one session that a request gets.
pub(crate) struct Views {
    pub(crate) theirs: tower_sessions::Session,
    pub(crate) newer: tower_sessions_0_15::Session,
    pub(crate) handle: SessionHandle,
}

impl Views {
    /// cloakroom's own.
    pub(crate) async fn ours(&self) -> Session {
        self.handle.load().await.unwrap()
    }
}

impl Visitor {
    pub(crate) fn new() -> Self {
        let store = FaultyStore::in_memory();
        Self::of(SessionLayer::new(store.clone()), store)
    }

    pub(crate) fn of(layer: SessionLayer, store: FaultyStore) -> Self {
        let layer = layer.reap_every(None);
        Self {
            cookies: Cookies::default(),
            sessions: layer.sessions(),
            store,
            layer,
        }
    }

    /// Whoever has the same cookies.
    pub(crate) fn copy(&self) -> Self {
        Self {
            cookies: self.cookies.clone(),
            sessions: self.sessions.clone(),
            store: self.store.clone(),
            layer: self.layer.clone(),
        }
    }

    pub(crate) async fn visit<F, R, O>(&self, handle: F) -> Reply
    where
        F: FnOnce(Views) -> R + Send + 'static,
        R: Future<Output = O> + Send,
        O: IntoResponse,
    {
        let reply = self.ask(handle).await;
        self.cookies.receive(&reply);
        reply
    }

    /// As [`visit`](Self::visit); the reply does not reach the visitor.
    pub(crate) async fn ask<F, R, O>(&self, handle: F) -> Reply
    where
        F: FnOnce(Views) -> R + Send + 'static,
        R: Future<Output = O> + Send,
        O: IntoResponse,
    {
        // A service is cloned, and a handler is called once.
        let handle = Arc::new(Mutex::new(Some(handle)));
        let service = tower::service_fn(move |request: Request<Body>| {
            let handle = handle.lock().take().expect("one request, one call");
            async move {
                let extensions = request.extensions();
                let views = Views {
                    theirs: extensions.get().cloned().unwrap(),
                    newer: extensions.get().cloned().unwrap(),
                    handle: extensions.get().cloned().unwrap(),
                };
                drop(request);
                Ok::<Response, Infallible>(handle(views).await.into_response())
            }
        });
        let bridge = TowerSessionsLayer::new().user_from("user", axum_login_user);
        let service = self.layer.layer(bridge.layer(service));
        let mut request = Request::builder();
        if let Some(cookies) = self.cookies.header() {
            request = request.header(header::COOKIE, cookies);
        }
        let request = request.body(Body::empty()).unwrap();
        let Ok(response) = service.oneshot(request).await;
        Reply::of(response).await
    }

    /// `user` or `-`, and the keys of the session as cloakroom has it; `none` if there is none.
    pub(crate) async fn seen(&self) -> String {
        let reply = self.ask(async |views| {
            let Some(session) = views.handle.peek().await.unwrap() else {
                return "none".to_owned();
            };
            let user = session.user().unwrap_or("-".into());
            format!("{user} {}", session.keys().join(","))
        });
        reply.await.body
    }
}
