//! What handlers hold.

mod keys;
mod letting_go;
mod next_id;
mod sockets;
