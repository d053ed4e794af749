//! That endpoints were found down: told by who checks them, heard by those who wait for one.

use tokio::sync::watch;

/// How often an endpoint of any pool was found down.
#[derive(Debug, Default)]
pub struct Downs(watch::Sender<u64>);

impl Downs {
    /// One more was.
    pub fn add(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// So often.
    pub fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Hears of more.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
