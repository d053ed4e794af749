//! Deadlines that are far away. Nearly every attempt has an answer long before its time is over, so
//! none sets a timer of the runtime until its end is near: a sweep, once a second, tells it when. Those
//! who wait hear by it that an endpoint was found down, too: it may be theirs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::model::downs::Downs;

use super::alarm::Alarm;
use super::clock::Clock;
use super::parts::in_parts;
use super::slots::Slots;
use super::worker::Worker;

/// Who waits for something that may take long.
#[derive(Debug)]
pub(super) struct Waits {
    clock: Rc<Clock>,
    slots: RefCell<Slots<(Instant, Waker)>>,
    downs: Arc<Downs>,
    /// As many as those who wait were told of.
    told: Cell<u64>,
}

/// Rings at an end, to the millisecond.
#[derive(Debug)]
pub(super) struct Bell<'w> {
    waits: &'w Waits,
    end: Instant,
    far: Option<usize>,
    near: Option<Alarm>,
}

impl Waits {
    pub(super) fn new(clock: Rc<Clock>, downs: Arc<Downs>) -> Self {
        let told = Cell::new(downs.count());
        Self { clock, slots: RefCell::default(), downs, told }
    }

    /// Changes whenever an endpoint was found down, and wakes those whose end is far then.
    pub(super) fn told(&self) -> u64 {
        self.told.get()
    }

    /// A bell that rings at `end`.
    pub(super) fn bell(&self, end: Instant) -> Bell<'_> {
        Bell { waits: self, end, far: None, near: None }
    }

    /// Wakes those whose end is near, and all where an endpoint was found down. Called once a second, and then.
    pub(super) async fn sweep(&self) {
        let near = self.clock.now() + NEAR;
        let downs = self.downs.count();
        let all = self.told.replace(downs) != downs;
        in_parts(|from| self.wake_some(from, near, all)).await;
    }

    /// Wakes some of them: what they do then, others would wait for. Tells from which on others are
    /// to be looked at.
    fn wake_some(&self, from: usize, near: Instant, all: bool) -> Option<usize> {
        let (slots, mut woken) = (self.slots.borrow(), 0);
        for number in from..from + LOOKED_AT {
            if woken == WOKEN {
                return Some(number);
            }
            if let Some((_, waker)) = slots.get(number)?.filter(|(end, _)| all || *end <= near) {
                waker.wake_by_ref();
                woken += 1;
            }
        }
        Some(from + LOOKED_AT)
    }
}

/// Has those who wait hear of endpoints that are found down, for as long as the worker runs.
pub(super) async fn tell_downs(worker: Rc<Worker>) {
    let mut downs = worker.waits.downs.subscribe();
    while downs.changed().await.is_ok() {
        worker.waits.sweep().await;
        sleep(PAUSE).await;
    }
}

impl Bell<'_> {
    /// Rings at `end` instead.
    pub(super) fn reset(&mut self, end: Instant) {
        self.leave();
        self.end = end;
        self.near = None;
    }

    /// Whether it rings. The task is woken when it does.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.near.is_none() && self.end > self.waits.clock.recent() + NEAR {
            // Anew each time: another task may ask.
            self.leave();
            let waiting = (self.end, context.waker().clone());
            self.far = Some(self.waits.slots.borrow_mut().enter(waiting));
            return Poll::Pending;
        }
        self.leave();
        self.near.get_or_insert_with(|| Alarm::at(self.end)).poll(context)
    }

    fn leave(&mut self) {
        if let Some(number) = self.far.take() {
            self.waits.slots.borrow_mut().leave(number);
        }
    }
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// 100 ms: where many are found down one after the other, those who wait are not woken for each of them.
const PAUSE: Duration = Duration::from_millis(100);

/// 4 s: the clock's last reading is at most a second old, the next sweep at most a second away, and
/// a worker that is late with it has as much again.
const NEAR: Duration = Duration::from_secs(4);

/// 512 at once, which takes a few microseconds, and 32 of them to be woken.
const LOOKED_AT: usize = 512;
const WOKEN: usize = 32;

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// How long after its making a bell rings, with a sweep each second that is `late` by so much.
    async fn rings_after(end: Duration, late: Duration) -> Duration {
        let waits = Rc::new(Waits::new(Clock::new(), Arc::default()));
        let began = Instant::now();
        let sweeping = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1) + late).await;
                waits.sweep().await;
            }
        };
        let ringing = async {
            let mut bell = waits.bell(began + end);
            std::future::poll_fn(|context| bell.poll(context)).await;
            drop(bell);
            assert_eq!(waits.slots.borrow().iter().count(), 0);
            began.elapsed()
        };
        tokio::select! {
            after = ringing => after,
            () = sweeping => Duration::ZERO,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bell_rings_at_its_end_be_it_near_or_far() {
        for end in [1, 900, 3999, 4001, 30_000, 61_234] {
            for late in [0, 1, 999, 1900] {
                let after = rings_after(Duration::from_millis(end), Duration::from_millis(late));
                let after = u64::try_from(after.await.as_millis()).unwrap();
                assert!(after.abs_diff(end) <= 1, "{end} ms, late {late}: {after}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_woken_once_for_each_endpoint_that_is_found_down() {
        let downs = Arc::<Downs>::default();
        let waits = Waits::new(Clock::new(), Arc::clone(&downs));
        let mut bell = waits.bell(Instant::now() + NEAR * 10);
        let woken = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let told = waits.told();
        assert!(bell.poll(&mut context).is_pending());
        waits.sweep().await;
        assert_eq!((woken.0.load(Ordering::Relaxed), waits.told()), (0, told));

        downs.add();
        for _ in 0..2 {
            waits.sweep().await;
            assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        }

        assert_ne!(waits.told(), told);
    }

    #[tokio::test(start_paused = true)]
    async fn all_whose_end_is_near_are_woken_however_many_there_are() {
        let waits = Waits::new(Clock::new(), Arc::default());
        let near = Instant::now() + NEAR * 2;
        let mut bells: Vec<_> = (0..3 * LOOKED_AT).map(|_| waits.bell(near)).collect();
        let woken = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(bells.iter_mut().all(|bell| bell.poll(&mut context).is_pending()));
        waits.sweep().await;
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);

        tokio::time::advance(NEAR).await;
        waits.sweep().await;

        assert_eq!(woken.0.load(Ordering::Relaxed), bells.len());
    }

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bell_that_is_reset_rings_at_its_new_end() {
        let waits = Waits::new(Clock::new(), Arc::default());
        let began = Instant::now();
        let mut bell = waits.bell(began + Duration::from_secs(60));
        let mut polls = 0;
        std::future::poll_fn(|context| {
            polls += 1;
            if polls == 1 {
                assert!(bell.poll(context).is_pending());
                bell.reset(began + Duration::from_secs(2));
            }
            bell.poll(context)
        })
        .await;
        assert_eq!(began.elapsed().as_secs(), 2);
    }
}
