//! A store of tower-sessions, of either version: [`OldStore`].

use std::time::SystemTime;

use cloakroom::StoreError;

use crate::{bridge::RecordId, values::Values};

/// A store of tower-sessions. Every type with its trait `SessionStore` implements it. Other crates cannot implement it.
///
/// `V` is the version of the trait.
pub trait OldStore<V>: sealed::Store<V> {}

impl<S: sealed::Store<V>, V> OldStore<V> for S {}

/// A session in the old store.
#[derive(Debug)]
pub struct OldRecord {
    pub(super) values: Values,
    pub(super) expires_at: SystemTime,
}

mod sealed {
    use super::{OldRecord, RecordId, StoreError};

    pub trait Store<V>: Send + Sync + 'static {
        /// The id that a cookie's value is.
        fn parse(text: &str) -> Option<RecordId>;

        fn load(
            &self,
            id: RecordId,
        ) -> impl Future<Output = Result<Option<OldRecord>, StoreError>> + Send;

        fn delete(&self, id: RecordId) -> impl Future<Output = Result<(), StoreError>> + Send;
    }
}

macro_rules! old_store {
    ($feature:literal, $version:ident, $core:ident) => {
        #[doc = concat!("The trait of tower-sessions-core ", $feature, ".")]
        #[derive(Clone, Copy, Debug)]
        pub enum $version {}

        impl<S: $core::SessionStore> sealed::Store<$version> for S {
            fn parse(text: &str) -> Option<RecordId> {
                let id: $core::session::Id = text.parse().ok()?;
                Some(id.0)
            }

            async fn load(&self, id: RecordId) -> Result<Option<OldRecord>, StoreError> {
                use $core::session_store::Error;

                let loaded = $core::SessionStore::load(self, &$core::session::Id(id)).await;
                match loaded {
                    Ok(record) => Ok(record.map(|record| OldRecord {
                        values: record.data,
                        expires_at: record.expiry_date.into(),
                    })),
                    // The old library cannot read it either, and the visitor must not be locked out.
                    Err(Error::Decode(error)) => {
                        tracing::warn!(error, "an old session does not decode: it is not imported");
                        Ok(None)
                    }
                    Err(error) => Err(unavailable(error)),
                }
            }

            async fn delete(&self, id: RecordId) -> Result<(), StoreError> {
                let deleted = $core::SessionStore::delete(self, &$core::session::Id(id)).await;
                deleted.map_err(unavailable)
            }
        }
    };
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::new(cloakroom::store::StoreErrorKind::Unavailable, error)
}

#[cfg(feature = "core-0.14")]
old_store!("0.14", Core014, tower_sessions_core_0_14);
#[cfg(feature = "core-0.15")]
old_store!("0.15", Core015, tower_sessions_core_0_15);
