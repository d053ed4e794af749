//! One config generation: what is live, and how the next one comes to be.

pub mod generation;
