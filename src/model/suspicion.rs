//! What traffic tells the checks of an endpoint: that they should look at it now.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Raised by workers that see an endpoint fail, heard and lowered by its checks.
#[derive(Debug, Default)]
pub struct Suspicion {
    raised: AtomicBool,
    heard: Notify,
}

impl Suspicion {
    /// The endpoint has failed a request. Wakes the checks once, however often it is said before they look.
    pub fn raise(&self) {
        if !self.raised.load(Ordering::Relaxed) && !self.raised.swap(true, Ordering::Release) {
            self.heard.notify_one();
        }
    }

    /// A check begins, which sees what there was to see.
    pub fn lower(&self) {
        self.raised.store(false, Ordering::Relaxed);
    }

    /// Waits until it is raised. For one at a time; may be dropped at any time.
    pub async fn raised(&self) {
        // A word of a time before it was lowered may still be there.
        while !self.raised.load(Ordering::Acquire) {
            self.heard.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_said_before_a_check_began_is_not_heard_after_it() {
        let suspicion = Suspicion::default();
        let heard = async || timeout(Duration::from_secs(1), suspicion.raised()).await.is_ok();
        assert!(!heard().await);

        suspicion.raise();
        suspicion.raise();
        assert!(heard().await && heard().await, "until it is lowered");

        suspicion.lower();
        assert!(!heard().await);
        suspicion.raise();
        assert!(heard().await);
    }
}
