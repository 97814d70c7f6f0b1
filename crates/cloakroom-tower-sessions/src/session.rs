//! The sessions of a request that tower-sessions' `Session` type is for: [`TowerSessions`].
//!
//! The versions of tower-sessions' core have the same API in types of their own, so each has the same adapter.

use http::Extensions;

use cloakroom::{Error, PresentedId, SessionHandle};

use crate::{bridge::record_id, user::UserFrom};

/// The sessions of one request, one of each version.
pub(crate) struct TowerSessions {
    handle: SessionHandle,
    /// Whether theirs has an id, so that reading from it reaches cloakroom's session.
    has_id: bool,
    #[cfg(feature = "core-0.14")]
    v0_14: v0_14::Opened,
    #[cfg(feature = "core-0.15")]
    v0_15: v0_15::Opened,
}

impl TowerSessions {
    /// Puts a session of each version into the request's extensions.
    pub(crate) fn open(
        handle: SessionHandle,
        user: Option<&UserFrom>,
        extensions: &mut Extensions,
    ) -> Self {
        let id = match handle.presented_id() {
            PresentedId::Id(id) => Some(record_id(id)),
            _ => None,
        };
        Self {
            has_id: id.is_some(),
            #[cfg(feature = "core-0.14")]
            v0_14: v0_14::Opened::new(&handle, user, id, extensions),
            #[cfg(feature = "core-0.15")]
            v0_15: v0_15::Opened::new(&handle, user, id, extensions),
            handle,
        }
    }

    /// Whether [`finish`](Self::finish) has something to do. It has not if the request only read.
    pub(crate) fn is_pending(&self, is_server_error: bool) -> bool {
        let mut is_pending = !self.has_id || is_server_error;
        #[cfg(feature = "core-0.14")]
        {
            is_pending |= self.v0_14.is_pending();
        }
        #[cfg(feature = "core-0.15")]
        {
            is_pending |= self.v0_15.is_pending();
        }
        is_pending
    }

    /// Applies the changes when the response is ready.
    ///
    /// # Errors
    ///
    /// If the response must be replaced by an error.
    pub(crate) async fn finish(self, is_server_error: bool) -> Result<(), Error> {
        if !self.has_id {
            // The handler may have checked that there is no session, so the response depends on the cookie.
            // No token, no store call.
            let _ = self.handle.peek().await;
        }
        #[cfg(feature = "core-0.14")]
        self.v0_14.finish(is_server_error).await?;
        #[cfg(feature = "core-0.15")]
        self.v0_15.finish(is_server_error).await?;
        Ok(())
    }
}

macro_rules! adapter {
    ($version:ident, $core:ident) => {
        mod $version {
            use std::{
                sync::Arc,
                time::{Duration, SystemTime},
            };

            use async_trait::async_trait;
            use cloakroom::{Error, SessionHandle};
            use http::Extensions;
            use time::OffsetDateTime;
            use $core::{
                Expiry, Session, SessionStore,
                session::{Id, Record},
                session_store,
            };

            use crate::{
                bridge::{Bridge, Call, RecordId, Theirs},
                expiry,
                user::UserFrom,
            };

            /// The store of one request's session.
            #[derive(Debug)]
            struct Adapter(Bridge);

            #[async_trait]
            impl SessionStore for Adapter {
                async fn create(&self, record: &mut Record) -> session_store::Result<()> {
                    let stored = self.0.store(Call::Create, record.id.0, &record.data);
                    if let Some(id) = stored.await.map_err(backend)? {
                        record.id = Id(id);
                    }
                    Ok(())
                }

                async fn save(&self, record: &Record) -> session_store::Result<()> {
                    let stored = self.0.store(Call::Save, record.id.0, &record.data);
                    stored.await.map(drop).map_err(backend)
                }

                async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
                    let loaded = self.0.load(id.0).await.map_err(backend)?;
                    Ok(loaded.map(|(id, data, expires_at)| Record {
                        id: Id(id),
                        data,
                        expiry_date: expiry_date(expires_at),
                    }))
                }

                async fn delete(&self, id: &Id) -> session_store::Result<()> {
                    self.0.delete(id.0).await.map_err(backend)
                }
            }

            fn backend(error: Error) -> session_store::Error {
                session_store::Error::Backend(error.to_string())
            }

            /// A session that never expires, or expires after the year 9999, gets the last moment of that year.
            fn expiry_date(expires_at: Option<SystemTime>) -> OffsetDateTime {
                let remaining = expires_at.map(|at| at.duration_since(SystemTime::now()));
                let remaining = remaining.map(Result::unwrap_or_default);
                let remaining = remaining.and_then(|it| time::Duration::try_from(it).ok());
                let date = remaining.and_then(|it| OffsetDateTime::now_utc().checked_add(it));
                date.unwrap_or(time::PrimitiveDateTime::MAX.assume_utc())
            }

            pub(super) struct Opened {
                session: Session,
                adapter: Arc<Adapter>,
            }

            impl Opened {
                pub(super) fn new(
                    handle: &SessionHandle,
                    user: Option<&UserFrom>,
                    id: Option<RecordId>,
                    extensions: &mut Extensions,
                ) -> Self {
                    let adapter = Arc::new(Adapter(Bridge::new(handle.clone(), user.cloned())));
                    let session = Session::new(id.map(Id), Arc::clone(&adapter), None);
                    extensions.insert(session.clone());
                    Self { session, adapter }
                }

                pub(super) fn is_pending(&self) -> bool {
                    self.adapter.0.is_pending(self)
                }

                pub(super) async fn finish(&self, is_server_error: bool) -> Result<(), Error> {
                    self.adapter.0.finish(self, is_server_error).await
                }
            }

            impl Drop for Opened {
                fn drop(&mut self) {
                    self.adapter.0.close();
                }
            }

            impl Theirs for Opened {
                fn has_id(&self) -> bool {
                    self.session.id().is_some()
                }

                fn is_modified(&self) -> bool {
                    self.session.is_modified()
                }

                fn expiry(&self) -> Option<expiry::Expiry> {
                    Some(match self.session.expiry()? {
                        Expiry::OnSessionEnd => expiry::Expiry::OnSessionEnd,
                        Expiry::OnInactivity(duration) => {
                            let duration = Duration::try_from(duration).unwrap_or_default();
                            expiry::Expiry::OnInactivity(duration)
                        }
                        Expiry::AtDateTime(date) => expiry::Expiry::AtDateTime(date.into()),
                    })
                }

                async fn is_empty(&self) -> bool {
                    self.session.is_empty().await
                }

                async fn save(&self) {
                    // The bridge has the error with its kind.
                    let _ = self.session.save().await;
                }

                fn is_shared(&self) -> bool {
                    // Each session has a reference besides this one.
                    Arc::strong_count(&self.adapter) > 2
                }
            }
        }
    };
}

#[cfg(feature = "core-0.14")]
adapter!(v0_14, tower_sessions_core_0_14);
#[cfg(feature = "core-0.15")]
adapter!(v0_15, tower_sessions_core_0_15);
