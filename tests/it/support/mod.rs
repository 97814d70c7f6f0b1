//! Shared by the tests: a browser, visitors, clients, a log, servers, a proxy.

pub(crate) mod acts;
pub(crate) mod broken;
mod browser;
pub(crate) mod carried;
mod client;
pub(crate) mod fixture;
#[allow(dead_code)] // Stores on servers and on disk use it.
mod former;
mod log;
#[allow(dead_code)] // Each store uses its part.
pub(crate) mod process;
#[allow(dead_code)] // Each store uses its part.
pub(crate) mod proxy;
mod recorder;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
#[allow(dead_code)] // Each store uses its part.
pub(crate) mod servers;
pub(crate) mod token;
mod visitor;

pub(crate) use cloakroom::{
    StoreCall,
    testing::{Fault, FaultyStore, FixedClock},
};

pub(crate) use self::{
    browser::{Browser, Reply, session_cookie},
    client::Client,
    former::former,
    log::Log,
    recorder::Recorder,
    visitor::Visitor,
};
