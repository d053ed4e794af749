//! The meaning of `[replay-files]`.

use crate::base::spool;
use crate::base::units::ByteSize;

use super::NamedPath;

/// Files for bodies that are kept for a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaySpec {
    /// Where the files are.
    pub folder: NamedPath,
    /// What of one body is kept in memory. Default 256 KiB.
    pub memory: ByteSize,
    /// What all files together may hold. Default 1 GiB.
    pub space: ByteSize,
    /// Files at once. Default 256.
    pub files: usize,
}

/// What can be kept of one body, whatever a retry rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MostKept {
    /// In memory.
    pub memory: ByteSize,
    /// Behind that, in a file; `None` where there are no files.
    pub file: Option<ByteSize>,
}

impl MostKept {
    /// With these files.
    pub fn of(files: Option<&ReplaySpec>) -> Self {
        Self {
            memory: files.map_or(MOST_IN_MEMORY, |files| files.memory),
            file: files.map(|files| ByteSize(spool::of_each(files.space.0))),
        }
    }
}

/// 16 MiB: what a tenant may keep in all by default; one request never takes more.
pub const MOST_IN_MEMORY: ByteSize = ByteSize(16 << 20);
