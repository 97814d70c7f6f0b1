//! What a store keeps for a session: [`Record`], and beside it its [`Activity`].

pub(crate) mod data;
pub(crate) mod encoding;
pub(crate) mod key;
pub(crate) mod lifetime;
pub(crate) mod renewal;
pub(crate) mod token;
pub(crate) mod version;

use std::{fmt, sync::Arc, time::Duration};

use serde_json::value::RawValue;

use crate::{
    clock::Timestamp,
    record::{
        data::Data,
        lifetime::Timeout,
        renewal::{Dated, Renewal},
        token::{SessionId, Verifier},
        version::{Recent, Version},
    },
};

/// When a session was last seen and when it ends: what a touch moves.
///
/// Kept beside the [`Record`], so that it can be written without the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Activity {
    /// When a request last used the session, to the layer's `touch_after`.
    pub last_seen_at: Timestamp,
    /// The deadline by the rules at that time; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// What a store keeps for a session: verifier, data, user, times, lifetime, version.
///
/// A store copies it, or its [encoding](Self::to_bytes), and never looks into
/// it but for what it must index: [`version`](Self::version) and
/// [`user`](Self::user). A record holds nothing that opens a session: whoever
/// reads it learns the data, but cannot become the visitor (rule T4). Its
/// `Debug` shows neither (rule T3).
#[derive(Clone)]
pub struct Record {
    verifier: Verifier,
    version: Version,
    data: Data,
    created_at: Timestamp,
    login: Option<Box<Login>>,
    rare: Option<Box<Rare>>,
    recent: Recent,
}

#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: Box<str>,
    pub(crate) at: Timestamp,
}

/// What most records do not have.
#[derive(Clone, Default)]
pub(crate) struct Rare {
    pub(crate) idle: Timeout,
    pub(crate) absolute: Timeout,
    pub(crate) persistent: Option<bool>,
    /// Where the log-in counts as a later one than by its own time.
    pub(crate) ranked_at: Option<Timestamp>,
    pub(crate) moved_at: Option<Timestamp>,
    /// Where a cycle took the session.
    pub(crate) moved_to: Option<SessionId>,
    /// Where a cycle brought the session from, until it is written again.
    pub(crate) moved_from: Option<SessionId>,
    pub(crate) renewal: Option<Box<Renewal>>,
    /// Fields that a later version of the same format put there.
    pub(crate) unknown: Vec<(String, Box<RawValue>)>,
}

impl Rare {
    const NONE: &'static Self = &Self {
        idle: Timeout::Layer,
        absolute: Timeout::Layer,
        persistent: None,
        ranked_at: None,
        moved_at: None,
        moved_to: None,
        moved_from: None,
        renewal: None,
        unknown: Vec::new(),
    };

    fn is_none(&self) -> bool {
        self.idle == Timeout::Layer
            && self.absolute == Timeout::Layer
            && self.persistent.is_none()
            && self.ranked_at.is_none()
            && self.moved_at.is_none()
            && self.moved_to.is_none()
            && self.moved_from.is_none()
            && self.renewal.is_none()
            && self.unknown.is_empty()
    }
}

/// Whether a record stems from a certain commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    Yes,
    No,
    /// More writes came on top than the record remembers.
    Unknown,
}

/// The chain of recent writers is cut where a session rested this long:
/// no commit is under way for longer.
const RECENT_FOR: Duration = Duration::from_secs(60);

impl Record {
    pub(crate) fn new(verifier: Verifier, version: Version, created_at: Timestamp) -> Self {
        Self {
            verifier,
            version,
            data: Data::default(),
            created_at,
            login: None,
            rare: None,
            recent: Recent::default(),
        }
    }

    /// Which write this stems from: what `update` and `touch` compare.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The user bound by a log-in, for stores that index it.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| &*login.user)
    }

    /// When the session began.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When its user logged in.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        self.login.as_ref().map(|login| login.at)
    }

    /// Whether this is the marker left where a session went on under another
    /// id (rule M6). It has no data and lives 60 seconds; its user is still
    /// the session's, so that a list by user finds who moves while it is made.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        self.moved_at().is_some()
    }

    /// How many bytes the record takes in memory, with its allocations' headers.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // Reference counts, and what an allocator adds to a block of its own.
        const COUNTS: usize = 2 * size_of::<usize>();
        const BLOCK: usize = 2 * size_of::<usize>();
        let block = |bytes: usize| if bytes == 0 { 0 } else { bytes + BLOCK };
        let login = self.login.as_ref().map_or(0, |login| {
            block(size_of::<Login>()) + block(login.user.len())
        });
        let rare = self.rare.as_ref().map_or(0, |rare| {
            let slots = rare.unknown.capacity() * size_of::<(String, Box<RawValue>)>();
            let unknown = rare
                .unknown
                .iter()
                .map(|(name, value)| block(name.capacity()) + block(value.get().len()));
            let renewal = rare.renewal.as_ref().map_or(0, |renewal| {
                let dated = |list: &Vec<Dated>| block(list.capacity() * size_of::<Dated>());
                block(size_of::<Renewal>()) + dated(&renewal.pending) + dated(&renewal.former)
            });
            block(size_of::<Rare>()) + block(slots) + unknown.sum::<usize>() + renewal
        });
        let recent = block(size_of_val(self.recent()));
        block(COUNTS + size_of::<Self>()) + block(self.data.allocated()) + login + rare + recent
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_deref()
    }

    pub(crate) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(Rare::NONE)
    }

    pub(crate) fn recent(&self) -> &[u64] {
        self.recent.as_slice()
    }

    pub(crate) fn idle_timeout(&self) -> Timeout {
        self.rare().idle
    }

    pub(crate) fn absolute_timeout(&self) -> Timeout {
        self.rare().absolute
    }

    pub(crate) fn persistent(&self) -> Option<bool> {
        self.rare().persistent
    }

    /// By which the log-ins of one user are ordered.
    pub(crate) fn ranked_at(&self) -> Option<Timestamp> {
        self.rare().ranked_at.or(self.authenticated_at())
    }

    pub(crate) fn moved_at(&self) -> Option<Timestamp> {
        self.rare().moved_at
    }

    /// Where the same session goes on. A log-in begins another one (rule M7).
    pub(crate) fn moved_to(&self) -> Option<SessionId> {
        self.rare().moved_to
    }

    /// Where the session is still, if it is live there: then the cycle is under way.
    pub(crate) fn moved_from(&self) -> Option<SessionId> {
        self.rare().moved_from
    }

    /// Whether the write of `version` made this record, or one before it;
    /// `None` if it is more writes ago than the record remembers.
    ///
    /// A store asks this after it has sent a call again whose reply was lost.
    #[must_use]
    pub fn has_written(&self, version: Version) -> Option<bool> {
        match self.wrote(version) {
            Wrote::Yes => Some(true),
            Wrote::No => Some(false),
            Wrote::Unknown => None,
        }
    }

    /// Whether the write of `version` is this record or was before it.
    pub(crate) fn wrote(&self, version: Version) -> Wrote {
        let Some(age) = self.version.counter.checked_sub(version.counter) else {
            return Wrote::No;
        };
        let writer = match age.checked_sub(1) {
            None => Some(&self.version.writer),
            Some(index) => usize::try_from(index)
                .ok()
                .and_then(|index| self.recent().get(index)),
        };
        match writer {
            Some(writer) if *writer == version.writer => Wrote::Yes,
            Some(_) => Wrote::No,
            None => Wrote::Unknown,
        }
    }

    /// This record as its next version, by `writer`; `rested`: how long since it was last seen.
    pub(crate) fn successor(&self, data: Data, writer: u64, rested: Duration) -> Self {
        let earlier = if rested < RECENT_FOR {
            self.recent()
        } else {
            &[]
        };
        let next = Self {
            verifier: self.verifier,
            version: self.version.next(writer),
            data,
            created_at: self.created_at,
            login: self.login.clone(),
            rare: self.rare.clone(),
            recent: Recent::after(earlier, self.version.writer),
        };
        // Only who has its new token can write to it: it has arrived.
        next.with_moved_from(None)
    }

    /// What stays under the old id when the session moves on, to `moved_to` or for good.
    pub(crate) fn marker(
        &self,
        moved_at: Timestamp,
        moved_to: Option<SessionId>,
        writer: u64,
    ) -> Self {
        let mut marker = self.successor(Data::default(), writer, Duration::ZERO);
        marker.set_rare(|rare| {
            *rare = Rare {
                moved_at: Some(moved_at),
                moved_to,
                // A straggler may bring any of them.
                renewal: rare.renewal.take(),
                ..Rare::default()
            };
        });
        marker
    }

    pub(crate) fn with_data(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    pub(crate) fn with_token(mut self, verifier: Verifier, version: Version) -> Self {
        self.verifier = verifier;
        self.version = version;
        self.recent = Recent::default();
        self
    }

    pub(crate) fn with_verifier(mut self, verifier: Verifier) -> Self {
        self.verifier = verifier;
        self
    }

    pub(crate) fn with_moved_from(mut self, moved_from: Option<SessionId>) -> Self {
        if self.moved_from() != moved_from {
            self.set_rare(|rare| rare.moved_from = moved_from);
        }
        self
    }

    pub(crate) fn with_login(mut self, login: Option<Login>) -> Self {
        self.login = login.map(Box::new);
        if self.rare().ranked_at.is_some() {
            self.set_rare(|rare| rare.ranked_at = None);
        }
        self
    }

    pub(crate) fn with_recent(mut self, writers: impl Iterator<Item = u64>) -> Self {
        self.recent = Recent::from_newest(writers);
        self
    }

    pub(crate) fn set_rare(&mut self, set: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().unwrap_or_default();
        set(&mut rare);
        self.rare = (!rare.is_none()).then_some(rare);
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("data", &self.data)
            .field("created_at", &self.created_at)
            .field("authenticated_at", &self.authenticated_at())
            .field("moved_at", &self.moved_at())
            .finish_non_exhaustive()
    }
}

/// A record and its activity, as a store returns them.
pub(crate) type Kept = (Arc<Record>, Activity);

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Record {
        let verifier = Verifier::decode(&"A".repeat(43)).unwrap();
        Record::new(verifier, Version::first(100), Timestamp::EPOCH)
    }

    fn version(counter: u64, writer: u64) -> Version {
        Version { counter, writer }
    }

    /// After the writes 100, 101, 102 and so on.
    fn after(writes: u64, rested: Duration) -> Record {
        (1..writes).fold(first(), |record, write| {
            record.successor(Data::default(), 100 + write, rested)
        })
    }

    #[test]
    fn a_record_knows_the_writes_it_stems_from() {
        let record = after(17, Duration::ZERO);
        assert_eq!(record.version(), version(17, 116));
        for write in 0..17 {
            assert_eq!(record.wrote(version(1 + write, 100 + write)), Wrote::Yes);
            assert_eq!(record.wrote(version(1 + write, 99)), Wrote::No);
        }
        assert_eq!(record.wrote(version(18, 117)), Wrote::No);
        assert_eq!(record.wrote(version(u64::MAX, 116)), Wrote::No);
    }

    #[test]
    fn what_is_too_long_ago_is_unknown() {
        let record = after(18, Duration::ZERO);
        assert_eq!(record.wrote(version(2, 101)), Wrote::Yes);
        assert_eq!(record.wrote(version(1, 100)), Wrote::Unknown);
        assert_eq!(record.wrote(version(0, 99)), Wrote::Unknown);
    }

    #[test]
    fn a_rest_cuts_the_chain_behind_the_write_before() {
        let record = after(5, RECENT_FOR);
        assert_eq!(record.wrote(version(5, 104)), Wrote::Yes);
        assert_eq!(record.wrote(version(4, 103)), Wrote::Yes);
        assert_eq!(record.wrote(version(4, 99)), Wrote::No);
        assert_eq!(record.wrote(version(3, 102)), Wrote::Unknown);
        let short = after(5, RECENT_FOR - Duration::from_millis(1));
        assert_eq!(short.wrote(version(1, 100)), Wrote::Yes);
    }

    #[test]
    fn what_a_record_remembers_survives_its_encoding() {
        let record = Record::from_bytes(&after(9, Duration::ZERO).to_bytes()).unwrap();
        for write in 0..9 {
            assert_eq!(record.wrote(version(1 + write, 100 + write)), Wrote::Yes);
        }
    }

    #[test]
    fn another_token_forgets_the_writers() {
        let record = after(3, Duration::ZERO);
        let verifier = *record.verifier();
        let moved = record.with_token(verifier, Version::first(7));
        assert_eq!(moved.wrote(version(1, 7)), Wrote::Yes);
        assert!(moved.recent().is_empty());
    }

    #[test]
    fn a_marker_keeps_the_chain_and_the_user_and_nothing_else() {
        let mut record = after(3, Duration::ZERO).with_login(Some(Login {
            user: "ann".into(),
            at: Timestamp::EPOCH,
        }));
        record.set_rare(|rare| rare.persistent = Some(true));
        let record = record.with_data(Data::from_sorted([("k", &b"1"[..])].into_iter()));
        let marker = record.marker(Timestamp::MAX, None, 200);
        assert!(marker.is_moved());
        assert_eq!(marker.moved_at(), Some(Timestamp::MAX));
        assert_eq!(marker.version(), version(4, 200));
        assert_eq!(marker.wrote(record.version()), Wrote::Yes);
        assert_eq!((marker.user(), marker.persistent()), (Some("ann"), None));
        assert_eq!(marker.data().len(), 0);
    }

    #[test]
    fn memory_bytes_grow_with_all_that_is_kept() {
        let record = first();
        let bare = record.memory_bytes();
        let data = Data::from_sorted([("k", &b"1"[..])].into_iter());
        let block = 2 * size_of::<usize>();
        assert_eq!(
            record.clone().with_data(data).memory_bytes(),
            bare + 10 + block
        );
        let login = Login {
            user: "ann".into(),
            at: Timestamp::EPOCH,
        };
        let with_login = record.clone().with_login(Some(login)).memory_bytes();
        assert_eq!(with_login, bare + size_of::<Login>() + 3 + 2 * block);
        let mut unknown = record;
        unknown.set_rare(|rare| {
            rare.unknown.reserve_exact(4);
            let value = RawValue::from_string("[1]".to_owned()).unwrap();
            rare.unknown.push(("later".to_owned(), value));
        });
        let field = size_of::<(String, Box<RawValue>)>();
        assert_eq!(
            unknown.memory_bytes(),
            bare + size_of::<Rare>() + 4 * field + "later".len() + "[1]".len() + 4 * block
        );
    }
}
