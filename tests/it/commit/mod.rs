//! From what a request did to what the store keeps.

mod cancellation;
mod claiming;
mod commit_table;
mod failure;
mod limits;
mod lost_replies;
mod merging;
mod moving;
mod prompt;
mod upkeep;
