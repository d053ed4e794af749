//! The compiled, immutable table that requests are routed by: naming of the tenant, its routes and
//! what they do. A look-up does no I/O, takes no lock and allocates nothing.
//!
//! A worker reads it through `Reader<Table>`, control publishes it through `Snapshot<Table>`; a
//! request stays on the table that it started with.

pub mod action;
pub mod authorizer;
pub mod canary;
mod compile;
mod departed;
mod domains;
pub mod edits;
pub mod explain;
pub mod host;
mod matcher;
pub mod mirror;
pub mod naming;
mod path;
pub mod redirect;
pub mod rewrite;
pub mod route;
mod set;
pub mod split;
pub mod table;
pub mod tenant;

pub use compile::{Previous, compile, compile_edited};
pub use matcher::Query;
pub use set::RouteSet;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
