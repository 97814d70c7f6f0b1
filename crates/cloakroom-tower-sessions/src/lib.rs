#![doc = include_str!("../README.md")]

#[cfg(not(any(feature = "core-0.14", feature = "core-0.15")))]
compile_error!(
    "choose which tower-sessions this is for: the feature `core-0.14`, `core-0.15`, or both"
);

mod bridge;
mod expiry;
mod future;
mod import;
mod layer;
mod service;
mod session;
mod user;
mod values;

#[cfg(feature = "core-0.14")]
pub use self::import::Core014;
#[cfg(feature = "core-0.15")]
pub use self::import::Core015;
pub use self::{
    future::ResponseFuture,
    import::{OldStore, TowerSessionsImport, Unlimited, Until, delete_remaining},
    layer::TowerSessionsLayer,
    service::TowerSessionsService,
    user::axum_login_user,
};

#[cfg(any(feature = "signed", feature = "private"))]
pub use cookie::Key;
