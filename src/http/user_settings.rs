//! The settings of a [`SessionLayer`] for users: pages, credentials, labels, and log-out.

use std::{error, sync::Arc};

use http::{header, request::Parts};

#[cfg(feature = "axum")]
use crate::{config::Pages, http::local_path::check_page};
use crate::{
    error::{Error, ErrorKind},
    http::{clear_site_data::ClearSiteData, layer::SessionLayer},
    record::labels,
};

/// # Users
impl SessionLayer {
    /// Ends sessions whose user's credentials have changed. Default: off.
    ///
    /// `stamp` takes a user's id, and returns a value that changes with their credentials, such as the hash of their
    /// password. It returns `None` if the user no longer exists. When a request asks for the user with
    /// [`CurrentUser`](crate::CurrentUser), [`RequireUser`](crate::RequireUser) or
    /// [`Session::current_user`](crate::Session::current_user), the layer compares the value with the stamp that the
    /// session was [logged in with](crate::Session::log_in_with_stamp). If they differ, the session ends, and the
    /// request continues without a user. A session that was logged in without a stamp ends too.
    ///
    /// So a change of the password ends all sessions of the user, except the one that calls
    /// [`set_stamp`](crate::Session::set_stamp). It costs a look-up for each request that asks for the user. To end
    /// sessions without that cost, call [`Sessions::revoke_user`](crate::Sessions::revoke_user).
    ///
    /// Read the stamp from the primary database. A replica may still return the old stamp, and then the session that
    /// made the change would end.
    ///
    /// If `stamp` fails, or takes longer than the [`store_timeout`](Self::store_timeout), the response is a 503, and no
    /// session ends.
    ///
    /// ```
    /// use std::{collections::HashMap, io, sync::Arc};
    /// use cloakroom::SessionLayer;
    ///
    /// // Password hashes by user, in place of a database.
    /// let users = Arc::new(HashMap::from([("ann".to_owned(), "$argon2id$…".to_owned())]));
    /// let layer = SessionLayer::default().user_stamp(move |user| {
    ///     let users = Arc::clone(&users);
    ///     async move { Ok::<_, io::Error>(users.get(&user).cloned()) }
    /// });
    /// ```
    ///
    /// ([Rule](crate#rules) U5.)
    #[must_use]
    pub fn user_stamp<F, Read, Stamp, E>(self, stamp: F) -> Self
    where
        F: Fn(String) -> Read + Send + Sync + 'static,
        Read: Future<Output = Result<Option<Stamp>, E>> + Send + 'static,
        Stamp: AsRef<[u8]>,
        E: Into<Box<dyn error::Error + Send + Sync>>,
    {
        self.with(|config| {
            config.user_stamp = Some(Arc::new(move |user| {
                let reading = stamp(user);
                Box::pin(async move {
                    let stamp = reading.await.map_err(|error| {
                        let what = "the stamp of a user could not be read";
                        Error::caused(ErrorKind::Unavailable, what, error)
                    })?;
                    Ok(stamp.map(|stamp| stamp.as_ref().to_vec()))
                })
            }));
        })
    }
}

/// # Labels and leaving
impl SessionLayer {
    /// Labels each session with the `User-Agent` of the client, as `user_agent`. Default: off.
    ///
    /// [`SessionSummary::label`](crate::SessionSummary::label) with the name `user_agent` returns it. A longer header is
    /// cut to 256 bytes. See [`label`](Self::label).
    #[must_use]
    pub fn label_user_agent(self) -> Self {
        self.label("user_agent", |request| {
            let value = request.headers.get(header::USER_AGENT)?;
            Some(value.to_str().ok()?.to_owned())
        })
    }

    /// Sets a label of each session to the text that `read` returns for the request in which the session begins or logs
    /// in. Default: no labels.
    ///
    /// Labels tell a user's sessions apart in a list of devices: see
    /// [`SessionSummary::label`](crate::SessionSummary::label). `read` is called for every request. A value of more
    /// than 256 bytes is cut.
    ///
    /// ```
    /// use cloakroom::SessionLayer;
    ///
    /// // Behind a proxy that sets this header itself.
    /// let layer = SessionLayer::default()
    ///     .label_user_agent()
    ///     .label("client_address", |request| {
    ///         Some(request.headers.get("x-real-ip")?.to_str().ok()?.to_owned())
    ///     });
    /// ```
    ///
    /// Keep in mind that a client can send any text in a header, and that an address is personal data.
    ///
    /// # Panics
    ///
    /// If the name is empty or has more than 32 bytes, or if there are more than eight labels. ([Rule](crate#rules) U9.)
    #[must_use]
    #[track_caller]
    pub fn label(
        self,
        name: &str,
        read: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let number = self.setup.config.labels.len() + 1;
        if let Err(error) = labels::check(name, "").and_then(|()| labels::check_number(number)) {
            panic!("{error}");
        }
        self.with(|config| config.labels.push((name.into(), Arc::new(read))))
    }

    /// The data that browsers delete when a session is [destroyed](crate::Session::destroy), by the header
    /// `Clear-Site-Data`. Default: only the session cookie.
    ///
    /// `"cookies"` is left out of a response that sets a cookie, because the browser would delete that one too.
    /// Browsers ignore the header over plain http.
    ///
    /// ```
    /// use cloakroom::{ClearSiteData, SessionLayer};
    ///
    /// let layer = SessionLayer::default()
    ///     .clear_site_data([ClearSiteData::Cache, ClearSiteData::Storage]);
    /// ```
    ///
    /// ([Rule](crate#rules) U7.)
    #[must_use]
    pub fn clear_site_data(self, forgotten: impl IntoIterator<Item = ClearSiteData>) -> Self {
        let directives = forgotten.into_iter().map(ClearSiteData::directive);
        let directives = directives.collect();
        self.with(|config| config.clear_site_data = directives)
    }

    /// Whether the responses to users are `Cache-Control: no-store`. Default: false, such a response is `private`.
    ///
    /// It applies to responses whose request used the session of a user. Neither the browser nor a proxy stores such a
    /// page, so the back button does not show it after the log-out. It replaces a `Cache-Control` header of the
    /// handler, and removes the headers that tell CDNs what to store.
    /// ([Rule](crate#rules) U7.)
    #[must_use]
    pub fn no_store_for_users(self, no_store: bool) -> Self {
        self.with(|config| config.no_store_for_users = no_store)
    }
}

#[cfg(feature = "axum")]
impl SessionLayer {
    /// The path of the page where visitors log in. Default: none.
    ///
    /// [`RequireUser`](crate::RequireUser) redirects visitors to it. [`ReturnTo`](crate::ReturnTo) does not accept it.
    ///
    /// ```
    /// use cloakroom::SessionLayer;
    ///
    /// let layer = SessionLayer::default()
    ///     .log_in_page("/login")
    ///     .log_out_page("/logout");
    /// ```
    ///
    /// # Panics
    ///
    /// If it is not a path on this host. Such a path begins with exactly one `/`.
    #[must_use]
    #[track_caller]
    pub fn log_in_page(self, path: &str) -> Self {
        let page = Some(check_page(path));
        self.with_pages(|pages| pages.log_in = page)
    }

    /// The path of the page where users authenticate again, for
    /// [`RequireUser::fresh`](crate::RequireUser::fresh). Default: the [`log_in_page`](Self::log_in_page).
    ///
    /// # Panics
    ///
    /// As [`log_in_page`](Self::log_in_page).
    #[must_use]
    #[track_caller]
    pub fn confirm_page(self, path: &str) -> Self {
        let page = Some(check_page(path));
        self.with_pages(|pages| pages.confirm = page)
    }

    /// The path where users log out. [`ReturnTo`](crate::ReturnTo) does not accept it. Default: none.
    ///
    /// # Panics
    ///
    /// As [`log_in_page`](Self::log_in_page).
    #[must_use]
    #[track_caller]
    pub fn log_out_page(self, path: &str) -> Self {
        let page = Some(check_page(path));
        self.with_pages(|pages| pages.log_out = page)
    }

    fn with_pages(self, set: impl FnOnce(&mut Pages)) -> Self {
        self.with(|config| set(&mut config.pages))
    }
}
