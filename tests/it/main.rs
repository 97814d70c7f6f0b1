//! Every rule of the library as a test that bears its name, a module for each subject.

mod support;

mod cancellation;
mod claiming;
mod failure;
mod merging;
mod moving;
mod reaping;
mod smoke;
