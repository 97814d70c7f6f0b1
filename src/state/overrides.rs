//! Settings of a session that a request changes, such as its own timeouts: [`Overrides`].

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    record::{Record, labels::Labels, stamp::Stamp, timeout::Timeout},
    state::change_seq::ChangeSeq,
};

/// The overrides, each with the change that set it. A record's overrides replace the layer's settings (rule L4).
#[derive(Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) idle: Option<(ChangeSeq, Timeout)>,
    pub(crate) absolute: Option<(ChangeSeq, Absolute)>,
    pub(crate) persistent: Option<(ChangeSeq, bool)>,
    pub(crate) stamp: Option<(ChangeSeq, Stamp)>,
    pub(crate) labels: Vec<LabelChange>,
}

/// A label that is set or removed.
#[derive(Clone)]
pub(crate) struct LabelChange {
    pub(crate) made: ChangeSeq,
    pub(crate) name: Box<str>,
    pub(crate) value: Option<Box<str>>,
}

/// A request's override of the absolute timeout, which counts from the beginning of the session or
/// its log-in.
#[derive(Clone, Copy)]
pub(crate) enum Absolute {
    Timeout(Timeout),
    /// This long after this time, regardless of when the session began.
    From(Timestamp, Duration),
}

impl Overrides {
    /// Whether `record` has other overrides.
    pub(crate) fn differ(&self, record: &Record) -> bool {
        let extras = record.extras();
        let absolute = self.absolute_timeout(record);
        self.idle.is_some_and(|(_, timeout)| timeout != extras.idle)
            || absolute.is_some_and(|timeout| timeout != extras.absolute)
            || self
                .persistent
                .is_some_and(|(_, persistent)| Some(persistent) != extras.persistent)
            || self
                .stamp()
                .is_some_and(|stamp| Some(stamp) != record.stamp())
            || self.change_labels(record.labels())
    }

    /// Sets these overrides in `record`.
    pub(crate) fn set(&self, record: &mut Record) {
        if self.differ(record) {
            let absolute = self.absolute_timeout(record);
            record.set_extras(|extras| {
                extras.idle = self.idle.map_or(extras.idle, |(_, timeout)| timeout);
                extras.absolute = absolute.unwrap_or(extras.absolute);
                if let Some((_, persistent)) = self.persistent {
                    extras.persistent = Some(persistent);
                }
                if self.change_labels(extras.labels.as_deref()) {
                    let labels = self.labelled(extras.labels.as_deref());
                    extras.labels = (!labels.is_empty()).then(|| Arc::new(labels));
                }
                if let Some(stamp) = self.stamp() {
                    extras.stamp = Some(Box::new(*stamp));
                }
            });
        }
    }

    fn stamp(&self) -> Option<&Stamp> {
        self.stamp.as_ref().map(|set| &set.1)
    }

    /// `labels` with the changes that were made here.
    pub(crate) fn labelled(&self, labels: Option<&Labels>) -> Labels {
        let changes = self.labels.iter();
        let changes = changes.map(|change| (&*change.name, change.value.as_deref()));
        labels.unwrap_or(Labels::NONE).with(changes)
    }

    fn change_labels(&self, labels: Option<&Labels>) -> bool {
        !self.labels.is_empty() && self.labelled(labels) != *labels.unwrap_or(Labels::NONE)
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
        if let Some(set) = &mut self.stamp {
            set.0 = seq;
        }
        for label in &mut self.labels {
            label.made = seq;
        }
    }

    /// Keeps those whose change is to be kept. Returns whether there are any.
    pub(crate) fn keep(&mut self, keep: impl Fn(ChangeSeq) -> bool) -> bool {
        self.idle = self.idle.filter(|(made, _)| keep(*made));
        self.absolute = self.absolute.filter(|(made, _)| keep(*made));
        self.persistent = self.persistent.filter(|(made, _)| keep(*made));
        self.stamp.take_if(|set| !keep(set.0));
        self.labels.retain(|label| keep(label.made));
        self.idle.is_some()
            || self.absolute.is_some()
            || self.persistent.is_some()
            || self.stamp.is_some()
            || !self.labels.is_empty()
    }
}
