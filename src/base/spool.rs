//! Files for bytes that are wanted again and are too many for memory. Such a file has no name: it is gone
//! with its last user, and with the process. So many of them and so many bytes in all, and no more.
//!
//! What reads and writes them waits for the disk: it is for threads that may (`base::tasks::Blocking`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};

/// A folder's files, and how many there may be.
#[derive(Debug)]
pub struct Spools {
    folder: PathBuf,
    most_files: usize,
    most_bytes: u64,
    files: AtomicUsize,
    bytes: AtomicU64,
}

/// One file. It is opened with the first bytes.
#[derive(Debug)]
pub struct Spool {
    spools: Arc<Spools>,
    file: OnceLock<File>,
    bytes: AtomicU64,
}

/// Why bytes are not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// As many files are in use as may be.
    #[error("{0} files are in use already")]
    Files(usize),
    /// As many bytes are in them as may be.
    #[error("{0} bytes are in files already")]
    Space(u64),
    /// The system refuses, as where the disk is full.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Spools {
    /// So many files in `folder` at once, with so many bytes in all.
    pub fn new(folder: PathBuf, most_files: usize, most_bytes: u64) -> Arc<Self> {
        let (files, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { folder, most_files, most_bytes, files, bytes })
    }

    /// A place among the files. Does not wait for the disk.
    ///
    /// # Errors
    /// Where there is none.
    pub fn begin(self: &Arc<Self>) -> Result<Arc<Spool>, SpoolError> {
        if self.files.fetch_add(1, Ordering::Relaxed) >= self.most_files {
            self.files.fetch_sub(1, Ordering::Relaxed);
            return Err(SpoolError::Files(self.most_files));
        }
        let spools = Arc::clone(self);
        Ok(Arc::new(Spool { spools, file: OnceLock::new(), bytes: AtomicU64::new(0) }))
    }

    /// Files in use, and bytes in them.
    pub fn in_use(&self) -> (usize, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    fn take(&self, bytes: u64) -> Result<(), SpoolError> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.most_bytes {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(SpoolError::Space(self.most_bytes));
        }
        Ok(())
    }
}

impl Spool {
    /// Writes bytes behind those that were written. By one thread at a time.
    ///
    /// # Errors
    /// Where there is no room for them, or the system refuses; then what the file holds is of no use.
    pub fn append(&self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.spools.take(bytes.len() as u64)?;
        let at = self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let opened = open(&self.spools.folder)?;
                self.file.get_or_init(|| opened)
            }
        };
        file.write_all_at(bytes, at)?;
        Ok(())
    }

    /// Reads so many bytes from a place on; they were written before.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn read(&self, at: u64, size: usize) -> Result<Bytes, SpoolError> {
        let Some(file) = self.file.get() else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        };
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes.into())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.spools.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
        self.spools.files.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file without a name. Where the file system has no such thing, one whose name is taken away at once.
fn open(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        Err(_) => open_and_unlink(folder),
    }
}

fn open_and_unlink(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!(".replay-{:032x}", fastrand::u128(..)));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_empty(folder: &Path) -> bool {
        std::fs::read_dir(folder).unwrap().next().is_none()
    }

    #[test]
    fn what_was_written_is_read_and_nothing_is_left_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path().to_owned(), 2, 100);
        let spool = spools.begin().unwrap();
        spool.append(b"hello ").unwrap();
        spool.append(b"world").unwrap();

        assert_eq!(&spool.read(4, 5).unwrap()[..], b"o wor");
        assert!(spool.read(8, 5).is_err(), "beyond its end");
        assert_eq!(spools.in_use(), (1, 11));
        assert!(is_empty(folder.path()));
        drop(spool);
        assert_eq!(spools.in_use(), (0, 0));
        let mut unlinked = open_and_unlink(folder.path()).unwrap();
        std::io::Write::write_all(&mut unlinked, b"x").unwrap();
        assert!(is_empty(folder.path()));
    }

    #[test]
    fn there_are_so_many_files_and_bytes_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path().to_owned(), 2, 100);
        let (one, other) = (spools.begin().unwrap(), spools.begin().unwrap());
        assert!(matches!(spools.begin(), Err(SpoolError::Files(2))));

        one.append(&[0; 60]).unwrap();
        assert!(matches!(other.append(&[0; 60]), Err(SpoolError::Space(100))));
        other.append(&[0; 40]).unwrap();
        drop(one);
        other.append(&[0; 60]).unwrap();

        assert_eq!(spools.in_use(), (1, 100));
        spools.begin().unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path().join("none"), 2, 100);
        let spool = spools.begin().unwrap();
        assert!(matches!(spool.append(b"a"), Err(SpoolError::Io(_))));
        drop(spool);
        assert_eq!(spools.in_use(), (0, 0));
    }
}
