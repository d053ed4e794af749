//! What was asked.

pub mod spec;
