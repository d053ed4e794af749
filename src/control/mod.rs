//! One configuration generation after another: what is loaded, kept, started and retired.

pub mod state;
