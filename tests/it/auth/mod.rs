//! Pages for users.

mod challenges;
mod current_user;
mod require_user;
mod return_to;
mod stamps;
