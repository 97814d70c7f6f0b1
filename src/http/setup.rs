//! What a layer and its services share: [`Setup`].

use std::sync::Arc;

use crate::{config::Config, operator::reaper::Reaper};

/// The settings, and the background task that ends with the last clone of the layer and its services.
///
/// One allocation: axum clones the layer and its service for each request.
pub(crate) struct Setup {
    // Sessions hold the settings alone: one that a handler keeps does not keep the task alive.
    pub(crate) config: Arc<Config>,
    pub(crate) reaper: Reaper,
}

impl Setup {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config: Arc::new(config),
            reaper: Reaper::default(),
        })
    }
}
