//! What the standard library leaves to do about files: private ones, synced ones, [`TempFile`].

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::random::unique;

/// Makes a folder for this user alone, with those above it; whether it was not there.
pub(super) fn ensure_folder(path: &Path) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)?;
    Ok(true)
}

/// Makes the root folder, with those above it; what was made outlasts a loss of power.
pub(super) fn ensure_root(path: &Path) -> io::Result<()> {
    let made: Vec<&Path> = path.ancestors().take_while(|path| !path.is_dir()).collect();
    ensure_folder(path)?;
    for parent in made.into_iter().filter_map(Path::parent) {
        sync_folder(parent)?;
    }
    Ok(())
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.read(true).write(true);
    options
}

/// Makes a file for this user alone, which must not be there yet.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    private().create_new(true).open(path)
}

/// Holds a lock file, against threads and processes, until the file is dropped.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let file = lock_file(path)?;
    file.lock()?;
    Ok(file)
}

/// As [`lock`], without waiting: `WouldBlock` where another holds it.
pub(super) fn try_lock(path: &Path) -> io::Result<File> {
    let file = lock_file(path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

fn lock_file(path: &Path) -> io::Result<File> {
    private().create(true).truncate(false).open(path)
}

pub(super) fn write_at(mut file: &File, place: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(place))?;
    file.write_all(bytes)
}

/// Makes what was linked, renamed and removed in a folder outlast a loss of power.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened, and its entries are written through.
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// A file that is complete and synced, but not yet where it belongs. Removed when it is dropped.
#[derive(Debug)]
pub(super) struct TempFile(PathBuf);

impl TempFile {
    pub(super) fn write(folder: &Path, contents: &[u8]) -> io::Result<Self> {
        let path = folder.join(format!("{:016x}", unique()));
        let mut file = new_file(&path)?;
        let temp = Self(path);
        file.write_all(contents)?;
        file.sync_all()?;
        Ok(temp)
    }

    /// Puts it where nothing may be yet.
    pub(super) fn link(self, path: &Path) -> io::Result<()> {
        fs::hard_link(&self.0, path)
    }

    /// Puts it in the place of what is there.
    pub(super) fn rename(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// How old a temporary file is whose process is surely gone.
const LEFT_OVER: Duration = Duration::from_secs(60 * 60);

/// Removes what processes left behind that ended in the middle of a write.
pub(super) fn remove_left_overs(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let modified = entry.metadata().and_then(|file| file.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > LEFT_OVER) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}
