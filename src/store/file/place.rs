//! Whether the store's directory is still the one that was opened: [`Place`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root directory, and what tells it from another one under the same path.
///
/// A disk that is unmounted leaves an empty directory behind. Without a look
/// at this, every session would seem to be missing.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    identity: Identity,
}

/// Device and number of the directory.
#[cfg(unix)]
type Identity = (u64, u64);

/// Elsewhere the directory must be there.
#[cfg(not(unix))]
type Identity = ();

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;

    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Identity {}

impl Place {
    /// Of a root directory that is there.
    pub(super) fn of(root: PathBuf) -> io::Result<Self> {
        let identity = identity(&fs::metadata(&root)?);
        Ok(Self { root, identity })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Fails where the directory is gone, or another one is in its place.
    pub(super) fn check(&self) -> io::Result<()> {
        if identity(&fs::metadata(&self.root)?) == self.identity {
            return Ok(());
        }
        let what = "another directory is in the place of the session directory";
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }
}
