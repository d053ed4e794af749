//! What one tenant may take at once. Lives across generations of the table.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::units::ByteSize;

/// What one tenant may take at once.
#[derive(Debug)]
pub struct Allowance {
    replay_bytes: AtomicU64,
}

impl Allowance {
    /// An allowance of which nothing is taken.
    pub fn new(replay_memory: ByteSize) -> Self {
        Self { replay_bytes: AtomicU64::new(replay_memory.0) }
    }

    /// Changes the memory for replay copies; what is taken stays taken.
    pub fn set_replay_memory(&self, replay_memory: ByteSize) {
        self.replay_bytes.store(replay_memory.0, Ordering::Relaxed);
    }
}
