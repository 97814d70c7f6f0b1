//! What handlers hold.

mod keys;
mod leaks;
mod next_id;
mod shutdown;
mod sockets;
