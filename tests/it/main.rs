//! Every rule of the library as a test that bears its name, a module for each subject.

mod claiming;
mod memory_store;
mod merging;
mod moving;
mod smoke;
mod support;
