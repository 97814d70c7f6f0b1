//! The application's data of a request, for the events that the request causes: [`EventContext`].

use std::{any::Any, cell::RefCell, fmt, sync::Arc};

/// A value of the application's own type.
#[derive(Clone)]
// Boxed inside the `Arc`, so that a request without a context has one word for it.
pub(crate) struct EventContext(Arc<Box<dyn Any + Send + Sync>>);

thread_local! {
    /// That of the request which this thread is polling.
    static CURRENT: RefCell<Option<EventContext>> = const { RefCell::new(None) };
}

impl EventContext {
    pub(crate) fn new(value: impl Any + Send + Sync) -> Self {
        Self(Arc::new(Box::new(value)))
    }

    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }

    /// That of the request which this thread is polling.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Makes it the current one until the guard is dropped. Requests may be nested.
    pub(crate) fn enter(&self) -> Entered {
        Entered {
            former: CURRENT.replace(Some(self.clone())),
        }
    }
}

impl fmt::Debug for EventContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventContext").finish_non_exhaustive()
    }
}

/// While this is alive, its [`EventContext`] is the current one.
pub(crate) struct Entered {
    former: Option<EventContext>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.former.take());
    }
}
