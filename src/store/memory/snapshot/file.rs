//! Writes a file completely or not at all: [`NewFile`].

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::random::unique;

/// A file under a temporary name beside the one that it replaces. It is removed if that fails.
pub(super) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    to: BufWriter<File>,
    is_in_place: bool,
}

/// A temporary file that has not changed for so long was left by a process that died.
const ABANDONED_AFTER: Duration = Duration::from_secs(60 * 60);

const TEMPORARY: &str = "tmp";
const DAMAGED: &str = "damaged";

impl NewFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        remove_abandoned(path);
        let temporary = beside(path, &format!("{:016x}.{TEMPORARY}", unique()))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self {
            path: path.to_owned(),
            to: BufWriter::with_capacity(256 * 1024, options.open(&temporary)?),
            temporary,
            is_in_place: false,
        })
    }

    pub(super) fn put_in_place(mut self) -> io::Result<()> {
        self.to.flush()?;
        self.to.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.is_in_place = true;
        // The folder has the new name, and must be synced too.
        #[cfg(unix)]
        File::open(folder(&self.path))?.sync_all()?;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_in_place {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Keeps a file under a second name, so that it survives when the first is replaced. The second name is always the same.
pub(super) fn keep_beside(path: &Path) -> io::Result<PathBuf> {
    let kept = path.metadata()?;
    for number in 1_u32.. {
        let name = match number {
            1 => DAMAGED.to_owned(),
            number => format!("{DAMAGED}-{number}"),
        };
        let name = beside(path, &name)?;
        match fs::hard_link(path, &name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if is_same(&kept, &name.metadata()?) {
                    return Ok(name);
                }
            }
            // Some file systems have no hard links.
            Err(_) if !name.try_exists()? => return fs::copy(path, &name).map(|_| name),
            Err(error) => return Err(error),
        }
    }
    unreachable!("a folder has fewer files")
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        one.len() == other.len() && one.modified().ok() == other.modified().ok()
    }
}

/// `path` with `.extension` after its name.
fn beside(path: &Path, extension: &str) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it names no file"));
    };
    let mut name = OsString::from(name);
    name.push(".");
    name.push(extension);
    Ok(path.with_file_name(name))
}

/// The folder that the file is in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes temporary files of processes that were killed during a save.
fn remove_abandoned(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    let Ok(files) = fs::read_dir(folder(path)) else {
        return;
    };
    for file in files.flatten() {
        let is_ours = file.file_name().to_str().is_some_and(|other| {
            let random = other
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('.'))
                .and_then(|rest| rest.strip_suffix(TEMPORARY))
                .and_then(|rest| rest.strip_suffix('.'));
            random.is_some_and(|random| {
                random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        });
        let written = file.metadata().and_then(|metadata| metadata.modified());
        let age = written.ok().and_then(|written| written.elapsed().ok());
        if is_ours && age.is_some_and(|age| age > ABANDONED_AFTER) {
            let _ = fs::remove_file(file.path());
        }
    }
}
