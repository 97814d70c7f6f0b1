//! Every rule of the library as a test that bears its name, a module for each subject.

mod aids;
mod caching;
mod cancellation;
mod claiming;
mod commit_table;
mod conformance;
mod cookies;
mod encoding;
mod events;
mod failure;
mod hostile;
mod http;
mod keys;
mod lifetime;
mod limits;
mod lost_replies;
mod memory_counted;
mod memory_listing;
mod memory_store;
mod merging;
#[cfg(feature = "metrics")]
mod metering;
mod model;
mod moving;
mod operator;
mod plain_tower;
mod reaping;
mod scene;
mod secrecy;
mod smoke;
mod snapshots;
mod statistics;
mod stores;
mod support;
mod tokens;
mod upkeep;
