//! The model checker: every interleaving of the commit's machines, a store that loses and delays, and requests that
//! are given up, within bounds.
//!
//! ```sh
//! cargo test --release --features __model --test model
//! CLOAKROOM_MODEL=large cargo test --release --features __model --test model -- --nocapture
//! ```

mod faults;
mod net;
mod properties;
mod record;
mod suites;
mod world;
