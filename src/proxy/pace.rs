//! Whether a client sends its body fast enough. Only the time in which it is waited for counts:
//! where the endpoint is slow, the client is not to blame.

use std::time::Duration;

use tokio::time::Instant;

/// How fast a body must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Bytes a second; 0 = any.
    pub(super) bytes: u64,
    /// The time over which that is measured.
    pub(super) window: Duration,
}

/// How fast one body comes, window by window.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    /// In the present window, before the present wait.
    waited: Duration,
    came: u64,
    /// When the present wait began.
    since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, waited: Duration::ZERO, came: 0, since: None }
    }

    /// A wait for the client begins. Gives how long it may last, where that is bounded: at its end
    /// the window is over and too little has come in it.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.since = Some(now);
        (self.came < self.least()).then(|| self.rate.window.saturating_sub(self.waited))
    }

    /// So many bytes came. Tells whether that is fast enough so far.
    pub(super) fn came(&mut self, bytes: u64) -> bool {
        self.came = self.came.saturating_add(bytes);
        let Some(since) = self.since.take() else { return true };
        self.waited += since.elapsed();
        if self.waited < self.rate.window {
            return true;
        }
        let enough = self.came >= self.least();
        (self.waited, self.came) = (Duration::ZERO, 0);
        enough
    }

    fn least(&self) -> u64 {
        let millis = u64::try_from(self.rate.window.as_millis()).unwrap_or(u64::MAX);
        self.rate.bytes.saturating_mul(millis) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);
    const RATE: Rate = Rate { bytes: 500, window: WINDOW };
    const LEAST: u64 = 15_000;

    async fn wait(pace: &mut Pace, seconds: u64) {
        pace.wait(Instant::now());
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_with_its_first_window_and_enough_opens_the_next() {
        let mut pace = Pace::new(RATE);
        wait(&mut pace, 29).await;
        assert!(pace.came(1), "the window is not over");
        assert_eq!(pace.wait(Instant::now()), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(pace.came(LEAST - 1), "just enough");

        wait(&mut pace, 30).await;
        assert!(!pace.came(LEAST - 1), "what came before does not count again");
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_for_the_client_does_not_count() {
        let mut pace = Pace::new(RATE);
        for _ in 0..100 {
            tokio::time::advance(WINDOW).await;
            assert!(pace.came(1));
        }
        assert_eq!(pace.wait(Instant::now()), Some(WINDOW));
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_with_enough_bounds_no_wait() {
        let mut pace = Pace::new(RATE);
        assert!(pace.came(LEAST));
        assert_eq!(pace.wait(Instant::now()), None);
        tokio::time::advance(WINDOW * 2).await;
        assert!(pace.came(1));

        assert_eq!(Pace::new(Rate { bytes: 0, ..RATE }).wait(Instant::now()), None);
    }
}
