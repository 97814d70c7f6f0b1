//! A save that was given up or cancelled before the store had answered: [`UnconfirmedSave`].

use crate::{
    record::Kept,
    state::{Generations, Stored, change_seq::ChangeSeq},
};

/// A write on its way to the store, of what was done until then. An update that is made
/// again as it was cannot be made twice: the store compares its version.
#[derive(Clone)]
pub(crate) struct UnconfirmedSave {
    pub(crate) stored: Stored,
    /// What is to be replaced; `None` for a new session.
    pub(crate) former: Option<Kept>,
    pub(crate) until: ChangeSeq,
    pub(crate) generations: Generations,
}
