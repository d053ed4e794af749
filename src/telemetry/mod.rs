//! What is measured: the record of one exchange, metrics, the access log, the gateway's own log.
//!
//! A worker counts into its own [`meter::Meter`]; once a second what it counted moves over a
//! channel into the [`registry::Metrics`] of the control side, which a scrape reads. **Invariant:**
//! nothing here makes a worker wait: no lock, no I/O, no look-up by a string.

pub mod access_log;
mod attempts;
pub mod audit_log;
pub mod checks;
pub mod delta;
pub mod histogram;
mod issuers;
pub mod keeping;
pub mod lines;
pub mod meter;
pub mod metrics;
pub mod mirrors;
pub mod recent;
pub mod record;
pub mod registry;
pub mod resilience;
pub mod sample;
pub mod shared_limits;
pub mod sightings;
pub mod strains;
pub mod tenants;
pub mod trace;
pub mod tracing;
pub mod usage;
pub mod waiting;

mod bearers;
mod by_slot;
mod exposition;
mod process;
mod reloads;
mod sharing;
mod splits;
mod spreading;
mod sums;
mod tenant_delta;
mod totals;
