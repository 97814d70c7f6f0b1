//! A session's own timeout, in place of the layer's: [`Timeout`].

use std::time::Duration;

/// One of a session's two timeouts, as the session itself keeps it (rule L4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// Whatever the layer says today. The default.
    #[default]
    Layer,
    /// This long, in whole milliseconds.
    After(Duration),
    /// No deadline.
    Never,
}

impl Timeout {
    pub(crate) fn or(self, layer: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Layer => layer,
            Self::After(duration) => Some(duration),
            Self::Never => None,
        }
    }
}
