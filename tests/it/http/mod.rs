//! The request's way in and the response's way out.

mod caching;
mod connections;
mod footprint;
mod hostile;
mod leaving;
mod plain_tower;
mod smoke;
mod withdrawn;
