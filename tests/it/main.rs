//! Every rule of the library as a test that bears its name, a module for each subject.

mod caching;
mod claiming;
mod commit_table;
mod cookies;
mod lifetime;
mod memory_store;
mod merging;
mod moving;
mod scene;
mod smoke;
mod support;
