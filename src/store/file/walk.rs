//! Iterates over all sessions of a directory, ordered by id: [`Walk`].

use std::{io, path::Path, vec};

use super::users::ids_in;
use crate::record::token::SessionId;

/// One for each first byte of an id.
pub(super) const FOLDERS: usize = 256;

pub(super) fn folder_name(number: usize) -> String {
    format!("{number:02x}")
}

/// Reads the names of one folder at a time, and no file.
pub(super) struct Walk<'a> {
    root: &'a Path,
    after: Option<SessionId>,
    next_folder: usize,
    ids: vec::IntoIter<SessionId>,
}

impl<'a> Walk<'a> {
    pub(super) fn after(root: &'a Path, after: Option<SessionId>) -> Self {
        Self {
            root,
            after,
            next_folder: after.map_or(0, |id| usize::from(id.as_bytes()[0])),
            ids: Vec::new().into_iter(),
        }
    }

    fn read_folder(&mut self) -> io::Result<()> {
        let number = self.next_folder;
        self.next_folder += 1;
        let mut ids = ids_in(&self.root.join(folder_name(number)))?;
        // A file in the wrong folder is not found by its id either.
        ids.retain(|id| usize::from(id.as_bytes()[0]) == number && Some(*id) > self.after);
        self.ids = ids.into_iter();
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = io::Result<SessionId>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(id) = self.ids.next() {
                return Some(Ok(id));
            }
            if self.next_folder == FOLDERS {
                return None;
            }
            if let Err(error) = self.read_folder() {
                return Some(Err(error));
            }
        }
    }
}
