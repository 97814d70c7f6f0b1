//! One load of the backend for all concurrent loads of a session: [`Flight`].

use std::{error, fmt, sync::Arc, time::Duration};

use tokio::{sync::OnceCell, time::Instant};

use crate::{error::store::StoreError, record::Kept};

/// When the backend was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// How many writes of the session had ended before.
    pub(super) writes: u64,
}

impl Asked {
    /// Whether the answer is younger than `max_staleness`. Never if that is zero.
    pub(super) fn is_fresh(self, now: Instant, max_staleness: Duration) -> bool {
        !max_staleness.is_zero() && now.duration_since(self.at) <= max_staleness
    }
}

pub(super) struct Flight {
    pub(super) asked: Asked,
    answer: OnceCell<Result<Option<Kept>, Arc<StoreError>>>,
}

impl Flight {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            asked,
            answer: OnceCell::new(),
        }
    }

    pub(super) fn has_landed(&self) -> bool {
        self.answer.initialized()
    }

    /// Asks the backend, or waits for the call that does. If that one is dropped, asks.
    pub(super) async fn land(
        &self,
        ask: impl Future<Output = Result<Option<Kept>, StoreError>>,
    ) -> Result<Option<Kept>, StoreError> {
        let answer = self
            .answer
            .get_or_init(async || ask.await.map_err(Arc::new));
        answer.await.clone().map_err(|error| {
            // Nothing is applied by a load.
            StoreError::new(error.kind(), Shared(error)).not_applied()
        })
    }
}

/// An error that several requests share.
#[derive(Debug)]
struct Shared(Arc<StoreError>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for Shared {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
    }
}
