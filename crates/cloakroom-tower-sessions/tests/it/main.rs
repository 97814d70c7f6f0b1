//! tower-sessions' programs and those of its ecosystem, on cloakroom.

mod concurrent;
mod counterparts;
mod documented;
mod ends;
mod expiry;
mod failure;
mod identity;
mod import;
mod login;
mod messages;
mod support;
mod users;
mod views;
