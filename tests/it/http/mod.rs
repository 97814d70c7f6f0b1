//! The layer: requests, responses and their headers.

mod caching;
mod connections;
mod footprint;
mod hostile;
mod leaving;
mod plain_tower;
mod smoke;
mod withdrawn;
