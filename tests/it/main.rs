//! Every rule of the library as a test that bears its name, a module for each subject.

mod support;

mod encoding;
mod memory_store;
mod model;
mod smoke;
