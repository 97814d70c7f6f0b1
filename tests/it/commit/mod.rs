//! Commits: from a request's changes to the stored session.

mod cancellation;
mod claiming;
mod clones;
mod commit_table;
mod exactness;
mod failure;
mod fault_table;
mod joining;
mod limit_faults;
mod limits;
mod log_outs;
mod lost_replies;
mod merging;
mod moving;
mod prompt;
mod schedules;
mod undoing;
mod upkeep;
