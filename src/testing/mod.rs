//! For tests: of a store of one's own, and of handlers that use sessions. Feature `testing`.
//!
//! # A store
//!
//! [`conformance`] holds a [`SessionStore`](crate::SessionStore) to every
//! clause of [the contract](crate::store#the-contract), and panics with a list
//! of those that do not hold: the rule, what was expected and what came.
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
//! [`Conformance`] does the same with more to set: how to damage a record, and
//! which clauses to leave out.
//!
//! # Handlers
//!
//! | to | look at |
//! | --- | --- |
//! | let time pass | [`FixedClock`] |
//! | send a request that has a live session, and see what became of it | [`Ticket`] |
//! | have two nodes over one store | [`second_node`] |
//! | have the store fail, hang, or lose its replies; count what is asked of it | [`FaultyStore`] |

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
