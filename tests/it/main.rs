//! Every rule of the library as a test that bears its name, a module for each subject.

mod support;

mod hostile;
mod http;
mod keys;
mod plain_tower;
mod secrecy;
mod smoke;
mod tokens;
