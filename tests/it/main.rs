//! Every rule of the library as a test that bears its name, a module for each subject.

mod support;

mod caching;
mod commit_table;
mod cookies;
mod lifetime;
mod scene;
mod smoke;
