//! Tools for tests: of your own store, and of handlers that use sessions. Feature `testing`.
//!
//! # A store
//!
//! [`conformance`] tests a [`SessionStore`](crate::SessionStore) against every
//! clause of [the contract](crate::store#the-contract). If clauses do not hold, it
//! panics with a list of them: the rule, the expected result and the actual one.
//!
//! ```
//! use cloakroom::{MemoryStore, testing::conformance};
//!
//! # /*
//! #[tokio::test(flavor = "multi_thread")]
//! # */
//! async fn it_keeps_the_contract() {
//!     conformance(async || MemoryStore::default()).await;
//! }
//! # tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap().block_on(it_keeps_the_contract());
//! ```
//!
//! [`Conformance`] does the same with more settings: how to damage a record, how
//! to lose a reply, and which clauses to run.
//!
//! # Handlers
//!
//! | to | look at |
//! | --- | --- |
//! | let time pass | [`FixedClock`] |
//! | send a request with a live session, and look at the session afterwards | [`Ticket`] |
//! | have two nodes over one store | [`second_node`] |
//! | make the store fail, hang or lose its replies, and count its calls | [`FaultyStore`] |

mod clock;
mod conformance;
mod fault;
mod faulty;
mod node;
mod ticket;

pub use self::{
    clock::FixedClock,
    conformance::{Breach, Conformance, conformance},
    fault::{Fault, Occurrence},
    faulty::FaultyStore,
    node::second_node,
    ticket::Ticket,
};
