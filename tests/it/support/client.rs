use std::convert::Infallible;

use cloakroom::{Session, SessionHandle, SessionLayer};
use http::{Request, Response, header};
use parking_lot::Mutex;
use tower::{Layer as _, ServiceExt as _, service_fn};

/// A visitor of a plain tower service, who keeps their cookie.
pub(crate) struct Client {
    layer: SessionLayer,
    cookie: Mutex<Option<String>>,
}

impl Client {
    pub(crate) fn new(layer: SessionLayer) -> Self {
        Self {
            layer,
            cookie: Mutex::new(None),
        }
    }

    /// A visitor with this cookie, `name=value`.
    pub(crate) fn with_cookie(layer: SessionLayer, cookie: String) -> Self {
        Self {
            layer,
            cookie: Mutex::new(Some(cookie)),
        }
    }

    /// The cookie that they send, `name=value`.
    pub(crate) fn cookie(&self) -> Option<String> {
        self.cookie.lock().clone()
    }

    /// Sends one request. The service runs `act`.
    pub(crate) async fn visit<T>(&self, act: impl AsyncFnOnce(Session) -> T) -> T {
        self.ask(act).await.0
    }

    /// The same as `visit`, and returns the response too.
    pub(crate) async fn ask<T>(
        &self,
        act: impl AsyncFnOnce(Session) -> T,
    ) -> (T, Response<String>) {
        let mut request = Request::get("/");
        if let Some(cookie) = self.cookie() {
            request = request.header(header::COOKIE, cookie);
        }
        let mut act = Some(act);
        let output = Mutex::new(None);
        let slot = &output;
        let service = service_fn(move |request: Request<()>| {
            let act = act.take().unwrap();
            async move {
                let handle = request.extensions().get::<SessionHandle>().unwrap();
                let session = handle.load().await.unwrap();
                let done = act(session).await;
                *slot.lock() = Some(done);
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        });
        let response = self
            .layer
            .layer(service)
            .oneshot(request.body(()).unwrap())
            .await
            .unwrap();
        if let Some(set) = response.headers().get(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let pair = set.split(';').next().unwrap().to_owned();
            *self.cookie.lock() = (!set.contains("Max-Age=0")).then_some(pair);
        }
        (output.into_inner().unwrap(), response)
    }
}
