//! When a session was last used, and when it expires: [`Activity`].

use crate::clock::Timestamp;

/// When a session was last seen and when it ends: what a touch moves.
///
/// Kept beside the [`Record`], so that it can be written without the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Activity {
    /// When a request last used the session, to the layer's `touch_after`.
    pub last_seen_at: Timestamp,
    /// The deadline by the rules at that time; `None`: never.
    pub expires_at: Option<Timestamp>,
}
