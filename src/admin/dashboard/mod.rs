//! The dashboard: one page, and the stream of pictures that it draws. Nothing of it reaches the
//! data path; what it shows is read from what control publishes and sums anyway.

pub(super) mod page;
pub mod picture;
pub mod pools;
pub(super) mod watchers;
