//! What the tests share: a clock to move, a browser, a store that fails on demand.

mod browser;
mod clock;
mod store;
mod visitor;

pub(crate) use self::{
    browser::{Browser, Reply, session_cookie},
    clock::TestClock,
    store::{Call, Fault, TestStore},
    visitor::Visitor,
};
