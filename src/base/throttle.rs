//! A bound on how often something is said, and a count of what was left out. For one thread.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Lets so many pass in each window of time and counts the others.
#[derive(Debug)]
pub struct Throttle {
    most: u32,
    window: Duration,
    since: Cell<Option<Instant>>,
    passed: Cell<u32>,
    left_out: Cell<u64>,
}

impl Throttle {
    /// Lets `most` pass in each `window`.
    pub fn new(most: u32, window: Duration) -> Self {
        let since = Cell::new(None);
        Self { most, window, since, passed: Cell::new(0), left_out: Cell::new(0) }
    }

    /// Whether one more may pass now. It is counted as left out where it may not.
    pub fn admits(&self) -> bool {
        let now = Instant::now();
        if self.since.get().is_none_or(|since| now.duration_since(since) >= self.window) {
            self.since.set(Some(now));
            self.passed.set(0);
        }
        if self.passed.get() < self.most {
            self.passed.set(self.passed.get() + 1);
            return true;
        }
        self.left_out.set(self.left_out.get() + 1);
        false
    }

    /// Whether what passed before counts no more.
    pub fn is_over(&self) -> bool {
        self.since.get().is_none_or(|since| since.elapsed() >= self.window)
    }

    /// How many were left out since this was last asked.
    pub fn take_left_out(&self) -> u64 {
        self.left_out.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_most_pass_in_one_window_and_the_others_are_counted() {
        let throttle = Throttle::new(2, Duration::from_secs(1));

        let passed = (0..5).filter(|_| throttle.admits()).count();

        assert_eq!((passed, throttle.take_left_out()), (2, 3));
        assert_eq!(throttle.take_left_out(), 0, "they are told once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_window_begins_with_what_comes_after_the_last() {
        let throttle = Throttle::new(1, Duration::from_secs(1));
        assert!(throttle.admits() && !throttle.admits());
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(!throttle.admits());

        assert!(!throttle.is_over());
        tokio::time::advance(Duration::from_millis(1)).await;

        assert!(throttle.is_over());
        assert!(throttle.admits() && !throttle.admits());
        assert_eq!(throttle.take_left_out(), 3);
    }
}
