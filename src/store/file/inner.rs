//! The blocking calls of the store: [`FileInner`].

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use tracing::warn;

use super::{
    disk::{self, TempFile},
    error::FileError,
    header::{self, Header},
    place::Place,
    threads::Threads,
    users::{UserKey, Users},
    walk::{FOLDERS, folder_name},
};
use crate::{
    error::store::StoreError,
    random::unique,
    record::{Activity, Kept, Record, token::SessionId, version::Version},
    store::{Created, RemovalSink, Touched, Updated},
    throttle::Throttle,
};

#[derive(Debug)]
pub(super) struct FileInner {
    place: Place,
    pub(super) users: Users,
    /// The last session that a sweep looked at. The next sweep begins after it.
    pub(super) swept: Mutex<Option<SessionId>>,
    pub(super) sinks: RwLock<Vec<RemovalSink>>,
    pub(super) threads: Threads,
    /// How often a record that cannot be read is logged.
    pub(super) unread: Throttle,
}

impl FileInner {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        disk::ensure_root(&root)?;
        for number in 0..FOLDERS {
            disk::ensure_folder(&root.join(folder_name(number)))?;
        }
        let inner = Self {
            users: Users::open(root.join("users"))?,
            place: Place::of(root)?,
            swept: Mutex::new(None),
            sinks: RwLock::default(),
            threads: Threads::default(),
            unread: Throttle::default(),
        };
        disk::ensure_folder(&inner.temp())?;
        disk::remove_left_overs(&inner.temp())?;
        disk::sync_folder(inner.root())?;
        inner.check_operations()?;
        Ok(inner)
    }

    /// Tries every file operation that the store needs.
    fn check_operations(&self) -> io::Result<()> {
        let folder = self.root().join(folder_name(FOLDERS - 1));
        match self.in_folder(&folder, || disk::try_lock(&folder.join(LOCK))) {
            // Another process holds the lock, so locks work.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            locked => drop(locked?),
        }
        // Without the lock: the name is of this trial alone. If the process dies, it is removed as a left-over.
        let trial = self.temp().join(format!("{:016x}", unique()));
        self.write_temp(b"")?.rename(&trial)?;
        fs::remove_file(&trial)?;
        self.write_temp(b"")?.link(&trial)?;
        fs::remove_file(&trial)
    }

    pub(super) fn root(&self) -> &Path {
        self.place.root()
    }

    /// Fails if the store's directory is gone, because then a missing file does not mean a missing session.
    pub(super) fn check_place(&self) -> io::Result<()> {
        self.place.check()
    }

    pub(super) fn temp(&self) -> PathBuf {
        self.root().join("tmp")
    }

    fn folder(&self, id: SessionId) -> PathBuf {
        let number = usize::from(id.as_bytes()[0]);
        self.root().join(folder_name(number))
    }

    /// Runs `act` in a folder of the store. Creates the folder again if it was removed: programs that clean `/tmp`
    /// remove empty folders.
    ///
    /// Checks that the directory is still the same, because after an unmount there may be another one.
    fn in_folder<T>(&self, folder: &Path, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        self.check_place()?;
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if disk::ensure_folder(folder)? {
                    disk::sync_folder(self.root())?;
                }
                self.check_place()?;
                act()
            }
            done => done,
        }
    }

    fn write_temp(&self, contents: &[u8]) -> io::Result<TempFile> {
        let folder = self.temp();
        self.in_folder(&folder, || TempFile::write(&folder, contents))
    }

    pub(super) fn path(&self, id: SessionId) -> PathBuf {
        self.folder(id).join(id.to_string())
    }

    /// Locks the folder of `id` against other threads and processes.
    ///
    /// `WouldBlock` if another one holds the lock, because no thread may wait here.
    pub(super) fn lock(&self, id: SessionId) -> io::Result<File> {
        let folder = self.folder(id);
        self.in_folder(&folder, || disk::try_lock(&folder.join(LOCK)))
    }

    /// The file of `id` and its header.
    fn open_file(
        &self,
        id: SessionId,
        to_write: bool,
    ) -> Result<Option<(File, Header)>, FileError> {
        self.check_place()?;
        let opened = File::options()
            .read(true)
            .write(to_write)
            .open(self.path(id));
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The directory may have gone since the first check.
                self.check_place()?;
                return Ok(None);
            }
            file => file?,
        };
        let header = Header::read(&mut file)?;
        Ok(Some((file, header)))
    }

    pub(super) fn header(&self, id: SessionId) -> Result<Option<Header>, FileError> {
        Ok(self.open_file(id, false)?.map(|(_, header)| header))
    }

    pub(super) fn read(&self, id: SessionId) -> Result<Option<Kept>, FileError> {
        let Some((mut file, header)) = self.open_file(id, false)? else {
            return Ok(None);
        };
        let file_bytes = file.metadata()?.len();
        let record = header.read_record(&mut file, file_bytes)?;
        Ok(Some((Arc::new(record), header.activity)))
    }

    /// Runs `read` without a lock. If the file looks damaged, a write may be in progress, so `read` runs again with the
    /// lock. A file that still looks damaged is set aside.
    pub(super) fn settle<T>(
        &self,
        id: SessionId,
        read: impl Fn(&Self, SessionId) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        match read(self, id) {
            Err(FileError::Damaged) => {
                let _lock = self.lock(id)?;
                let again = read(self, id);
                self.set_aside_if_damaged(id, again)
            }
            read => read,
        }
    }

    /// Called with the lock of `id` held.
    pub(super) fn set_aside_if_damaged<T>(
        &self,
        id: SessionId,
        read: Result<T, FileError>,
    ) -> Result<T, FileError> {
        if matches!(read, Err(FileError::Damaged)) {
            let aside = self.set_aside(id)?;
            warn!(%id, file = %aside.display(), "a session's file is damaged, and was set aside");
        }
        read
    }

    fn set_aside(&self, id: SessionId) -> io::Result<PathBuf> {
        let path = self.path(id);
        let mut aside = with_added_extension(&path, "corrupt");
        let mut number = 1;
        // A link, because a rename would overwrite a file that was set aside before.
        while let Err(error) = fs::hard_link(&path, &aside) {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error);
            }
            aside = with_added_extension(&path, &format!("{number}.corrupt"));
            number += 1;
        }
        fs::remove_file(&path)?;
        disk::sync_folder(&self.folder(id))?;
        Ok(aside)
    }

    pub(super) fn create(
        &self,
        id: SessionId,
        record: &Record,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let _lock = self.lock(id).map_err(not_applied)?;
        let prepared = self.prepare_create(id, record, activity);
        let Some(file) = prepared.map_err(not_applied)? else {
            return Ok(Created::Exists);
        };
        match file.link(&self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Created::Exists);
            }
            linked => linked.map_err(FileError::from)?,
        }
        self.sync_folder(id)?;
        Ok(Created::Yes)
    }

    /// Writes the temporary file and the user's entry in the index. `None` if the id is taken.
    fn prepare_create(
        &self,
        id: SessionId,
        record: &Record,
        activity: Activity,
    ) -> Result<Option<TempFile>, FileError> {
        if self.path(id).try_exists()? {
            return Ok(None);
        }
        let user = match record.is_moved() {
            true => Some(UserKey::MARKERS),
            false => record.user().map(UserKey::of),
        };
        let file = self.write_temp(&header::contents(record, activity, user))?;
        if let Some(user) = user {
            self.users.add(user, id)?;
        }
        Ok(Some(file))
    }

    fn sync_folder(&self, id: SessionId) -> Result<(), FileError> {
        Ok(disk::sync_folder(&self.folder(id))?)
    }

    pub(super) fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        Ok(self.settle(id, Self::read)?)
    }

    pub(super) fn update(
        &self,
        id: SessionId,
        record: &Record,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        let _lock = self.lock(id).map_err(not_applied)?;
        let header = self.set_aside_if_damaged(id, self.header(id));
        let Some(header) = header.map_err(not_applied)? else {
            return Ok(Updated::Missing);
        };
        if header.version != expected {
            return Ok(Updated::Conflict);
        }
        let prepared = self.prepare_update(id, record, activity, header.user);
        let file = prepared.map_err(not_applied)?;
        file.rename(&self.path(id)).map_err(FileError::from)?;
        self.sync_folder(id)?;
        let user = record.user().map(UserKey::of);
        if let Some(former) = header.user.filter(|former| user != Some(*former)) {
            self.users.remove(former, id);
        }
        Ok(Updated::Saved)
    }

    /// Writes the temporary file that replaces the former one, and the user's entry in the index.
    fn prepare_update(
        &self,
        id: SessionId,
        record: &Record,
        activity: Activity,
        former: Option<UserKey>,
    ) -> Result<TempFile, FileError> {
        let user = record.user().map(UserKey::of);
        let file = self.write_temp(&header::contents(record, activity, user))?;
        if let Some(user) = user.filter(|user| former != Some(*user)) {
            self.users.add(user, id)?;
        }
        Ok(file)
    }

    /// Not synced, so a loss of power may lose the last touches.
    pub(super) fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let _lock = self.lock(id).map_err(not_applied)?;
        let opened = self.set_aside_if_damaged(id, self.open_file(id, true));
        let Some((file, header)) = opened.map_err(not_applied)? else {
            return Ok(Touched::Missing);
        };
        if header.version != expected {
            return Ok(Touched::Stale);
        }
        if let Some((place, slot)) = header.touched(activity) {
            disk::write_at(&file, place, &slot).map_err(FileError::from)?;
        }
        Ok(Touched::Yes)
    }

    pub(super) fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        let _lock = self.lock(id).map_err(not_applied)?;
        let header = match self.set_aside_if_damaged(id, self.header(id)) {
            Ok(None) => return Ok(false),
            // It was set aside. A damaged file is never deleted.
            Err(FileError::Damaged) => return Ok(true),
            Err(FileError::Newer(_)) => None,
            header => header.map_err(not_applied)?,
        };
        let user = header.and_then(|header| header.user);
        self.remove(id, user).map_err(FileError::from)?;
        self.sync_folder(id)?;
        Ok(true)
    }

    /// Called with the lock of `id` held.
    pub(super) fn remove(&self, id: SessionId, user: Option<UserKey>) -> io::Result<()> {
        fs::remove_file(self.path(id))?;
        if let Some(user) = user {
            self.users.remove(user, id);
        }
        Ok(())
    }

    /// Whether a session's file could be read and written.
    pub(super) fn ping(&self) -> Result<(), FileError> {
        Ok(self.check_operations()?)
    }
}

/// An error that came before the write.
fn not_applied(error: impl Into<FileError>) -> StoreError {
    StoreError::from(error.into()).not_applied()
}

const LOCK: &str = "lock";

fn with_added_extension(path: &Path, extension: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}
