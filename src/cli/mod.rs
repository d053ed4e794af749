//! The commands. Each is a function that returns what is to be printed; nothing prints here.

pub mod check;
pub mod schema;
