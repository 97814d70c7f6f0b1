//! A visitor of an application in this process.
#![allow(dead_code)] // Each test uses its part.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header, request},
};
use tower::ServiceExt as _;

/// A browser without a page: its cookie, and its name.
#[derive(Clone)]
pub(crate) struct Visitor {
    app: Router,
    agent: &'static str,
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// Where it leads.
    pub(crate) to: String,
    pub(crate) body: String,
}

impl Visitor {
    pub(crate) fn new(app: &Router, agent: &'static str) -> Self {
        Self {
            app: app.clone(),
            agent,
            cookie: None,
        }
    }

    async fn send(&mut self, request: request::Builder, body: String) -> Reply {
        let mut request = request
            .header("sec-fetch-mode", "navigate")
            .header("user-agent", self.agent)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap());
        if let Some(cookie) = text(header::SET_COOKIE) {
            let pair = cookie.split(';').next().unwrap().to_owned();
            self.cookie = (!cookie.contains("Max-Age=0")).then_some(pair);
        }
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Reply {
            status: parts.status,
            to: text(header::LOCATION).unwrap_or_default().to_owned(),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(Request::get(path), String::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, form: &str) -> Reply {
        self.send(Request::post(path), form.to_owned()).await
    }
}
