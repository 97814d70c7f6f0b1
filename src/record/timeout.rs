//! A session's own timeout: [`Timeout`].

use std::time::Duration;

/// A session's own idle or absolute timeout, which replaces the layer's.
///
/// Set it with [`Session::set_idle_timeout`](crate::Session::set_idle_timeout) and
/// [`Session::set_absolute_timeout`](crate::Session::set_absolute_timeout). It applies until the next log-in.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{Session, Timeout};
///
/// fn keep_me_logged_in(session: &Session, chosen: bool) {
///     session.set_idle_timeout(if chosen {
///         Timeout::After(Duration::from_secs(14 * 24 * 60 * 60))
///     } else {
///         Timeout::Layer
///     });
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// The layer's timeout, the default. A change of the layer's setting applies to this session too.
    #[default]
    Layer,
    /// This long, cut to whole milliseconds.
    After(Duration),
    /// No timeout of this kind.
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
