//! Reading a snapshot: [`Restored`], and the [`Flaw`]s in it.

use std::{
    fmt,
    fs::File,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{
    file::{folder, keep_beside},
    frame::{Head, Next, Scanner, Session},
};
use crate::{
    error::store::{StoreError, StoreErrorKind},
    store::{Created, memory::MemoryInner},
};

/// The result of [`MemoryStore::restore_from`](super::super::MemoryStore::restore_from).
///
/// ```
/// use cloakroom::store::Restored;
///
/// fn report(restored: &Restored) {
///     println!("{} sessions restored", restored.restored);
///     for flaw in &restored.flaws {
///         println!("at byte {}: {flaw}", flaw.offset);
///     }
/// }
/// # report(&Restored::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// How many sessions were put into the store.
    pub restored: usize,
    /// How many were already in the store. Those stay unchanged.
    pub already_there: usize,
    /// How many were left out because the store is full and does not evict.
    pub no_room: usize,
    /// The parts of the file that could not be read, in the order of the file.
    pub flaws: Vec<Flaw>,
    /// The second name under which a file with flaws is kept, so that the next save does not replace it.
    pub kept_as: Option<PathBuf>,
}

/// A part of a snapshot that could not be read. [`Restored::flaws`] lists them.
///
/// ```
/// use cloakroom::store::{Flaw, FlawKind};
///
/// /// Whether a newer version of the program can read the session.
/// fn is_for_newer(flaw: &Flaw) -> bool {
///     flaw.kind == FlawKind::Incompatible
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Flaw {
    /// Its position in the file, in bytes from the beginning.
    pub offset: u64,
    /// What is wrong there.
    pub kind: FlawKind,
}

/// The kind of a [`Flaw`].
///
/// ```
/// use cloakroom::store::{FlawKind, Restored};
///
/// fn is_cut_short(restored: &Restored) -> bool {
///     restored.flaws.iter().any(|flaw| flaw.kind == FlawKind::CutShort)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlawKind {
    /// One or more sessions, or the head of the file, are damaged.
    Damaged,
    /// The session is intact, but this version of the crate does not know the format of its record.
    Incompatible,
    /// The file ends here without the end mark of a snapshot. The rest is missing.
    CutShort,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FlawKind::Damaged => "damaged",
            FlawKind::Incompatible => "a session of another format",
            FlawKind::CutShort => "cut short",
        };
        write!(f, "{what} at byte {}", self.offset)
    }
}

/// How many flaws are logged one by one.
const LOGGED: usize = 20;

impl Restored {
    pub(super) fn warn(&self, path: &Path) {
        let path = path.display();
        for flaw in self.flaws.iter().take(LOGGED) {
            warn!(%path, offset = flaw.offset, "the snapshot has a flaw: {flaw}");
        }
        if self.flaws.len() > LOGGED {
            let flaws = self.flaws.len();
            warn!(%path, flaws, "the snapshot has more flaws than are logged");
        }
        if !self.flaws.is_empty() && self.kept_as.is_none() {
            warn!(%path, "the flawed snapshot cannot be kept: the next save replaces it");
        }
        if self.no_room > 0 {
            let sessions = self.no_room;
            warn!(%path, sessions, "the store has no room for all sessions of the snapshot");
        }
    }

    fn count(&mut self, created: Result<Created, StoreError>) {
        let count = match created {
            Ok(Created::Yes) => &mut self.restored,
            Ok(Created::Exists) => &mut self.already_there,
            Err(_) => &mut self.no_room,
        };
        *count += 1;
    }
}

/// `None` if there is no file. An error if its folder is missing too: the next save would fail.
pub(super) fn restore(inner: &MemoryInner, path: &Path) -> io::Result<Option<Restored>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if folder(path).is_dir() {
                return Ok(None);
            }
            return Err(io::Error::new(error.kind(), "its folder is missing"));
        }
        file => file?,
    };
    let mut scanner = Scanner::new(file);
    let is_known = match scanner.head()? {
        Head::Known => true,
        Head::Damaged => false,
        Head::Format(format) => {
            let what = format!("it is of format {format}, which this version does not know");
            return Err(io::Error::new(ErrorKind::Unsupported, what));
        }
    };
    let Some(mut report) = read(inner, &mut scanner, is_known)? else {
        let what = "it is not a snapshot of sessions";
        return Err(io::Error::new(ErrorKind::InvalidData, what));
    };
    if !report.flaws.is_empty() {
        report.kept_as = keep_beside(path).ok();
    }
    Ok(Some(report))
}

/// `None` if the file is not a snapshot.
fn read(
    inner: &MemoryInner,
    scanner: &mut Scanner<File>,
    is_known: bool,
) -> io::Result<Option<Restored>> {
    let mut report = Restored::default();
    let (mut is_snapshot, mut has_ended) = (is_known, false);
    loop {
        let offset = scanner.offset();
        let kind = match scanner.next()? {
            Next::Frame(body) => {
                is_snapshot = true;
                if body.is_empty() {
                    has_ended = true;
                    continue;
                }
                match Session::decode(body) {
                    Some(Ok(session)) => {
                        report.count(inner.restore(&session));
                        continue;
                    }
                    Some(Err(error)) if error.kind() == StoreErrorKind::Incompatible => {
                        FlawKind::Incompatible
                    }
                    _ => FlawKind::Damaged,
                }
            }
            Next::Damaged => FlawKind::Damaged,
            Next::Nothing => {
                let kind = if has_ended {
                    FlawKind::Damaged
                } else {
                    FlawKind::CutShort
                };
                if !has_ended || scanner.offset() > offset {
                    report.flaws.push(Flaw { offset, kind });
                }
                return Ok(is_snapshot.then_some(report));
            }
        };
        report.flaws.push(Flaw { offset, kind });
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::{super::frame::Writer, *};
    use crate::{random::unique, store::MemoryStore};

    /// Restores a file of these bytes, which is removed afterwards.
    fn restored(bytes: &[u8]) -> (io::Result<Option<Restored>>, Vec<u8>, MemoryStore) {
        let folder = env::temp_dir().join(format!("cloakroom-{:016x}", unique()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("sessions");
        fs::write(&path, bytes).unwrap();
        let store = MemoryStore::default();
        let report = restore(store.inner(), &path);
        let left = fs::read(&path).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        (report, left, store)
    }

    #[test]
    fn a_snapshot_of_another_format_is_an_error_that_changes_nothing() {
        let head = Writer::of_format(2, Vec::new()).unwrap();
        let bytes = head.end().unwrap();
        let (report, left, store) = restored(&bytes);
        let error = report.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("format 2"));
        assert_eq!((left, store.len()), (bytes, 0));
    }

    #[test]
    fn a_record_of_another_format_is_reported_and_costs_no_other() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let verifier = "A".repeat(43);
        for (id, format) in [1, 3, 1].into_iter().enumerate() {
            let mut body = vec![id as u8; 16];
            body.extend([0; 17]);
            let record = format!(
                r#"{{"format":{format},"version":"1-0000000000000001","verifier":"{verifier}","created_at":0,"data":{{}}}}"#
            );
            body.extend(record.as_bytes());
            writer.frame(&body).unwrap();
        }
        writer.frame(b"no session, and intact").unwrap();
        let (report, _, store) = restored(&writer.end().unwrap());
        let report = report.unwrap().unwrap();
        let kinds: Vec<FlawKind> = report.flaws.iter().map(|flaw| flaw.kind).collect();
        assert_eq!(kinds, [FlawKind::Incompatible, FlawKind::Damaged]);
        assert!(report.flaws[0].offset > 24 && report.kept_as.is_some());
        assert_eq!((report.restored, store.len()), (2, 2));
    }
}
