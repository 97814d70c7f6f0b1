//! A store that is chosen at run time: [`DynStore`].

use std::{
    any::{self, Any},
    fmt,
    pin::Pin,
    sync::Arc,
};

use super::{
    Created, Former, MemoryStore, Position, Query, Reaped, RemovalSink, SessionStore, StoreError,
    StorePage, Touched, Updated, memory::MemoryInner,
};
use crate::{
    clock::Timestamp,
    record::{Activity, Kept, Record, token::SessionId},
};

/// A store whose type is chosen at run time.
///
/// It is cheap to clone, and every clone is the same store.
///
/// ```
/// use cloakroom::{SessionLayer, store::{DynStore, MemoryStore}};
///
/// fn choose(name: &str) -> DynStore {
///     match name {
///         "small" => DynStore::new(MemoryStore::builder().max_sessions(1_000).build()),
///         _ => DynStore::new(MemoryStore::default()),
///     }
/// }
/// let layer = SessionLayer::new(choose("small"));
/// ```
#[derive(Clone)]
pub struct DynStore(Inner);

#[derive(Clone)]
enum Inner {
    // The default store, without a box and a virtual call for each call.
    Memory(MemoryStore),
    Other(Arc<dyn Erased>),
}

impl DynStore {
    /// Erases the type of `store`. A `DynStore` is returned unchanged.
    pub fn new<S: SessionStore>(store: S) -> Self {
        let any = &store as &dyn Any;
        if let Some(erased) = any.downcast_ref::<Self>() {
            erased.clone()
        } else if let Some(memory) = any.downcast_ref::<MemoryStore>() {
            Self(Inner::Memory(memory.clone()))
        } else {
            Self(Inner::Other(Arc::new(store)))
        }
    }
}

impl DynStore {
    /// The memory store, whose calls never wait. `None` for any other store.
    pub(crate) fn in_memory(&self) -> Option<&MemoryInner> {
        match &self.0 {
            Inner::Memory(store) => Some(store.inner()),
            Inner::Other(_) => None,
        }
    }

    /// The store's type, without its path and parameters.
    pub(crate) fn name(&self) -> &'static str {
        let path = match &self.0 {
            Inner::Memory(_) => any::type_name::<MemoryStore>(),
            Inner::Other(store) => store.type_name(),
        };
        let name = path.split('<').next().unwrap_or(path);
        name.rsplit("::").next().unwrap_or(name)
    }

    /// The size of a memory store. `None` for any other store.
    pub(crate) fn held_in_memory(&self) -> Option<Held> {
        match &self.0 {
            Inner::Memory(store) => Some(Held {
                sessions: store.len(),
                bytes: store.bytes(),
                max_sessions: store.max_sessions(),
                max_bytes: store.max_bytes(),
            }),
            Inner::Other(_) => None,
        }
    }
}

/// The size of a memory store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// The number of sessions, without the markers of sessions that ended or moved.
    pub(crate) sessions: usize,
    pub(crate) bytes: usize,
    /// With the markers.
    pub(crate) max_sessions: Option<usize>,
    pub(crate) max_bytes: usize,
}

impl fmt::Debug for DynStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynStore").finish_non_exhaustive()
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`SessionStore`] with boxed futures.
trait Erased: Send + Sync + 'static {
    fn create<'a>(
        &'a self,
        id: SessionId,
        record: &'a Arc<Record>,
        activity: Activity,
    ) -> Boxed<'a, Created>;
    fn load<'a>(&'a self, id: SessionId) -> Boxed<'a, Option<Kept>>;
    fn load_latest<'a>(&'a self, id: SessionId) -> Boxed<'a, Option<Kept>>;
    fn update<'a>(
        &'a self,
        id: SessionId,
        record: &'a Arc<Record>,
        activity: Activity,
        former: Former<'a>,
    ) -> Boxed<'a, Updated>;
    fn touch<'a>(
        &'a self,
        id: SessionId,
        former: Former<'a>,
        activity: Activity,
    ) -> Boxed<'a, Touched>;
    fn delete<'a>(&'a self, id: SessionId) -> Boxed<'a, bool>;
    fn delete_expired<'a>(&'a self, before: Timestamp, limit: usize) -> Boxed<'a, Reaped>;
    fn list<'a>(
        &'a self,
        query: &'a Query,
        after: Option<&'a Position>,
        limit: usize,
    ) -> Boxed<'a, StorePage>;
    fn count<'a>(&'a self, query: &'a Query) -> Boxed<'a, u64>;
    fn ping(&self) -> Boxed<'_, ()>;
    fn is_cached(&self) -> bool;
    fn report_removals(&self, sink: RemovalSink);
    fn type_name(&self) -> &'static str;
}

impl<S: SessionStore> Erased for S {
    fn type_name(&self) -> &'static str {
        any::type_name::<S>()
    }

    fn create<'a>(
        &'a self,
        id: SessionId,
        record: &'a Arc<Record>,
        activity: Activity,
    ) -> Boxed<'a, Created> {
        Box::pin(SessionStore::create(self, id, record, activity))
    }

    fn load<'a>(&'a self, id: SessionId) -> Boxed<'a, Option<Kept>> {
        Box::pin(SessionStore::load(self, id))
    }

    fn load_latest<'a>(&'a self, id: SessionId) -> Boxed<'a, Option<Kept>> {
        Box::pin(SessionStore::load_latest(self, id))
    }

    fn update<'a>(
        &'a self,
        id: SessionId,
        record: &'a Arc<Record>,
        activity: Activity,
        former: Former<'a>,
    ) -> Boxed<'a, Updated> {
        Box::pin(SessionStore::update(self, id, record, activity, former))
    }

    fn touch<'a>(
        &'a self,
        id: SessionId,
        former: Former<'a>,
        activity: Activity,
    ) -> Boxed<'a, Touched> {
        Box::pin(SessionStore::touch(self, id, former, activity))
    }

    fn delete<'a>(&'a self, id: SessionId) -> Boxed<'a, bool> {
        Box::pin(SessionStore::delete(self, id))
    }

    fn delete_expired<'a>(&'a self, before: Timestamp, limit: usize) -> Boxed<'a, Reaped> {
        Box::pin(SessionStore::delete_expired(self, before, limit))
    }

    fn list<'a>(
        &'a self,
        query: &'a Query,
        after: Option<&'a Position>,
        limit: usize,
    ) -> Boxed<'a, StorePage> {
        Box::pin(SessionStore::list(self, query, after, limit))
    }

    fn count<'a>(&'a self, query: &'a Query) -> Boxed<'a, u64> {
        Box::pin(SessionStore::count(self, query))
    }

    fn ping(&self) -> Boxed<'_, ()> {
        Box::pin(SessionStore::ping(self))
    }

    fn is_cached(&self) -> bool {
        SessionStore::is_cached(self)
    }

    fn report_removals(&self, sink: RemovalSink) {
        SessionStore::report_removals(self, sink);
    }
}

impl SessionStore for DynStore {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        match &self.0 {
            Inner::Memory(store) => store.inner().create(id, record, activity),
            Inner::Other(store) => store.create(id, record, activity).await,
        }
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        match &self.0 {
            Inner::Memory(store) => Ok(store.inner().load(id)),
            Inner::Other(store) => store.load(id).await,
        }
    }

    async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        match &self.0 {
            Inner::Memory(store) => Ok(store.inner().load(id)),
            Inner::Other(store) => store.load_latest(id).await,
        }
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        match &self.0 {
            Inner::Memory(store) => store.inner().update(id, record, activity, former.version()),
            Inner::Other(store) => store.update(id, record, activity, former).await,
        }
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        match &self.0 {
            Inner::Memory(store) => Ok(store.inner().touch(id, former.version(), activity)),
            Inner::Other(store) => store.touch(id, former, activity).await,
        }
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        match &self.0 {
            Inner::Memory(store) => Ok(store.inner().delete(id)),
            Inner::Other(store) => store.delete(id).await,
        }
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        match &self.0 {
            Inner::Memory(store) => Ok(store.inner().reap(before, limit).await),
            Inner::Other(store) => store.delete_expired(before, limit).await,
        }
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        match &self.0 {
            Inner::Memory(store) => SessionStore::list(store, query, after, limit).await,
            Inner::Other(store) => store.list(query, after, limit).await,
        }
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        match &self.0 {
            Inner::Memory(store) => SessionStore::count(store, query).await,
            Inner::Other(store) => store.count(query).await,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        match &self.0 {
            Inner::Memory(store) => SessionStore::ping(store).await,
            Inner::Other(store) => store.ping().await,
        }
    }

    fn is_cached(&self) -> bool {
        match &self.0 {
            Inner::Memory(_) => false,
            Inner::Other(store) => store.is_cached(),
        }
    }

    fn report_removals(&self, sink: RemovalSink) {
        match &self.0 {
            Inner::Memory(store) => SessionStore::report_removals(store, sink),
            Inner::Other(store) => store.report_removals(sink),
        }
    }
}
