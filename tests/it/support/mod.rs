//! What the tests share: a clock to move, a browser, a store that fails on demand.

mod browser;
mod clock;
mod guest;
mod log;
#[cfg(feature = "redis")]
#[allow(dead_code)] // Each store uses its part.
pub(crate) mod proxy;
mod store;
pub(crate) mod token;
mod visitor;

pub(crate) use self::{
    browser::{Browser, Reply, session_cookie},
    clock::TestClock,
    guest::Guest,
    log::Log,
    store::{Call, Fault, TestStore},
    visitor::Visitor,
};
