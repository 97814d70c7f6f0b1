//! A request's changes of the session's timeouts and persistence: [`Overrides`].

use std::time::Duration;

use crate::{
    clock::Timestamp,
    record::{Record, timeout::Timeout},
    state::change_seq::ChangeSeq,
};

/// The overrides, each with the change that set it. A record's overrides replace the layer's settings (rule L4).
#[derive(Clone, Copy, Default)]
pub(crate) struct Overrides {
    pub(crate) idle: Option<(ChangeSeq, Timeout)>,
    pub(crate) absolute: Option<(ChangeSeq, Absolute)>,
    pub(crate) persistent: Option<(ChangeSeq, bool)>,
}

/// A request's override of the absolute timeout, which counts from the beginning of the session or
/// its log-in.
#[derive(Clone, Copy)]
pub(crate) enum Absolute {
    Timeout(Timeout),
    /// So long after this time, whenever the session began.
    From(Timestamp, Duration),
}

impl Overrides {
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.is_none() && self.absolute.is_none() && self.persistent.is_none()
    }

    /// Whether `record` has other overrides.
    pub(crate) fn differ(&self, record: &Record) -> bool {
        let extras = record.extras();
        let absolute = self.absolute_timeout(record);
        self.idle.is_some_and(|(_, timeout)| timeout != extras.idle)
            || absolute.is_some_and(|timeout| timeout != extras.absolute)
            || self
                .persistent
                .is_some_and(|(_, persistent)| Some(persistent) != extras.persistent)
    }

    /// `record` with these overrides.
    pub(crate) fn apply(&self, mut record: Record) -> Record {
        if self.differ(&record) {
            let absolute = self.absolute_timeout(&record);
            record.set_extras(|extras| {
                extras.idle = self.idle.map_or(extras.idle, |(_, timeout)| timeout);
                extras.absolute = absolute.unwrap_or(extras.absolute);
                if let Some((_, persistent)) = self.persistent {
                    extras.persistent = Some(persistent);
                }
            });
        }
        record
    }

    fn absolute_timeout(&self, record: &Record) -> Option<Timeout> {
        self.absolute.map(|(_, absolute)| match absolute {
            Absolute::Timeout(timeout) => timeout,
            Absolute::From(now, duration) => {
                let age = now.since(record.lifetime_start());
                Timeout::After(duration.saturating_add(age))
            }
        })
    }

    pub(crate) fn renumber(&mut self, seq: ChangeSeq) {
        self.idle = self.idle.map(|(_, timeout)| (seq, timeout));
        self.absolute = self.absolute.map(|(_, absolute)| (seq, absolute));
        self.persistent = self.persistent.map(|(_, persistent)| (seq, persistent));
    }

    pub(crate) fn keep(&mut self, keep: impl Fn(ChangeSeq) -> bool) {
        self.idle = self.idle.filter(|(made, _)| keep(*made));
        self.absolute = self.absolute.filter(|(made, _)| keep(*made));
        self.persistent = self.persistent.filter(|(made, _)| keep(*made));
    }
}
