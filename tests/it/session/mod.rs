//! What handlers hold.

mod keys;
mod letting_go;
mod sockets;
