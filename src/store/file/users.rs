//! The index of users: [`Users`], a folder for each user with an empty file for each session.
//!
//! An entry is created before its session and removed after it, so the index may have too many entries, but never too
//! few. A list compares each with the record.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::disk;
use crate::record::token::SessionId;

/// The SHA-256 of a user, so that the name itself is not in a path. Or [`MARKERS`](Self::MARKERS).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct UserKey(pub(super) [u8; 32]);

impl UserKey {
    /// The key of records that were created as markers. They are no sessions, and have no user. A count leaves them
    /// out.
    pub(super) const MARKERS: Self = Self([0xff; 32]);

    pub(super) fn of(user: &str) -> Self {
        Self(Sha256::digest(user).into())
    }
}

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("REDACTED")
    }
}

#[derive(Debug)]
pub(super) struct Users {
    root: PathBuf,
}

impl Users {
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        disk::ensure_folder(&root)?;
        Ok(Self { root })
    }

    fn folder(&self, user: UserKey) -> PathBuf {
        let hex: String = user.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.root.join(hex)
    }

    pub(super) fn add(&self, user: UserKey, id: SessionId) -> io::Result<()> {
        let folder = self.folder(user);
        loop {
            self.ensure(&folder)?;
            match disk::new_file(&folder.join(id.to_string())) {
                Ok(_) => return disk::sync_folder(&folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                // Another process has removed the last entry, and the folder with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates the folder of a user, if it is missing, and the folder of all users, if that was removed.
    fn ensure(&self, folder: &Path) -> io::Result<()> {
        let made = match disk::ensure_folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk::ensure_folder(&self.root)?;
                if let Some(parent) = self.root.parent() {
                    disk::sync_folder(parent)?;
                }
                disk::ensure_folder(folder)?
            }
            made => made?,
        };
        if made {
            disk::sync_folder(&self.root)?;
        }
        Ok(())
    }

    /// If this fails, the entry stays without a session, and `list` removes it later.
    pub(super) fn remove(&self, user: UserKey, id: SessionId) {
        let folder = self.folder(user);
        let _ = fs::remove_file(folder.join(id.to_string()));
        // Fails unless the folder is empty.
        let _ = fs::remove_dir(folder);
    }

    /// The user's sessions after `after`, in the order of their ids.
    pub(super) fn sessions(
        &self,
        user: UserKey,
        after: Option<SessionId>,
    ) -> io::Result<Vec<SessionId>> {
        let mut ids = ids_in(&self.folder(user))?;
        ids.retain(|id| Some(*id) > after);
        Ok(ids)
    }
}

/// The ids of a folder's files, in order. Other files are ignored.
pub(super) fn ids_in(folder: &Path) -> io::Result<Vec<SessionId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if disk::is_gone(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id: Option<SessionId> = name.to_str().and_then(|name| name.parse().ok());
        // A UUID can be written in several ways, and only one of them is a session's.
        ids.extend(id.filter(|id| name == *id.to_string()));
    }
    ids.sort_unstable();
    Ok(ids)
}
