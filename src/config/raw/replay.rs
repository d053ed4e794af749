//! The words of `[replay-files]`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::units::ByteSize;
use crate::config::text::{FilePath, Written};

use super::shape::{At, Whole};

/// Files for what of requests' bodies is kept for a retry beyond memory. They have no names, and are
/// gone with their requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ReplayFiles {
    /// The folder of the files, on a disk that is fast and not memory; it is made where there is none. Must
    /// be there.
    pub(in crate::config) folder: Option<At<Written<FilePath>>>,
    /// What of one body is kept in memory, up to `16MiB`; what comes behind it goes to a file. Default:
    /// `256KiB`.
    pub(in crate::config) memory: Option<At<Written<ByteSize>>>,
    /// What all files together may hold; beyond it a body is not kept, and its request not retried.
    /// Default: `1GiB`.
    pub(in crate::config) space: Option<Written<ByteSize>>,
    /// Files at once, from 1 to 65536. Default: 256.
    pub(in crate::config) files: Option<Whole<1, 65_536>>,
}
