//! The types that handlers use.

mod flash;
mod keys;
mod labels;
mod leaks;
mod next_id;
mod presented_id;
mod shutdown;
mod sockets;
mod users;
