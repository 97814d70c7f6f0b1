//! The tests. The name of a rule's test begins with the rule. The folders mirror those of `src`.

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
