//! The meaning of `[usage]`.

use std::time::Duration;

use super::NamedPath;

/// What tenants have used, in files to bill by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSpec {
    /// Where the files are.
    pub folder: NamedPath,
    /// The name of this gateway; `None` = that of the machine.
    pub gateway: Option<String>,
    /// How much may be lost where the process is killed. Default 10 s.
    pub flush_interval: Duration,
    /// How many hours are kept; 0 = all.
    pub keep_hours: usize,
}
