//! Redis and Valkey, on one server and in a cluster.

mod cluster;
mod native;
mod single;
