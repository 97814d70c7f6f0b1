//! The page that a visitor returns to after the log-in: [`ReturnTo`].

use std::{convert::Infallible, fmt};

use axum::extract::FromRequestParts;
use form_urlencoded::Serializer;
use http::{Uri, request::Parts};

use crate::{
    auth::original_uri,
    http::local_path::{is_local, is_same_page},
    session::handle::SessionHandle,
};

/// The name of the parameter.
const NEXT: &str = "next";

/// An extractor for the page to return to after the log-in: `?next=` in the query.
///
/// [`RequireUser`](crate::RequireUser) sets it. A link from another site can set it too, so `ReturnTo` accepts only
/// a path on this host that is neither the log-in nor the log-out page. For anything else it is empty. It never
/// rejects a request.
///
/// ```
/// use axum::response::{Html, Redirect};
/// use cloakroom::{Error, ReturnTo, Session};
///
/// async fn log_in_page(return_to: ReturnTo) -> Html<String> {
///     let action = format!("/login{}", return_to.query());
///     Html(format!(r#"<form method="post" action="{action}">…</form>"#))
/// }
///
/// async fn log_in(session: Session, return_to: ReturnTo) -> Result<Redirect, Error> {
///     // After the password was checked:
///     session.log_in("ann")?;
///     Ok(Redirect::to(return_to.or("/account")))
/// }
/// ```
///
/// # What is accepted
///
/// A path with its query, at most 2 KiB of visible ASCII characters without `\`. It begins with one `/`, and its
/// second byte is neither `/` nor `\`. It must not be the page of this request, or the layer's
/// [`log_in_page`](crate::SessionLayer::log_in_page) or [`log_out_page`](crate::SessionLayer::log_out_page), in any
/// spelling. If there is more than one `next`, all are ignored. ([Rule](crate#rules) U4.)
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ReturnTo(Option<Box<str>>);

impl ReturnTo {
    /// The path with its query. `None` without an accepted `next`.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The path, or `other` if there is none.
    #[must_use]
    pub fn or<'a>(&'a self, other: &'a str) -> &'a str {
        self.path().unwrap_or(other)
    }

    /// A query that passes the path on, such as `?next=%2Forders`. Empty without a path. It needs no escaping in
    /// HTML.
    #[must_use]
    pub fn query(&self) -> String {
        let path = self.path();
        path.map_or_else(String::new, |path| format!("?{}", next(path)))
    }

    fn of(parts: &Parts) -> Option<Box<str>> {
        let uri = original_uri(parts);
        let mut given = form_urlencoded::parse(uri.query()?.as_bytes())
            .filter(|(name, _)| name == NEXT)
            .map(|(_, path)| path);
        let (path, further) = (given.next()?, given.next());
        let is_safe = is_local(&path) && further.is_none() && !is_same_page(&path, uri.path());
        let handle = parts.extensions.get::<SessionHandle>();
        let pages = handle.map(|handle| &handle.shared().config.pages);
        let is_for_users = pages.is_none_or(|pages| {
            let mut pages = pages.log_in.iter().chain(&pages.log_out);
            !pages.any(|page| is_same_page(&path, page))
        });
        (is_safe && is_for_users).then(|| path.into())
    }
}

/// `page` with the parameter `next`.
pub(super) fn with_next(page: &str, from: &Uri) -> String {
    let from = from.path_and_query().map_or("", |path| path.as_str());
    // A path that the log-in page would not accept is left out.
    if !is_local(from) {
        return page.to_owned();
    }
    let (page, fragment) = page.split_at(page.find('#').unwrap_or(page.len()));
    let joint = if page.contains('?') { '&' } else { '?' };
    format!("{page}{joint}{}{fragment}", next(from))
}

fn next(path: &str) -> String {
    Serializer::new(String::new())
        .append_pair(NEXT, path)
        .finish()
}

impl<S: Sync> FromRequestParts<S> for ReturnTo {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Self::of(parts)))
    }
}

/// Shows the path, but not the query, which may have data of the visitor.
impl fmt::Debug for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().and_then(|path| path.split('?').next());
        f.debug_tuple("ReturnTo").field(&path).finish()
    }
}
