//! The store beneath the trait: [`FileInner`], whose every call blocks.

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
    users::{UserKey, Users},
    walk::{FOLDERS, folder_name},
};
use crate::{
    error::store::StoreError,
    record::{Activity, Kept, Record, token::SessionId, version::Version},
    store::{Created, RemovalSink, Touched, Updated},
};

#[derive(Debug)]
pub(super) struct FileInner {
    pub(super) root: PathBuf,
    pub(super) users: Users,
    /// The last session a sweep looked at: the next begins after it.
    pub(super) swept: Mutex<Option<SessionId>>,
    pub(super) sinks: RwLock<Vec<RemovalSink>>,
}

impl FileInner {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        disk::ensure_folder(&root)?;
        for number in 0..FOLDERS {
            disk::ensure_folder(&root.join(folder_name(number)))?;
        }
        let inner = Self {
            users: Users::open(root.join("users"))?,
            root,
            swept: Mutex::new(None),
            sinks: RwLock::default(),
        };
        disk::ensure_folder(&inner.temp())?;
        disk::remove_left_overs(&inner.temp())?;
        disk::sync_folder(&inner.root)?;
        inner.try_out()?;
        Ok(inner)
    }

    /// Does all that a session's file will need, in the last of the folders.
    fn try_out(&self) -> io::Result<()> {
        let folder = self.root.join(folder_name(FOLDERS - 1));
        let _lock = disk::lock(&folder.join(LOCK))?;
        let trial = folder.join("trial");
        TempFile::write(&self.temp(), b"")?.rename(&trial)?;
        fs::remove_file(&trial)?;
        TempFile::write(&self.temp(), b"")?.link(&trial)?;
        fs::remove_file(&trial)
    }

    pub(super) fn temp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn folder(&self, id: SessionId) -> PathBuf {
        self.root.join(folder_name(usize::from(id.as_bytes()[0])))
    }

    fn path(&self, id: SessionId) -> PathBuf {
        self.folder(id).join(id.to_string())
    }

    /// Keeps every other thread and process from changing what is in the folder of `id`.
    pub(super) fn lock(&self, id: SessionId) -> io::Result<File> {
        disk::lock(&self.folder(id).join(LOCK))
    }

    /// The file of `id` and its header.
    fn open_file(
        &self,
        id: SessionId,
        to_write: bool,
    ) -> Result<Option<(File, Header)>, FileError> {
        let opened = File::options()
            .read(true)
            .write(to_write)
            .open(self.path(id));
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
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

    /// Does `read` without a lock, and once more with it where the file looks
    /// damaged: then nobody is writing to it, and it is set aside if it still does.
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
        // Links, because a rename would overwrite what was set aside before.
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

    /// The file to link, with the user's entry in the index; `None` where the id is taken.
    fn prepare_create(
        &self,
        id: SessionId,
        record: &Record,
        activity: Activity,
    ) -> Result<Option<TempFile>, FileError> {
        if self.path(id).try_exists()? {
            return Ok(None);
        }
        let file = TempFile::write(&self.temp(), &header::contents(record, activity))?;
        if let Some(user) = record.user() {
            self.users.add(UserKey::of(user), id)?;
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

    /// The file to put in the place of the former, with the user's entry in the index.
    fn prepare_update(
        &self,
        id: SessionId,
        record: &Record,
        activity: Activity,
        former: Option<UserKey>,
    ) -> Result<TempFile, FileError> {
        let file = TempFile::write(&self.temp(), &header::contents(record, activity))?;
        let user = record.user().map(UserKey::of);
        if let Some(user) = user.filter(|user| former != Some(*user)) {
            self.users.add(user, id)?;
        }
        Ok(file)
    }

    /// Not synced: a loss of power may take the last touches back.
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
            // Gone from its place: what is damaged is never deleted.
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
        Ok(self.try_out()?)
    }
}

/// The failure of something that comes before the write.
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
