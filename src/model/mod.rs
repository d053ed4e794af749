//! The nouns that the rooms meet on: names, identities, endpoints, the members of a pool, what a
//! line of the access log tells, the gateway's fields.

pub mod address;
pub mod answer_times;
pub mod breakers;
pub mod caller;
pub mod canary;
pub mod downs;
pub mod drains;
pub mod endpoint;
pub mod ends;
pub mod fields;
pub mod grpc;
pub mod identity;
pub mod ids;
pub mod jwk;
pub mod key;
pub mod latency;
pub mod lateness;
pub mod listed;
pub mod log_line;
pub mod members;
pub mod overrun;
pub mod room;
pub mod rules;
pub mod shares;
pub mod suspicion;
mod trial;
pub mod warmth;
mod witnesses;
