//! Builds, owns and stops everything.

pub mod nofile;
pub mod signals;
pub mod sockets;
pub mod workers;
