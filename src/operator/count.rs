//! A count that may stop at a limit: [`SessionCount`].

use std::fmt;

/// How many sessions match a filter. [`Sessions::count_matching`](crate::Sessions::count_matching)
/// returns it.
///
/// ```
/// use cloakroom::SessionCount;
///
/// fn is_quiet(count: SessionCount) -> bool {
///     count.is_exact && count.sessions < 100
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionCount {
    /// How many sessions match. If the count is not exact, at least this many.
    pub sessions: u64,
    /// Whether the count is exact.
    pub is_exact: bool,
}

impl SessionCount {
    pub(crate) fn up_to(sessions: u64, most: u64) -> Self {
        Self {
            sessions: sessions.min(most),
            is_exact: sessions <= most,
        }
    }
}

/// `412`, or `more than 10000`.
impl fmt::Display for SessionCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.is_exact { "" } else { "more than " };
        write!(f, "{more}{}", self.sessions)
    }
}
