//! What a schedule has come to: [`World`].

use std::{collections::BTreeMap, sync::Arc};

use cloakroom::{Event, MemoryStore, SessionId, SessionStore as _, store::Query};

use super::{
    request::{Certain, Op, Out, With},
    watched::{Breaches, fields},
};

/// How often something went wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent {
    pub(super) faults: Arc<Faults>,
    pub(super) cancelled: usize,
    pub(super) late: usize,
    pub(super) crashed: usize,
    pub(super) reaped: usize,
}

/// How many calls had a fault.
#[derive(Debug, Default)]
pub(super) struct Faults(std::sync::atomic::AtomicUsize);

impl Faults {
    pub(super) fn get(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn set(&self, faults: usize) {
        self.0.store(faults, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A record, as the properties see it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) user: Option<String>,
    pub(super) is_marker: bool,
    pub(super) count: usize,
    pub(super) voucher: bool,
    pub(super) cart: bool,
    /// Whose private values are in it.
    pub(super) private: Vec<String>,
    pub(super) successor: Option<SessionId>,
    pub(super) origin: Option<SessionId>,
}

pub(super) struct World {
    pub(super) ops: Vec<(Op, With)>,
    pub(super) outs: Vec<Out>,
    pub(super) ons: Vec<Option<SessionId>>,
    pub(super) certain: Vec<Certain>,
    pub(super) user: Option<&'static str>,
    pub(super) limit: Option<usize>,
    pub(super) starts: Vec<SessionId>,
    pub(super) given: Vec<SessionId>,
    /// Which tokens open a session.
    pub(super) seen: BTreeMap<SessionId, bool>,
    /// Before anybody has presented a token.
    pub(super) before: BTreeMap<SessionId, Seen>,
    pub(super) records: BTreeMap<SessionId, Seen>,
    pub(super) breaches: Breaches,
    pub(super) events: Vec<Event>,
    pub(super) spent: Spent,
    pub(super) dead_token: bool,
    pub(super) is_over: bool,
    /// Whether the old token opens a session at the end.
    pub(super) is_importable: bool,
    /// Whether the other library had the old session still, before it was presented at the end.
    pub(super) is_kept: bool,
}

/// All that is stored.
pub(super) async fn records(store: &MemoryStore) -> BTreeMap<SessionId, Seen> {
    let page = store.list(&Query::default(), None, 1000).await.unwrap();
    let seen = page.sessions.iter().map(|listed| {
        let fields = fields(&listed.record);
        let data = fields["data"].as_object().unwrap();
        let private = data.keys().filter_map(|key| key.strip_prefix("private-"));
        let id = |name: &str| fields[name].as_str().map(|id| id.parse().unwrap());
        let seen = Seen {
            user: listed.record.user().map(str::to_owned),
            is_marker: listed.record.is_moved(),
            count: data.get("n").and_then(|n| n.as_u64()).unwrap_or(0) as usize,
            voucher: data.contains_key("voucher"),
            cart: data.contains_key("cart"),
            private: private.map(str::to_owned).collect(),
            successor: id("moved_to"),
            origin: id("moved_from"),
        };
        (listed.id, seen)
    });
    seen.collect()
}

impl World {
    pub(super) fn live(&self, id: SessionId) -> Option<&Seen> {
        self.records.get(&id).filter(|record| !record.is_marker)
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = (SessionId, &Seen)> {
        let live = self.records.iter().filter(|(_, record)| !record.is_marker);
        live.map(|(id, record)| (*id, record))
    }

    /// The requests that have begun, and what they were told.
    pub(super) fn outs(&self) -> impl Iterator<Item = (usize, Op, Out)> {
        let outs = self.ops.iter().zip(&self.outs).enumerate();
        outs.filter(|(_, (_, out))| **out != Out::Idle)
            .map(|(nth, ((op, _), out))| (nth, *op, *out))
    }

    pub(super) fn has(&self, is_it: impl Fn(Op) -> bool) -> bool {
        self.ops.iter().any(|(op, _)| is_it(*op))
    }

    pub(super) fn is_owned(&self, id: SessionId) -> bool {
        self.starts.contains(&id) || self.given.contains(&id)
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.spent.cancelled + self.spent.late + self.spent.crashed > 0
    }
}
