//! Whether the store's directory is still the one that was opened: [`Place`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::store::file::disk::{Identity, identity, is_gone};

/// The root directory, and what identifies it.
///
/// An unmounted disk leaves an empty directory under the same path. Without this check every session would seem to be
/// missing.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    identity: Identity,
}

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
        let found = fs::metadata(&self.root).map_err(|error| match is_gone(&error) {
            true => io::Error::new(io::ErrorKind::NotFound, error),
            false => error,
        })?;
        if identity(&found) == self.identity {
            return Ok(());
        }
        let what = "another directory is in the place of the session directory";
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }
}
