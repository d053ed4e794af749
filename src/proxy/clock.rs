//! A worker's clock. Reading the time costs as much as a small part of a request's way, and most of
//! what asks for it can do with the last reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time as one worker knows it. Read on its own thread alone; atomic only since hyper wants
/// its streams to be `Send`.
#[derive(Debug)]
pub(super) struct Clock {
    born: Instant,
    /// The last reading, in nanoseconds since `born`.
    last: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { born: Instant::now(), last: AtomicU64::new(0) })
    }

    /// The time of now.
    pub(super) fn now(&self) -> Instant {
        let now = Instant::now();
        let since = now.saturating_duration_since(self.born).as_nanos();
        self.last.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        now
    }

    /// The last reading. Never later than now, and, since the worker reads its clock whenever a
    /// client's bytes come and at least once a second, seldom much earlier.
    pub(super) fn recent(&self) -> Instant {
        self.born + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_reading_stands_until_the_next() {
        let clock = Clock::new();
        tokio::time::advance(Duration::from_millis(1500)).await;
        let read = clock.now();
        tokio::time::advance(Duration::from_secs(1)).await;

        assert_eq!(clock.recent(), read);
        assert_eq!(clock.now(), read + Duration::from_secs(1));
    }
}
