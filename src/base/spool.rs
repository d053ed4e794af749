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
use rustix::io::Errno;
use tokio::time::Instant;

/// A folder's files, and how many there may be.
#[derive(Debug)]
pub struct Spools {
    folder: PathBuf,
    most_files: usize,
    most_bytes: u64,
    all: Share,
    told: AtomicU64,
    since: Instant,
}

/// Files, and bytes in them, of all or of one of those who share them.
#[derive(Debug, Default)]
pub struct Share {
    files: AtomicUsize,
    bytes: AtomicU64,
}

/// One file. It is opened with the first bytes.
#[derive(Debug)]
pub struct Spool {
    spools: Arc<Spools>,
    share: Arc<Share>,
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
    /// So many files in `folder` at once, with so many bytes in all; each share has a quarter at most.
    pub fn new(folder: PathBuf, most_files: usize, most_bytes: u64) -> Arc<Self> {
        let (all, told, since) = (Share::default(), AtomicU64::new(0), Instant::now());
        Arc::new(Self { folder, most_files, most_bytes, all, told, since })
    }

    /// Takes away what a process that was killed has left, and opens one file, so that a folder that cannot
    /// be used is known before it is needed. Waits for the disk.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn probe(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(NAMED.as_bytes()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        open(&self.folder).map(drop)
    }

    /// A place among the files. Does not wait for the disk.
    ///
    /// # Errors
    /// Where there is none.
    pub fn begin(self: &Arc<Self>, share: &Arc<Share>) -> Result<Arc<Spool>, SpoolError> {
        share.open(self.most_files.div_ceil(SHARE))?;
        if let Err(error) = self.all.open(self.most_files) {
            share.files.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        let (spools, share) = (Arc::clone(self), Arc::clone(share));
        Ok(Arc::new(Spool { spools, share, file: OnceLock::new(), bytes: AtomicU64::new(0) }))
    }

    /// Files in use, and bytes in them.
    pub fn in_use(&self) -> (usize, u64) {
        (self.all.files.load(Ordering::Relaxed), self.all.bytes.load(Ordering::Relaxed))
    }

    /// Whether a fault of the disk may be told now: once in ten seconds, since each request may have one.
    pub fn may_tell(&self) -> bool {
        let now = self.since.elapsed().as_secs() + QUIET; // from the first moment on
        let told = self.told.load(Ordering::Relaxed);
        let is_late = now >= told + QUIET;
        let order = Ordering::Relaxed;
        is_late && self.told.compare_exchange(told, now, order, order).is_ok()
    }

    fn take(&self, bytes: u64, share: &Share) -> Result<(), SpoolError> {
        share.take(bytes, of_each(self.most_bytes))?;
        self.all.take(bytes, self.most_bytes).inspect_err(|_| {
            share.bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }
}

impl Share {
    fn open(&self, most: usize) -> Result<(), SpoolError> {
        if self.files.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(());
        }
        self.files.fetch_sub(1, Ordering::Relaxed);
        Err(SpoolError::Files(most))
    }

    fn take(&self, bytes: u64, most: u64) -> Result<(), SpoolError> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= most {
            return Ok(());
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Err(SpoolError::Space(most))
    }

    fn leave(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.files.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spool {
    /// Writes bytes behind those that were written. By one thread at a time.
    ///
    /// # Errors
    /// Where there is no room for them, or the system refuses; then what the file holds is of no use.
    pub fn append(&self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.spools.take(bytes.len() as u64, &self.share)?;
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

    /// As [`Spools::may_tell`].
    pub fn may_tell(&self) -> bool {
        self.spools.may_tell()
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
        let bytes = *self.bytes.get_mut();
        self.spools.all.leave(bytes);
        self.share.leave(bytes);
    }
}

/// The bytes that each share may have of so many.
pub fn of_each(most_bytes: u64) -> u64 {
    most_bytes.div_ceil(SHARE as u64)
}

/// A file without a name. Where the file system has no such thing, one whose name is taken away at once.
fn open(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // A kernel that does not know the flag opens the folder itself.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => open_and_unlink(folder),
        Err(error) => Err(error.into()),
    }
}

fn open_and_unlink(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!("{NAMED}{:032x}", fastrand::u128(..)));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Four: one tenant's uploads leave room for those of the others.
pub const SHARE: usize = 4;
/// 10 s.
const QUIET: u64 = 10;
const NAMED: &str = ".replay-";

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
        let spool = spools.begin(&Arc::default()).unwrap();
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
        let begin = || spools.begin(&Arc::default());
        let (one, other) = (begin().unwrap(), begin().unwrap());
        assert!(matches!(begin(), Err(SpoolError::Files(2))));
        for spool in [&one, &other] {
            spool.append(&[0; 25]).unwrap();
        }
        drop(one);
        assert_eq!(spools.in_use(), (1, 25));
        begin().unwrap();
    }

    #[test]
    fn one_tenant_leaves_room_for_the_files_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path().to_owned(), 8, 400);
        let (greedy, modest) = (Arc::default(), Arc::default());
        let (one, two) = (spools.begin(&greedy).unwrap(), spools.begin(&greedy).unwrap());
        assert!(matches!(spools.begin(&greedy), Err(SpoolError::Files(2))));
        one.append(&[0; 60]).unwrap();
        assert!(matches!(two.append(&[0; 60]), Err(SpoolError::Space(100))));

        let other = spools.begin(&modest).unwrap();
        other.append(&[0; 100]).unwrap();
        assert_eq!(spools.in_use(), (3, 160));
        drop((one, two, other));
        assert_eq!(spools.in_use(), (0, 0));
        spools.begin(&greedy).unwrap().append(&[0; 100]).unwrap();
    }

    #[test]
    fn what_a_killed_process_has_left_is_taken_away_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".replay-0a"), "left").unwrap();
        std::fs::write(folder.path().join("other"), "kept").unwrap();
        Spools::new(folder.path().to_owned(), 1, 1).probe().unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
        assert!(Spools::new(folder.path().join("none"), 1, 1).probe().is_err());
    }

    #[test]
    fn a_fault_of_the_disk_is_told_once_in_a_while() {
        let spools = Spools::new(PathBuf::new(), 1, 1);
        assert!(spools.may_tell() && !spools.may_tell());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path().join("none"), 2, 100);
        let spool = spools.begin(&Arc::default()).unwrap();
        assert!(matches!(spool.append(b"a"), Err(SpoolError::Io(_))));
        drop(spool);
        assert_eq!(spools.in_use(), (0, 0));
    }
}
