//! The atomics of this folder, in one place so that a model checker can replace them.

pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
