//! What handlers hold.

mod keys;
mod sockets;
