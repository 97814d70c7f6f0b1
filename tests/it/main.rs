//! Every rule of the library as a test that bears its name, a module for each subject.

mod caching;
mod cancellation;
mod claiming;
mod commit_table;
mod conformance;
mod cookies;
mod encoding;
mod failure;
mod hostile;
mod http;
mod keys;
mod lifetime;
mod memory_listing;
mod memory_store;
mod merging;
mod model;
mod moving;
mod plain_tower;
mod reaping;
mod scene;
mod secrecy;
mod smoke;
mod support;
mod tokens;
mod upkeep;
