//! The nouns that the rooms meet on: names, endpoints, the members of a pool, the gateway's fields.

pub mod endpoint;
pub mod fields;
pub mod ids;
pub mod members;
