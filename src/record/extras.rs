//! The fields that most records do not have: [`Extras`].

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    clock::Timestamp,
    record::{
        labels::Labels,
        lineage::{Origin, Successor},
        secrets::{DatedVerifier, Renewal},
        stamp::Stamp,
        timeout::Timeout,
        token::SessionId,
    },
};

/// Fields that most records do not have.
#[derive(Clone, Default)]
pub(crate) struct Extras {
    pub(crate) idle: Timeout,
    pub(crate) absolute: Timeout,
    pub(crate) persistent: Option<bool>,
    /// When the user last confirmed who they are, after the log-in.
    pub(crate) confirmed_at: Option<Timestamp>,
    /// The stamp of the user's credentials.
    pub(crate) stamp: Option<Box<Stamp>>,
    pub(crate) labels: Option<Arc<Labels>>,
    /// Orders the log-ins of one user in place of `authenticated_at`, if the clock was set back.
    pub(crate) ranked_at: Option<Timestamp>,
    /// When the session got its id, if a cycle gave it that id.
    pub(crate) begun_at: Option<Timestamp>,
    /// The session was imported from another library, so the time of the log-in is unknown.
    pub(crate) is_imported: bool,
    /// A limit of the session's life, regardless of the timeouts.
    pub(crate) ends_at: Option<Timestamp>,
    pub(crate) moved_at: Option<Timestamp>,
    /// In a marker: the session that this one became.
    pub(crate) successor: Option<Successor>,
    /// The session that this one comes from, until it is written again.
    pub(crate) origin: Option<Origin>,
    /// The id of a move that was rolled back: the session never moves to it.
    pub(crate) bar: Option<SessionId>,
    pub(crate) renewal: Option<Box<Renewal>>,
    /// The header that the session's tokens are issued for. `None`: the cookie.
    pub(crate) transport: Option<Box<str>>,
    /// Fields that a later version of the crate wrote.
    pub(crate) unknown: Vec<(String, Box<RawValue>)>,
}

impl Extras {
    pub(super) const NONE: &'static Self = &Self {
        idle: Timeout::Layer,
        absolute: Timeout::Layer,
        persistent: None,
        confirmed_at: None,
        stamp: None,
        labels: None,
        ranked_at: None,
        is_imported: false,
        ends_at: None,
        begun_at: None,
        moved_at: None,
        successor: None,
        origin: None,
        bar: None,
        renewal: None,
        transport: None,
        unknown: Vec::new(),
    };

    pub(super) fn is_none(&self) -> bool {
        self.idle == Timeout::Layer
            && self.absolute == Timeout::Layer
            && self.persistent.is_none()
            && self.confirmed_at.is_none()
            && self.stamp.is_none()
            && self.labels.is_none()
            && self.ranked_at.is_none()
            && !self.is_imported
            && self.ends_at.is_none()
            && self.begun_at.is_none()
            && self.moved_at.is_none()
            && self.successor.is_none()
            && self.origin.is_none()
            && self.bar.is_none()
            && self.renewal.is_none()
            && self.transport.is_none()
            && self.unknown.is_empty()
    }

    /// How many bytes they take in memory, including the allocator's overhead.
    pub(super) fn memory_bytes(&self) -> usize {
        let slots = self.unknown.capacity() * size_of::<(String, Box<RawValue>)>();
        let unknown = self
            .unknown
            .iter()
            .map(|(name, value)| block(name.capacity()) + block(value.get().len()));
        let renewal = self.renewal.as_ref().map_or(0, |renewal| {
            let dated =
                |list: &Vec<DatedVerifier>| block(list.capacity() * size_of::<DatedVerifier>());
            block(size_of::<Renewal>())
                + dated(&renewal.pending)
                + dated(&renewal.former)
                + dated(&renewal.joined)
        });
        let stamp = self.stamp.as_ref().map_or(0, |_| block(size_of::<Stamp>()));
        let labels = self
            .labels
            .as_ref()
            .map_or(0, |labels| labels.memory_bytes());
        let transport = self.transport.as_ref();
        block(size_of::<Self>())
            + transport.map_or(0, |name| block(name.len()))
            + stamp
            + labels
            + block(slots)
            + unknown.sum::<usize>()
            + renewal
    }
}

/// What a block of so many bytes takes, with the allocator's overhead.
pub(super) fn block(bytes: usize) -> usize {
    const OVERHEAD: usize = 2 * size_of::<usize>();
    if bytes == 0 { 0 } else { bytes + OVERHEAD }
}
