//! The model checker. It explores every interleaving, within bounds, of the commit's machines, a store that loses and
//! delays calls, and requests that are cancelled.
//!
//! ```sh
//! cargo test --release -p cloakroom-model
//! CLOAKROOM_MODEL=large cargo test --release -p cloakroom-model -- --nocapture
//! ```

mod faults;
mod net;
mod properties;
mod record;
mod suites;
mod world;
