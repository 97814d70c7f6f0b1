//! Every rule of the library as a test that bears its name. The folders are those of `src`.

mod auth;
mod commit;
mod cookie;
mod house;
mod http;
mod import;
mod observe;
mod operator;
mod record;
mod session;
mod state;
mod store;
mod support;
mod testing;
