//! The nouns that the rooms meet on: names, endpoints, the members of a pool.

pub mod endpoint;
pub mod ids;
pub mod members;
