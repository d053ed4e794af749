//! One config generation after another: what is loaded, kept, started and retired.

pub mod generation;
pub mod state;
