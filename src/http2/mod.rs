//! The bodies of HTTP/2 streams (RFC 9113), for both sides of the gateway. A library reads and writes
//! the frames; who speaks to clients or endpoints is above.

pub mod receiving;
pub mod sending;
