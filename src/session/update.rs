//! A value computed from the former one: [`Computation`]. If another request has changed
//! the value, `Changes::rebase` runs it again, for a commit.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, ErrorKind},
    record::value::{Json, read, write},
    state::changes::Replay,
};

/// The closure of an `update` or `try_update`.
pub(super) struct Computation<F, T, E> {
    compute: F,
    types: PhantomData<fn(T) -> E>,
}

impl<F, T, E> Computation<F, T, E>
where
    T: Serialize + DeserializeOwned,
    F: Fn(Option<T>) -> Result<Option<T>, E>,
{
    pub(super) fn new(compute: F) -> Self {
        Self {
            compute,
            types: PhantomData,
        }
    }

    /// The value that the closure computes from `current`, with its JSON text, or its refusal.
    #[allow(clippy::type_complexity)]
    pub(super) fn on(
        &self,
        key: &str,
        current: Option<&[u8]>,
    ) -> Result<Result<(Option<T>, Option<Json>), E>, Error> {
        match (self.compute)(read(key, current)?) {
            Err(refusal) => Ok(Err(refusal)),
            Ok(None) => Ok(Ok((None, None))),
            Ok(Some(value)) => {
                let json = write(key, &value)?;
                Ok(Ok((Some(value), Some(json))))
            }
        }
    }
}

impl<F, T, E> Replay for Computation<F, T, E>
where
    T: Serialize + DeserializeOwned,
    F: Fn(Option<T>) -> Result<Option<T>, E> + Send + Sync,
{
    fn run(&self, key: &str, current: Option<&[u8]>) -> Result<Option<Json>, Error> {
        match self.on(key, current)? {
            Ok((_, json)) => Ok(json),
            Err(_) => Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "another request has changed `{key}`, and the update refused the latest value"
                ),
            )),
        }
    }
}
