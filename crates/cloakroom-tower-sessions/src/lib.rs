#![doc = include_str!("../README.md")]

#[cfg(not(any(feature = "core-0.14", feature = "core-0.15")))]
compile_error!(
    "choose which tower-sessions this is for: the feature `core-0.14`, `core-0.15`, or both"
);

mod bridge;
mod expiry;
mod future;
mod layer;
mod service;
mod session;
mod user;
mod values;

pub use self::{
    future::ResponseFuture, layer::TowerSessionsLayer, service::TowerSessionsService,
    user::axum_login_user,
};
