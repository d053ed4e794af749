//! Whether threads that should be working are: each beats while its work goes on, and one thread
//! looks at all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What one thread beats. Dropped, it says that its thread has ended and is not waited for.
#[derive(Debug)]
pub struct Pulse {
    beats: Arc<AtomicU64>,
}

impl Pulse {
    /// The thread is at work.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.beats.store(ENDED, Ordering::Relaxed);
    }
}

/// Looks at the pulses of all threads.
#[derive(Debug, Default)]
pub struct Pulses {
    threads: Vec<Thread>,
}

/// One thread as it was when it was looked at last.
#[derive(Debug)]
struct Thread {
    beats: Arc<AtomicU64>,
    seen: u64,
    since: Instant,
}

impl Pulses {
    /// The pulse of one more thread.
    pub fn add(&mut self) -> Pulse {
        let beats = Arc::new(AtomicU64::new(0));
        self.threads.push(Thread { beats: Arc::clone(&beats), seen: 0, since: Instant::now() });
        Pulse { beats }
    }

    /// The threads, by their numbers from 0, that have not beaten for `limit`. What happened between
    /// two looks counts as of the later one.
    pub fn silent(&mut self, limit: Duration) -> Vec<usize> {
        let now = Instant::now();
        let mut silent = Vec::new();
        for (number, thread) in self.threads.iter_mut().enumerate() {
            let beats = thread.beats.load(Ordering::Relaxed);
            if beats != thread.seen || beats == ENDED {
                (thread.seen, thread.since) = (beats, now);
            } else if now.duration_since(thread.since) >= limit {
                silent.push(number);
            }
        }
        silent
    }
}

/// No thread beats so often.
const ENDED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_has_not_beaten_for_the_limit_is_silent_until_it_beats() {
        let mut pulses = Pulses::default();
        let (first, second) = (pulses.add(), pulses.add());
        advance(LIMIT / 2).await;
        first.beat();
        assert_eq!(pulses.silent(LIMIT), Vec::<usize>::new());

        advance(LIMIT / 2).await;
        assert_eq!(pulses.silent(LIMIT), [1]);
        second.beat();
        assert_eq!(pulses.silent(LIMIT), Vec::<usize>::new());

        advance(LIMIT).await;
        assert_eq!(pulses.silent(LIMIT), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_has_ended_is_not_waited_for() {
        let mut pulses = Pulses::default();
        drop(pulses.add());
        let stuck = pulses.add();

        advance(LIMIT).await;

        assert_eq!(pulses.silent(LIMIT), [1]);
        drop(stuck);
        assert_eq!(pulses.silent(LIMIT), Vec::<usize>::new());
    }
}
