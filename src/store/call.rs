//! The calls of a store by name: [`StoreCall`].

/// A method of a [`SessionStore`](crate::SessionStore). [`Stats::store`](crate::Stats::store) returns the
/// numbers of each.
///
/// ```
/// use cloakroom::{SessionLayer, StoreCall};
///
/// let sessions = SessionLayer::default().sessions();
/// let stats = sessions.stats();
/// for call in StoreCall::ALL {
///     let timing = stats.store(call);
///     println!("{}: {} calls, {:?} each", call.name(), timing.calls, timing.mean());
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreCall {
    /// [`create`](crate::SessionStore::create)
    Create,
    /// [`load`](crate::SessionStore::load)
    Load,
    /// [`load_latest`](crate::SessionStore::load_latest)
    LoadLatest,
    /// [`update`](crate::SessionStore::update)
    Update,
    /// [`touch`](crate::SessionStore::touch)
    Touch,
    /// [`delete`](crate::SessionStore::delete)
    Delete,
    /// [`delete_expired`](crate::SessionStore::delete_expired)
    DeleteExpired,
    /// [`list`](crate::SessionStore::list)
    List,
    /// [`count`](crate::SessionStore::count)
    Count,
    /// [`ping`](crate::SessionStore::ping)
    Ping,
}

impl StoreCall {
    /// Every call.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Load,
        Self::LoadLatest,
        Self::Update,
        Self::Touch,
        Self::Delete,
        Self::DeleteExpired,
        Self::List,
        Self::Count,
        Self::Ping,
    ];

    /// The name of the trait's method, such as `load_latest`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Load => "load",
            Self::LoadLatest => "load_latest",
            Self::Update => "update",
            Self::Touch => "touch",
            Self::Delete => "delete",
            Self::DeleteExpired => "delete_expired",
            Self::List => "list",
            Self::Count => "count",
            Self::Ping => "ping",
        }
    }
}
