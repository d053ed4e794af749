//! What the allocator keeps of the memory that was given back to it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::tasks::Stop;

/// Has the allocator give back to the system what has been free for a while. It does so by itself,
/// yet only when somebody takes or leaves a whole page of it: a process with little to do would keep
/// what its last flood of clients took. Of the memory that is taken here for that nothing is touched,
/// so that none of it comes into being.
pub fn settle() {
    drop(black_box(Vec::<u8>::with_capacity(PAGE)));
}

/// Gives memory back in place of the workers, while large parts of it come free. All that was free for long enough
/// goes back at once, by whoever comes first: a hundred megabytes keep a worker for ten milliseconds and more.
/// Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct Steward(Arc<Notify>);

impl Steward {
    /// Large parts of memory are about to come free.
    pub fn attend(&self) {
        self.0.notify_one();
    }

    /// Does so until `stop`.
    pub async fn run(self, stop: Stop) {
        self.give_back(settle, stop).await;
    }

    async fn give_back(self, mut settle: impl FnMut(), mut stop: Stop) {
        let mut until: Option<Instant> = None;
        loop {
            let next = async {
                match until {
                    Some(_) => sleep(BETWEEN).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.requested() => return,
                () = self.0.notified() => until = Some(Instant::now() + ATTENTION),
                () = next => {
                    settle();
                    until.take_if(|until| *until <= Instant::now());
                }
            }
        }
    }
}

/// 2 s: the allocator waits for a second, and what grows with the tenants may take some of another.
const ATTENTION: Duration = Duration::from_secs(2);
/// 2 ms: that a worker comes first is rare.
const BETWEEN: Duration = Duration::from_millis(2);

/// 1 MiB: a page of its own, with any usual allocator.
const PAGE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::tasks::Tasks;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn memory_is_given_back_for_as_long_as_some_of_it_comes_free_and_no_longer() {
        let (steward, counted) = (Steward::default(), Arc::new(AtomicU32::new(0)));
        let mut tasks = Tasks::new("test");
        let (own, count) = (steward.clone(), Arc::clone(&counted));
        let settle = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        tasks.spawn(|stop| own.give_back(settle, stop));
        let since = || counted.swap(0, Ordering::Relaxed);

        sleep(ATTENTION).await;
        assert_eq!(since(), 0, "nothing comes free");
        steward.attend();
        sleep(ATTENTION / 2).await;
        assert!(since() > 300);
        steward.attend();
        sleep(ATTENTION - BETWEEN * 4).await;
        assert!(since() > 600, "from then on for as long");
        sleep(BETWEEN * 8).await;
        assert!(since() > 0);
        sleep(ATTENTION).await;
        assert_eq!(since(), 0, "it is over");
    }
}
