//! The ground floor: tasks, snapshots, units. Knows nothing of HTTP, of proxying or of the config.

pub mod snapshot;
pub mod tasks;
pub mod units;
pub mod watch;
