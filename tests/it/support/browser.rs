use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::ServiceExt;

/// A visitor: sends requests to an app in this process, and keeps its cookies. Every clone has the same cookie jar.
#[derive(Clone)]
pub(crate) struct Browser {
    app: Router,
    jar: Arc<Mutex<BTreeMap<String, String>>>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    /// The values of all headers of this name.
    pub(crate) fn all(&self, name: impl header::AsHeaderName) -> Vec<String> {
        self.headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    }

    pub(crate) fn set_cookies(&self) -> Vec<String> {
        self.all(header::SET_COOKIE)
    }
}

impl Browser {
    pub(crate) fn new(app: Router) -> Self {
        Self {
            app,
            jar: Arc::default(),
        }
    }

    /// Another visitor of the same app, with a copy of this visitor's cookies.
    pub(crate) fn twin(&self) -> Self {
        Self {
            app: self.app.clone(),
            jar: Arc::new(Mutex::new(self.jar.lock().clone())),
        }
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.jar.lock().get(name).cloned()
    }

    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.jar.lock().insert(name.to_owned(), value.to_owned());
    }

    /// Sends a request with the jar's cookies, and keeps the cookies of the response.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        let cookies: Vec<String> = self
            .jar
            .lock()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = Request::get(path);
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let reply = send(&self.app, request.body(Body::empty()).unwrap()).await;
        for cookie in reply.set_cookies() {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((&cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.jar.lock().remove(name);
            } else {
                self.set_cookie(name, value);
            }
        }
        reply
    }

    /// Sends exactly this request, without the jar.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        send(&self.app, request).await
    }
}

async fn send(app: &Router, request: Request<Body>) -> Reply {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// The `name=value` of the reply's one session cookie, under the default name.
pub(crate) fn session_cookie(reply: &Reply) -> String {
    let cookies = reply.set_cookies();
    let cookie = cookies.iter().find(|c| c.starts_with("__Host-id="));
    let cookie = cookie.unwrap_or_else(|| panic!("no session cookie in {cookies:?}"));
    cookie.split(';').next().unwrap().to_owned()
}
