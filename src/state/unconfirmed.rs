//! A save that was cancelled, or took too long, before the store answered: [`UnconfirmedSave`].

use crate::{
    record::Kept,
    state::{Generations, Stored, change_seq::ChangeSeq},
};

/// A write without a reply. It can be sent again: the store compares the version, so an update is not applied twice.
#[derive(Clone)]
pub(crate) struct UnconfirmedSave {
    pub(crate) stored: Stored,
    /// The record that the write replaces. `None` for a new session.
    pub(crate) former: Option<Kept>,
    pub(crate) until: ChangeSeq,
    pub(crate) generations: Generations,
}
