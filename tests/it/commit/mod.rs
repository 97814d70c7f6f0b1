//! From what a request did to what the store keeps.

mod cancellation;
mod claiming;
mod closing;
mod commit_table;
mod exactness;
mod failure;
mod joining;
mod limit_order;
mod limits;
mod lost_replies;
mod merging;
mod moving;
mod prompt;
mod undoing;
mod upkeep;
