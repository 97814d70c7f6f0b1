use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use cloakroom::{Session, SessionHandle, SessionLayer};
use http::{Request, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::{Layer, ServiceExt};

use super::Reply;

/// A visitor with a handler for each request. Every clone has the same cookie.
#[derive(Clone)]
pub(crate) struct Visitor {
    layer: SessionLayer,
    cookie: Arc<Mutex<Option<String>>>,
}

impl Visitor {
    pub(crate) fn new(layer: &SessionLayer) -> Self {
        Self {
            layer: layer.clone(),
            cookie: Arc::default(),
        }
    }

    /// Another visitor, with a copy of this visitor's cookie.
    pub(crate) fn twin(&self) -> Self {
        Self {
            layer: self.layer.clone(),
            cookie: Arc::new(Mutex::new(self.cookie())),
        }
    }

    /// Sets the cookie that the visitor sends, `name=value`.
    pub(crate) fn set_cookie(&self, cookie: Option<String>) {
        *self.cookie.lock() = cookie;
    }

    /// The `name=value` of the session cookie.
    pub(crate) fn cookie(&self) -> Option<String> {
        self.cookie.lock().clone()
    }

    /// Sends one request. Its handler loads the session and runs `act`.
    pub(crate) async fn visit<F, R, O>(&self, act: F) -> Reply
    where
        F: FnOnce(Session) -> R,
        R: Future<Output = O>,
        O: IntoResponse,
    {
        self.ask(|handle| async move {
            match handle.load().await {
                Ok(session) => act(session).await.into_response(),
                Err(error) => error.into_response(),
            }
        })
        .await
    }

    /// Sends one request. Its handler runs `act`, which may load the session.
    pub(crate) async fn ask<F, R>(&self, act: F) -> Reply
    where
        F: FnOnce(SessionHandle) -> R,
        R: Future<Output = Response>,
    {
        let answer = self.try_ask(|handle| async move { Ok::<_, Infallible>(act(handle).await) });
        let Ok(reply) = answer.await;
        reply
    }

    /// Sends one request to a service that may fail.
    pub(crate) async fn try_ask<F, R, E>(&self, act: F) -> Result<Reply, E>
    where
        F: FnOnce(SessionHandle) -> R,
        R: Future<Output = Result<Response, E>>,
    {
        let mut request = Request::new(());
        if let Some(cookie) = self.cookie() {
            let cookie = cookie.parse().unwrap();
            request.headers_mut().insert(header::COOKIE, cookie);
        }
        let mut act = Some(act);
        let service = tower::service_fn(|request: Request<()>| {
            let handle = request.extensions().get::<SessionHandle>().cloned();
            (act.take().unwrap())(handle.unwrap())
        });
        let response = self.layer.layer(service).oneshot(request).await?;
        let reply = read(response).await;
        for cookie in reply.set_cookies() {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let is_removal = attributes.contains("Max-Age=0");
            *self.cookie.lock() = (!is_removal).then(|| pair.to_owned());
        }
        Ok(reply)
    }
}

async fn read(response: Response<Body>) -> Reply {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}
