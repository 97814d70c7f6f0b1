//! A stored session: the [`Record`] and its [`Activity`].
//!
//! This folder holds data and pure functions of it: the encoding, the rules of the lifetime, the renewal of
//! secrets. It knows no store and no request. Times are arguments.

pub(crate) mod activity;
mod base64url;
mod beginning;
pub(crate) mod data;
pub(crate) mod encoding;
mod extras;
pub(crate) mod finite;
pub(crate) mod key;
pub(crate) mod labels;
pub(crate) mod lifetime;
pub(crate) mod lineage;
pub(crate) mod realm;
pub(crate) mod renewal;
pub(crate) mod secrets;
pub(crate) mod stamp;
pub(crate) mod timeout;
pub(crate) mod token;
pub(crate) mod token_keys;
pub(crate) mod user;
pub(crate) mod value;
pub(crate) mod version;

use std::{fmt, sync::Arc, time::Duration};

pub use self::activity::Activity;
pub(crate) use self::extras::Extras;

use crate::{
    clock::Timestamp,
    record::{
        beginning::Beginning,
        data::Data,
        extras::block,
        labels::Labels,
        lineage::{MoveKind, Origin, Successor},
        realm::Realm,
        secrets::Renewal,
        stamp::Stamp,
        timeout::Timeout,
        token::{SessionId, Verifier},
        version::{Recent, Version, Wrote},
    },
};

/// A stored session: its verifier, data, user, times, timeouts and version.
///
/// A store keeps the record, or its [encoding](Self::to_bytes), unchanged. It compares the
/// [`version`](Self::version), and may index the [`user`](Self::user). It needs nothing else of a record.
///
/// A record has no secret. Somebody who reads it sees the session's data, but cannot open the session. `Debug`
/// shows neither the data nor the user.
///
/// ```
/// use cloakroom::{Record, store::StoreError};
///
/// /// The columns of a store in a database.
/// fn columns(record: &Record) -> (String, Option<&str>, Vec<u8>) {
///     (record.version().to_string(), record.user(), record.to_bytes())
/// }
///
/// fn from_column(bytes: &[u8]) -> Result<Record, StoreError> {
///     Record::from_bytes(bytes)
/// }
/// ```
#[derive(Clone)]
pub struct Record {
    verifier: Verifier,
    version: Version,
    data: Data,
    beginning: Beginning,
    login: Option<Box<Login>>,
    extras: Option<Box<Extras>>,
    recent: Recent,
}

#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: Box<str>,
    pub(crate) at: Timestamp,
}

/// If the last write was this long ago, a write drops the list of recent writers, because no commit takes longer.
const RECENT_FOR: Duration = Duration::from_secs(60);

impl Record {
    pub(crate) fn new(verifier: Verifier, version: Version, created_at: Timestamp) -> Self {
        Self {
            verifier,
            version,
            data: Data::default(),
            beginning: Beginning::new(created_at, Realm::NONE),
            login: None,
            extras: None,
            recent: Recent::default(),
        }
    }

    /// The version of this record. A store compares it in `update` and `touch`.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The user who has logged in. `None` if nobody has. A store that lists sessions by user indexes it.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| &*login.user)
    }

    /// When the session began.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.beginning.at()
    }

    /// When the user logged in. `None` if nobody has logged in, or if the time is unknown because the session was
    /// imported from another library.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        let login = self.login.as_ref();
        let login = login.filter(|_| !self.extras().is_imported);
        login.map(|login| login.at)
    }

    /// When the session got its id: by its creation, a log-in or a cycle.
    ///
    /// The time does not change while the session has the id, so lists in this order are exact from page
    /// to page.
    #[must_use]
    pub fn begun_at(&self) -> Timestamp {
        let cycled = self.extras().begun_at;
        cycled.unwrap_or_else(|| self.lifetime_start())
    }

    /// When the absolute timeout begins.
    pub(crate) fn lifetime_start(&self) -> Timestamp {
        self.authenticated_at().unwrap_or(self.created_at())
    }

    /// Whether this is a marker. A marker replaces the record of a session that has moved to another id, or ended.
    ///
    /// A marker has no data and expires after 60 seconds. It keeps the user, so that a list by user also finds
    /// a session that moves while the list is made.
    ///
    /// A record may also be created as a marker. It then closes an id that never had a session, or belongs to the
    /// ledger of [imports](crate::import). Stores do not count such records.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        self.moved_at().is_some()
    }

    /// How many bytes the record takes in memory, including the allocator's overhead.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // The `Arc`'s reference counts.
        const COUNTS: usize = 2 * size_of::<usize>();
        let login = self.login.as_ref().map_or(0, |login| {
            block(size_of::<Login>()) + block(login.user.len())
        });
        let extras = self.extras.as_ref();
        let extras = extras.map_or(0, |extras| extras.memory_bytes());
        let recent = block(size_of_val(self.recent()));
        block(COUNTS + size_of::<Self>()) + block(self.data.allocated()) + login + extras + recent
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// The realm in which the session's tokens are accepted. [`Realm::NONE`]: in all realms.
    pub(crate) fn realm(&self) -> Realm {
        self.beginning.realm()
    }

    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_deref()
    }

    pub(crate) fn extras(&self) -> &Extras {
        self.extras.as_deref().unwrap_or(Extras::NONE)
    }

    pub(crate) fn recent(&self) -> &[u64] {
        self.recent.as_slice()
    }

    pub(crate) fn idle_timeout(&self) -> Timeout {
        self.extras.as_ref().map_or(Timeout::Layer, |it| it.idle)
    }

    pub(crate) fn persistent(&self) -> Option<bool> {
        self.extras().persistent
    }

    /// When the user last proved who they are.
    pub(crate) fn confirmed_at(&self) -> Option<Timestamp> {
        self.authenticated_at().max(self.extras().confirmed_at)
    }

    pub(crate) fn stamp(&self) -> Option<&Stamp> {
        self.extras().stamp.as_deref()
    }

    /// Orders the log-ins of one user.
    pub(crate) fn ranked_at(&self) -> Option<Timestamp> {
        self.extras().ranked_at.or(self.authenticated_at())
    }

    pub(crate) fn moved_at(&self) -> Option<Timestamp> {
        self.extras.as_ref()?.moved_at
    }

    /// The id under which the session continues. `None` after a log-in, which begins another session (rule M7).
    pub(crate) fn moved_to(&self) -> Option<SessionId> {
        let cycled = self.leads_to().filter(|to| to.kind == MoveKind::Cycle);
        cycled.map(|to| to.id)
    }

    /// The session that this one became, by a cycle or a log-in.
    pub(crate) fn leads_to(&self) -> Option<Successor> {
        self.extras().successor
    }

    /// The id that a cycle took this session from. If that one is still live, the cycle is not finished.
    pub(crate) fn moved_from(&self) -> Option<SessionId> {
        let cycled = self.origin().filter(|from| from.kind == MoveKind::Cycle);
        cycled.map(|from| from.id)
    }

    /// The session that this one comes from, until a request writes under its token.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.extras.as_ref()?.origin
    }

    /// The id that the session never moves to.
    pub(crate) fn bar(&self) -> Option<SessionId> {
        self.extras().bar
    }

    /// Whether the write with this `version` made this record or an earlier version of it. `None` if
    /// the record does not remember that far back.
    ///
    /// A store that sends a write again after a lost reply calls this to find out whether the first one was
    /// applied.
    ///
    /// ```
    /// use cloakroom::{Record, Version, store::{StoreError, StoreErrorKind, Updated}};
    ///
    /// /// A repeated update found another version in the database.
    /// fn after_retry(stored: &Record, sent: Version) -> Result<Updated, StoreError> {
    ///     match stored.has_written(sent) {
    ///         Some(true) => Ok(Updated::Saved),
    ///         Some(false) => Ok(Updated::Conflict),
    ///         None => Err(StoreError::new(StoreErrorKind::Other, "nobody can tell")),
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn has_written(&self, version: Version) -> Option<bool> {
        match self.wrote(version) {
            Wrote::Yes => Some(true),
            Wrote::No => Some(false),
            Wrote::Unknown => None,
        }
    }

    /// Whether the write with this `version` made this record, or one before it.
    pub(crate) fn wrote(&self, version: Version) -> Wrote {
        version.is_among(self.version, self.recent())
    }

    /// The next version of this record, written by `writer`. `rested` is the time since its last use.
    pub(crate) fn successor(&self, data: Data, writer: u64, rested: Duration) -> Self {
        let earlier = if rested < RECENT_FOR {
            self.recent()
        } else {
            &[]
        };
        let mut next = Self {
            verifier: self.verifier,
            version: self.version.next(writer),
            data,
            beginning: self.beginning,
            login: self.login.clone(),
            extras: self.extras.clone(),
            recent: Recent::after(earlier, self.version.writer),
        };
        // Only a visitor with the new token can write here, so the move is finished.
        if next.origin().is_some() {
            next.set_extras(|extras| extras.origin = None);
        }
        next
    }

    /// The marker that stays under this id when the session moves to another one, or ends.
    pub(crate) fn marker(
        &self,
        moved_at: Timestamp,
        moved_to: Option<SessionId>,
        writer: u64,
    ) -> Self {
        let mut marker = self.successor(Data::default(), writer, Duration::ZERO);
        marker.set_extras(|extras| {
            *extras = Extras {
                moved_at: Some(moved_at),
                successor: moved_to.map(|id| Successor {
                    id,
                    kind: MoveKind::Cycle,
                }),
                begun_at: extras.begun_at,
                // Requests that are still under way may present any of them.
                renewal: extras.renewal.take(),
                transport: extras.transport.take(),
                ..Extras::default()
            };
        });
        marker
    }

    pub(crate) fn with_data(mut self, data: Data) -> Self {
        self.set_data(data);
        self
    }

    pub(crate) fn set_data(&mut self, data: Data) {
        self.data = data;
    }

    pub(crate) fn with_token(mut self, verifier: Verifier, version: Version) -> Self {
        self.verifier = verifier;
        self.version = version;
        self.recent = Recent::default();
        self.with_begun_at(None)
    }

    /// This record with the time when a cycle gave the session its id.
    pub(crate) fn with_begun_at(mut self, begun_at: Option<Timestamp>) -> Self {
        if self.extras().begun_at != begun_at {
            self.set_extras(|extras| extras.begun_at = begun_at);
        }
        self
    }

    pub(crate) fn with_realm(mut self, realm: Realm) -> Self {
        self.beginning = Beginning::new(self.created_at(), realm);
        self
    }

    /// The header that the session's tokens are issued for. `None`: the cookie.
    pub(crate) fn transport(&self) -> Option<&str> {
        self.extras.as_ref()?.transport.as_deref()
    }

    pub(crate) fn with_transport(mut self, transport: Option<&str>) -> Self {
        if self.transport() != transport {
            self.set_extras(|extras| extras.transport = transport.map(Box::from));
        }
        self
    }

    pub(crate) fn with_verifier(mut self, verifier: Verifier) -> Self {
        self.verifier = verifier;
        self
    }

    pub(crate) fn renewal(&self) -> Option<&Renewal> {
        self.extras.as_ref()?.renewal.as_deref()
    }

    /// This content as the version after `former`.
    pub(crate) fn replacing(self, former: &Self, writer: u64) -> Self {
        Self {
            version: former.version.next(writer),
            recent: Recent::after(former.recent(), former.version.writer),
            ..self
        }
    }

    pub(crate) fn with_login(mut self, login: Option<Login>) -> Self {
        self.login = login.map(Box::new);
        if self.extras.is_some() {
            self.set_extras(|extras| {
                extras.ranked_at = None;
                extras.is_imported = false;
                extras.ends_at = None;
            });
        }
        self
    }

    /// This record with the layer's timeouts and persistence, and without what belongs to an earlier log-in.
    pub(crate) fn before_log_in(mut self) -> Self {
        if self.extras.is_some() {
            self.set_extras(|extras| {
                extras.idle = Timeout::Layer;
                extras.absolute = Timeout::Layer;
                extras.persistent = None;
                extras.confirmed_at = None;
                extras.stamp = None;
            });
        }
        self
    }

    pub(crate) fn with_confirmation(mut self, confirmed_at: Option<Timestamp>) -> Self {
        if confirmed_at.is_some() {
            self.set_extras(|extras| extras.confirmed_at = confirmed_at);
        }
        self
    }

    pub(crate) fn labels(&self) -> Option<&Labels> {
        self.extras().labels.as_deref()
    }

    /// This record with these labels beside those that it has.
    pub(crate) fn with_labels(mut self, labels: &Arc<Labels>) -> Self {
        let all = match self.labels() {
            None => Arc::clone(labels),
            Some(own) => Arc::new(own.with(labels.iter().map(|(name, value)| (name, Some(value))))),
        };
        self.set_extras(|extras| extras.labels = Some(all));
        self
    }

    pub(crate) fn with_recent(mut self, writers: impl Iterator<Item = u64>) -> Self {
        self.recent = Recent::from_newest(writers);
        self
    }

    pub(crate) fn set_extras(&mut self, set: impl FnOnce(&mut Extras)) {
        let mut extras = self.extras.take().unwrap_or_default();
        set(&mut extras);
        self.extras = (!extras.is_none()).then_some(extras);
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("data", &self.data)
            .field("created_at", &self.created_at())
            .field("authenticated_at", &self.authenticated_at())
            .field("moved_at", &self.moved_at())
            .finish_non_exhaustive()
    }
}

/// A record and its activity, as a store returns them.
pub(crate) type Kept = (Arc<Record>, Activity);

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

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
        record.set_extras(|extras| extras.persistent = Some(true));
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
    fn format_2_is_written_only_for_what_needs_it() {
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
        let format = |record: &Record| {
            let bytes = record.to_bytes();
            let read = Record::from_bytes(&bytes).unwrap();
            assert_eq!(read.to_bytes(), bytes);
            assert_eq!(read.extras().origin, record.extras().origin);
            assert_eq!(read.leads_to(), record.leads_to());
            assert_eq!(read.bar(), record.bar());
            bytes[10] - b'0'
        };
        let origin = |kind, version| {
            let mut record = first();
            let origin = Origin { id, version, kind };
            record.set_extras(|extras| extras.origin = Some(origin));
            record
        };
        assert_eq!(format(&first()), 1);
        assert_eq!(format(&origin(MoveKind::Cycle, Origin::UNKNOWN_VERSION)), 1);
        assert_eq!(format(&origin(MoveKind::Cycle, version(3, 4))), 2);
        assert_eq!(format(&origin(MoveKind::LogIn, version(3, 4))), 2);
        let written =
            origin(MoveKind::LogIn, version(3, 4)).successor(Data::default(), 1, Duration::ZERO);
        assert_eq!(format(&written), 1);
        let mut barred = first();
        barred.set_extras(|extras| extras.bar = Some(id));
        assert_eq!(format(&barred), 2);
        for (kind, expected) in [(MoveKind::Cycle, 1), (MoveKind::LogIn, 2)] {
            let mut marker = first().marker(Timestamp::EPOCH, Some(id), 5);
            marker.set_extras(|extras| extras.successor = Some(Successor { id, kind }));
            assert_eq!(format(&marker), expected);
        }
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
        unknown.set_extras(|extras| {
            extras.unknown.reserve_exact(4);
            let value = RawValue::from_string("[1]".to_owned()).unwrap();
            extras.unknown.push(("later".to_owned(), value));
        });
        let field = size_of::<(String, Box<RawValue>)>();
        assert_eq!(
            unknown.memory_bytes(),
            bare + size_of::<Extras>() + 4 * field + "later".len() + "[1]".len() + 4 * block
        );
    }
}
