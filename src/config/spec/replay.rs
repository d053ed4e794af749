//! The meaning of `[replay-files]`.

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
