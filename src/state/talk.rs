//! Who talks to the store for a request: [`Talk`].

use std::{mem, sync::Arc};

use tokio::sync::Notify;

/// At most one caller talks to the store at a time. The others wait.
///
/// It is behind the lock of the state, which a commit takes in any case.
#[derive(Default)]
pub(crate) struct Talk {
    is_under_way: bool,
    /// Where others wait. Each end lets one of them try again.
    waiting: Option<Arc<Notify>>,
}

impl Talk {
    /// Begins, unless somebody else talks. Returns whether it does.
    pub(crate) fn begin(&mut self) -> bool {
        !mem::replace(&mut self.is_under_way, true)
    }

    /// Begins, or returns where to wait before the next try.
    pub(crate) fn begin_or_wait(&mut self) -> Option<Arc<Notify>> {
        if self.begin() {
            return None;
        }
        Some(Arc::clone(self.waiting.get_or_insert_default()))
    }

    /// Ends. Returns where to let the next one in, if anybody has ever waited.
    pub(crate) fn end(&mut self) -> Option<Arc<Notify>> {
        self.is_under_way = false;
        self.waiting.clone()
    }
}
