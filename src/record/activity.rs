//! When a session was last used, and when it expires: [`Activity`].

use crate::clock::Timestamp;

/// When a session was last used, and when it expires.
///
/// A store keeps it beside the [`Record`](crate::Record), so that a touch writes only this.
///
/// ```
/// use cloakroom::{Activity, Timestamp};
///
/// /// A store compares the deadline with the time that it is given.
/// fn may_delete(activity: Activity, before: Timestamp) -> bool {
///     activity.expires_at.is_some_and(|expires_at| expires_at < before)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Activity {
    /// When a request last used the session. It may be too early by up to the layer's
    /// [`touch_after`](crate::SessionLayer::touch_after).
    pub last_seen_at: Timestamp,
    /// When the session expires, according to the settings of the layer that wrote it. `None`: never.
    ///
    /// A store deletes the session by this deadline. A layer with a longer timeout writes a later deadline at
    /// the session's next request.
    pub expires_at: Option<Timestamp>,
}

impl Activity {
    /// Returns an activity with these times. In a store, use this instead of a struct expression. If a later version adds
    /// a field that a store has to keep, [`Conformance`](crate::testing::Conformance) finds a store that does not.
    #[must_use]
    pub fn new(last_seen_at: Timestamp, expires_at: Option<Timestamp>) -> Self {
        Self {
            last_seen_at,
            expires_at,
        }
    }
}
