use axum::{
    Router,
    body::{Body, to_bytes},
    response::Response,
};
use http::{HeaderMap, Method, Request, StatusCode, header};
use parking_lot::Mutex;
use tower::ServiceExt as _;

/// A visitor of an app.
pub(crate) struct Browser {
    app: Router,
    pub(crate) cookies: Cookies,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) async fn of(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        let all = self.headers.get_all(header::SET_COOKIE);
        all.iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// The one `Set-Cookie` header.
    pub(crate) fn set_cookie(&self) -> &str {
        let all = self.set_cookies();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }

    pub(crate) fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().unwrap()
    }

    pub(crate) fn varies(&self) -> bool {
        self.headers
            .get(header::VARY)
            .is_some_and(|vary| vary == "Cookie")
    }
}

impl Browser {
    pub(crate) fn new(app: Router) -> Self {
        Self {
            app,
            cookies: Cookies::default(),
        }
    }

    pub(crate) fn other(&self) -> Self {
        Self::new(self.app.clone())
    }

    /// The same visitor at another app, with the cookies as they are now.
    #[allow(dead_code)] // Not all tests have two apps.
    pub(crate) fn at(&self, app: Router) -> Self {
        Self {
            app,
            cookies: self.cookies.clone(),
        }
    }

    /// The same visitor, with the cookies as they are now.
    pub(crate) fn copy(&self) -> Self {
        let copy = self.other();
        Self {
            cookies: self.cookies.clone(),
            ..copy
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, form: &str) -> Reply {
        self.send(Method::POST, path, Body::from(form.to_owned()))
            .await
    }

    /// The body of a page that must be there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
        reply.body
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Reply {
        let mut request = Request::builder().method(&method).uri(path);
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(cookies) = self.cookies.header() {
            request = request.header(header::COOKIE, cookies);
        }
        let response = self.app.clone().oneshot(request.body(body).unwrap()).await;
        let reply = Reply::of(response.unwrap()).await;
        self.cookies.receive(&reply);
        reply
    }
}

/// What a browser keeps, by the cookies' names.
#[derive(Debug, Default)]
pub(crate) struct Cookies(Mutex<Vec<(String, String)>>);

impl Clone for Cookies {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.0.lock().clone()))
    }
}

impl Cookies {
    /// The value of the session's cookie.
    pub(crate) fn session(&self) -> Option<String> {
        self.get("__Host-id")
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let cookies = self.0.lock();
        let cookie = cookies.iter().find(|(known, _)| known == name);
        cookie.map(|(_, value)| value.clone())
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        let mut cookies = self.0.lock();
        cookies.retain(|(known, _)| known != name);
        cookies.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn header(&self) -> Option<String> {
        let cookies = self.0.lock();
        let pairs = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let pairs: Vec<_> = pairs.collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub(crate) fn receive(&self, reply: &Reply) {
        for cookie in reply.set_cookies() {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if cookie.contains("Max-Age=0") {
                self.0.lock().retain(|(known, _)| known != name);
            } else {
                self.set(name, value);
            }
        }
    }
}
