//! The servers and the browser that other tests have, too.

#![allow(dead_code, unused_imports)]

#[path = "../../../../tests/it/support/browser.rs"]
mod browser;
#[path = "../../../../../../tests/it/support/process.rs"]
pub(crate) mod process;
#[path = "../../../../../../tests/it/support/servers/mod.rs"]
pub(crate) mod servers;

pub(crate) use self::{
    browser::{Browser, Reply},
    servers::{Postgres, Redis},
};
