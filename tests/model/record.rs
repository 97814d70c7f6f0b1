//! The model's record: a small one, with the crate's own `Version` and `wrote`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use cloakroom::{
    SessionId, Timestamp, Version,
    protocol::{Origin, Policy, Rec, Successor, Wrote},
};

/// The rules that are switched off, one bit each.
pub(crate) static FAULTS: AtomicU32 = AtomicU32::new(0);

/// How many writers a record remembers. Few, so that scenarios exceed it.
pub(crate) static MEMORY: AtomicUsize = AtomicUsize::new(2);

/// The bit of a rule in [`FAULTS`].
pub(crate) const fn bit(rule: Policy) -> u32 {
    1 << rule as u32
}

/// A session: its count, its user, its voucher and private data.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Fields {
    pub(crate) version: Version,
    pub(crate) recent: Vec<u64>,
    /// 0: nobody has logged in.
    pub(crate) user: u8,
    pub(crate) count: u8,
    /// May be claimed once.
    pub(crate) voucher: bool,
    /// The data from before the log-in.
    pub(crate) cart: bool,
    /// The users with private data in it, one bit each.
    pub(crate) private: u8,
    /// The valid secrets, one bit each.
    pub(crate) secrets: u8,
    /// Whether a secret of an imported session was presented.
    pub(crate) is_used: bool,
    pub(crate) is_marker: bool,
    pub(crate) successor: Option<Successor>,
    pub(crate) origin: Option<Origin>,
    pub(crate) bar: Option<SessionId>,
    /// Milliseconds.
    pub(crate) rank: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Small(Arc<Fields>);

impl fmt::Debug for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = &*self.0;
        write!(
            f,
            "{}{}.{} user {} rank {} to {:?} from {:?} bar {:?}",
            if fields.is_marker { "marker " } else { "" },
            fields.version.counter,
            fields.version.writer,
            fields.user,
            fields.rank,
            fields.successor.map(|to| to.id.as_bytes()[15]),
            fields.origin.map(|to| to.id.as_bytes()[15]),
            fields.bar.map(|to| to.as_bytes()[15]),
        )
    }
}

impl std::ops::Deref for Small {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl Small {
    pub(crate) fn of(fields: Fields) -> Self {
        Self(Arc::new(fields))
    }

    /// The first version of an empty anonymous session.
    pub(crate) fn blank(writer: u64) -> Fields {
        Fields {
            version: Version { counter: 1, writer },
            recent: Vec::new(),
            user: 0,
            count: 0,
            voucher: false,
            cart: false,
            private: 0,
            secrets: 0,
            is_used: false,
            is_marker: false,
            successor: None,
            origin: None,
            bar: None,
            rank: 0,
        }
    }

    /// The next version, without an origin.
    pub(crate) fn next(&self, writer: u64) -> Fields {
        let mut next = Fields::clone(self);
        next.follow(self, writer);
        next.origin = None;
        next
    }
}

impl Fields {
    fn follow(&mut self, former: &Fields, writer: u64) {
        let memory = MEMORY.load(Relaxed);
        let writers = std::iter::once(former.version.writer).chain(former.recent.iter().copied());
        self.recent = writers.take(memory).collect();
        self.version = Version {
            counter: former.version.counter + 1,
            writer,
        };
    }
}

impl Rec for Small {
    type Error = ();
    /// The version.
    type Stub = Version;

    fn version(&self) -> Version {
        self.version
    }

    fn wrote(&self, version: Version) -> Wrote {
        version.is_among(self.version, &self.recent)
    }

    fn is_marker(&self) -> bool {
        self.is_marker
    }

    fn successor(&self) -> Option<Successor> {
        self.successor
    }

    fn origin(&self) -> Option<Origin> {
        self.origin
    }

    fn bar(&self) -> Option<SessionId> {
        self.bar
    }

    fn ranked_at(&self) -> Option<Timestamp> {
        (self.user != 0).then(|| Timestamp::from_millis(self.rank))
    }

    fn has_user_of(&self, other: &Self) -> bool {
        self.user != 0 && self.user == other.user
    }

    fn marker(&self, to: Option<Successor>, writer: u64, _: Timestamp) -> Self {
        let kept = self.next(writer);
        Self::of(Fields {
            version: kept.version,
            recent: kept.recent,
            user: kept.user,
            secrets: kept.secrets,
            is_marker: true,
            successor: to,
            ..Self::blank(writer)
        })
    }

    fn barred(&self, id: SessionId, writer: u64) -> Self {
        Self::of(Fields {
            bar: Some(id),
            origin: self.origin,
            ..self.next(writer)
        })
    }

    fn taking_over(&self, origin: Option<&Self>, writer: u64) -> Self {
        let origin = origin.filter(|origin| origin.user == 0 || origin.user == self.user);
        Self::of(Fields {
            count: origin.map_or(0, |origin| origin.count),
            voucher: origin.is_some_and(|origin| origin.voucher),
            cart: origin.is_some_and(|origin| origin.cart),
            private: origin.map_or(0, |origin| origin.private),
            ..self.next(writer)
        })
    }

    fn replacing(self, former: &Self, writer: u64) -> Self {
        let mut fields = Fields::clone(&self);
        fields.follow(former, writer);
        Self::of(fields)
    }

    fn with_origin(self, origin: Option<Origin>) -> Self {
        let mut fields = Fields::clone(&self);
        fields.origin = origin;
        Self::of(fields)
    }

    fn with_rank(self, rank: Option<Timestamp>) -> Self {
        let mut fields = Fields::clone(&self);
        fields.rank = rank.map_or(fields.rank, Timestamp::as_millis);
        Self::of(fields)
    }

    fn admits(&self, _: &Self, _: Timestamp) -> bool {
        !self.is_used
    }

    fn stub(&self) -> Version {
        self.version
    }

    fn closing(stub: &Version, writer: u64, now: Timestamp) -> Self {
        let blank = Self::blank(writer);
        Self::of(Fields {
            version: *stub,
            ..blank
        })
        .marker(None, writer, now)
    }

    fn keeps(rule: Policy) -> bool {
        FAULTS.load(Relaxed) & bit(rule) == 0
    }
}
