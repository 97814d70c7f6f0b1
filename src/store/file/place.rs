//! Whether the store's directory is still the one that was opened: [`Place`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root directory, and what identifies it.
///
/// An unmounted disk leaves an empty directory under the same path. Without this check every session would seem to be
/// missing.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    identity: Identity,
}

/// Device and number of the directory.
#[cfg(unix)]
type Identity = (u64, u64);

/// On other systems the directory must only exist.
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
    /// The place of an existing root directory.
    pub(super) fn of(root: PathBuf) -> io::Result<Self> {
        let identity = identity(&fs::metadata(&root)?);
        Ok(Self { root, identity })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Fails if the directory is gone, or another one is in its place.
    pub(super) fn check(&self) -> io::Result<()> {
        if identity(&fs::metadata(&self.root)?) == self.identity {
            return Ok(());
        }
        let what = "another directory is in the place of the session directory";
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }
}
