//! What a layer and its services share: [`Setup`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{config::Config, operator::reaper::Reaper};

/// The settings, and the background task that ends with the last clone of the layer and its services.
///
/// One allocation: axum clones the layer and its service for each request.
pub(crate) struct Setup {
    // Sessions hold only the settings, so a session that a handler keeps does not keep the task alive.
    pub(crate) config: Arc<Config>,
    pub(crate) reaper: Reaper,
    is_prepared: AtomicBool,
}

impl Setup {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config: Arc::new(config),
            reaper: Reaper::default(),
            is_prepared: AtomicBool::default(),
        })
    }

    /// Checks the settings, once: axum calls `layer` for each request.
    pub(crate) fn prepare(&self) {
        // Read before it is written: all requests share it.
        if !self.is_prepared.load(Ordering::Relaxed)
            && !self.is_prepared.swap(true, Ordering::Relaxed)
        {
            self.config.check_timeouts();
            self.config.label_metrics();
        }
        // A listener may be added at any time.
        self.config.ensure_reporting();
    }
}
