//! What handlers hold.

mod keys;
mod next_id;
mod sockets;
