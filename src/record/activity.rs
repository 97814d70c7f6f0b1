//! When a session was last used, and when it expires: [`Activity`].

use crate::clock::Timestamp;

/// When a session was last used, and when it expires.
///
/// A store keeps it beside the [`Record`](crate::Record), so that a touch can write it without the data.
///
/// ```
/// use cloakroom::{Activity, Timestamp};
///
/// /// A store deletes what expired before a time that it is given, and judges nothing else.
/// fn may_delete(activity: Activity, before: Timestamp) -> bool {
///     activity.expires_at.is_some_and(|expires_at| expires_at < before)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Activity {
    /// When a request last used the session, exact to the layer's
    /// [`touch_after`](crate::SessionLayer::touch_after).
    pub last_seen_at: Timestamp,
    /// The deadline, by the settings of the layer that wrote it. `None`: the session never expires.
    ///
    /// Stores delete by it. A layer with a longer timeout writes a later one at the session's next
    /// request.
    pub expires_at: Option<Timestamp>,
}
