//! Private files, locks, syncs, and [`TempFile`].

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::random::unique;

/// Creates a folder that only this user can read. Returns whether it was missing.
///
/// Does not create its parents: a root folder that is missing must not be created again in another place.
pub(super) fn ensure_folder(path: &Path) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    match builder().create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        created => created.map(|()| true),
    }
}

fn builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Creates the root folder and its parents, and syncs them.
pub(super) fn ensure_root(path: &Path) -> io::Result<()> {
    let made: Vec<&Path> = path.ancestors().take_while(|path| !path.is_dir()).collect();
    builder().recursive(true).create(path)?;
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

/// Creates a file that only this user can read. It must not exist.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    private().create_new(true).open(path)
}

/// Holds a lock file, against threads and processes, until the file is dropped. `WouldBlock` if another one holds it, or
/// if the file was removed meanwhile.
pub(super) fn try_lock(path: &Path) -> io::Result<File> {
    let file = private().create(true).truncate(false).open(path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    })?;
    if is_at(&file, path)? {
        Ok(file)
    } else {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Whether the open file is still the one under this path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok(identity(&there) == identity(&file.metadata()?)),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Device and number of a file or a directory.
#[cfg(unix)]
pub(super) type Identity = (u64, u64);

/// On other systems it must only exist.
#[cfg(not(unix))]
pub(super) type Identity = ();

#[cfg(unix)]
pub(super) fn identity(metadata: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;

    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
pub(super) fn identity(_: &fs::Metadata) -> Identity {}

pub(super) fn write_at(mut file: &File, place: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(place))?;
    file.write_all(bytes)
}

/// Syncs a folder, so that links, renames and removals in it survive a loss of power.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    // On other systems a folder cannot be opened. They write its entries at once.
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// A complete and synced file under a temporary name. It is removed when this is dropped.
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

    /// Links the file to `path`. Fails if there is a file already.
    pub(super) fn link(self, path: &Path) -> io::Result<()> {
        fs::hard_link(&self.0, path)
    }

    /// Renames the file to `path`, and replaces the file there.
    pub(super) fn rename(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether nothing is there. A file may be in the place of the directory, or of one above it.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::NotFound || kind == io::ErrorKind::NotADirectory
}

/// A temporary file of this age was left by a process that died.
const LEFT_OVER: Duration = Duration::from_secs(60 * 60);

/// Removes temporary files of processes that died during a write.
pub(super) fn remove_left_overs(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_gone(&error) => return Ok(()),
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

#[cfg(test)]
mod tests {
    use std::env::temp_dir;

    use super::*;

    #[test]
    fn a_lock_file_that_was_removed_is_not_the_one_under_its_path() {
        let path = temp_dir().join(format!("cloakroom-{:016x}", unique()));
        let removed = try_lock(&path).unwrap();
        assert!(is_at(&removed, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&removed, &path).unwrap());
        let other = try_lock(&path).unwrap();
        assert!(!is_at(&removed, &path).unwrap() && is_at(&other, &path).unwrap());
        fs::remove_file(&path).unwrap();
    }
}
