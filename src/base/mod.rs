//! The ground floor: tasks, snapshots, units, the count of memory. Knows nothing of HTTP, of proxying or of the config.

pub mod ahead;
pub mod allocator;
pub mod fair;
pub mod join;
pub mod listening;
pub mod loads;
pub mod log_linear;
pub mod memory;
pub mod mounts;
pub mod network;
pub mod pulse;
pub mod purse;
pub mod role;
pub mod small;
pub mod snapshot;
pub mod socket;
pub mod sorted;
pub mod spool;
pub mod stretch;
pub mod tag;
pub mod tasks;
pub mod throttle;
pub mod ticks;
pub mod tokens;
pub mod units;
pub mod watch;
