//! What handlers hold.

mod keys;
mod leaks;
mod next_id;
mod presented_id;
mod sockets;
