//! Virtual time: tasks that wait for moments, one after the other on one thread, and a clock that goes on to the next moment
//! once all of them wait. It is tokio's paused clock, which is what the code under test reads; the moments are kept here, since
//! tokio's timers know milliseconds only. Who is woken first runs first, so that a run repeats exactly.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, advance};

/// The tasks of a run, and the moments that they wait for.
#[derive(Default)]
pub(crate) struct Timeline {
    tasks: RefCell<BTreeMap<u64, Task>>,
    /// By the moment and a number, so that of two of one moment the older is the first.
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    ready: Arc<Ready>,
    number: Cell<u64>,
}

struct Task {
    work: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
}

/// The numbers of tasks that may go on. Behind a lock since wakers may be sent, not since anybody does.
#[derive(Default)]
struct Ready(Mutex<VecDeque<u64>>);

struct Bell {
    task: u64,
    ready: Arc<Ready>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.task);
    }
}

impl Ready {
    fn push(&self, task: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(task);
    }

    fn pop(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Timeline {
    /// Begins with some work, which goes on until it has ended, or the run has.
    pub(crate) fn begin(&self, work: impl Future<Output = ()> + 'static) {
        let number = self.next_number();
        let waker = Waker::from(Arc::new(Bell { task: number, ready: Arc::clone(&self.ready) }));
        // Without a budget: what tokio refuses to go on with waits for a turn of its own scheduler, which is not asked here.
        let task = Task { work: Box::pin(unconstrained(work)), waker };
        self.tasks.borrow_mut().insert(number, task);
        self.ready.push(number);
    }

    /// Waits for so long.
    pub(crate) fn sleep(self: &Rc<Self>, time: Duration) -> Sleep {
        self.sleep_until(Instant::now() + time)
    }

    /// Waits for a moment.
    pub(crate) fn sleep_until(self: &Rc<Self>, until: Instant) -> Sleep {
        Sleep { timeline: Rc::clone(self), until, number: None }
    }

    /// Runs all that there is up to this moment.
    pub(crate) async fn run_until(&self, end: Instant) {
        loop {
            self.run_ready();
            let next = self.timers.borrow().first_key_value().map(|((at, _), _)| *at);
            let Some(at) = next.filter(|at| *at <= end) else { break };
            // Tokio's own timers, as those of who waits before a gate, are heard of with this.
            advance(at.saturating_duration_since(Instant::now())).await;
            self.ring(at);
        }
        advance(end.saturating_duration_since(Instant::now())).await;
    }

    /// Drops all that still waits.
    pub(crate) fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    fn run_ready(&self) {
        while let Some(number) = self.ready.pop() {
            // One that has ended, or is told twice of what it waits for.
            let Some(mut task) = self.tasks.borrow_mut().remove(&number) else { continue };
            let polled = task.work.as_mut().poll(&mut Context::from_waker(&task.waker));
            if polled.is_pending() {
                self.tasks.borrow_mut().insert(number, task);
            }
        }
    }

    fn ring(&self, now: Instant) {
        let mut timers = self.timers.borrow_mut();
        while let Some(first) = timers.first_entry().filter(|first| first.key().0 <= now) {
            first.remove().wake();
        }
    }

    fn next_number(&self) -> u64 {
        let number = self.number.get();
        self.number.set(number + 1);
        number
    }
}

/// Waits for a moment.
pub(crate) struct Sleep {
    timeline: Rc<Timeline>,
    until: Instant,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.get_mut();
        if Instant::now() >= sleep.until {
            return Poll::Ready(());
        }
        let number = *sleep.number.get_or_insert_with(|| sleep.timeline.next_number());
        let waker = context.waker().clone();
        sleep.timeline.timers.borrow_mut().insert((sleep.until, number), waker);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.timeline.timers.borrow_mut().remove(&(self.until, number));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn moments_come_in_their_order_and_those_of_one_in_the_order_of_who_waits() {
    let timeline = Rc::new(Timeline::default());
    let told = Rc::new(RefCell::new(Vec::new()));
    let began = Instant::now();
    for (name, micros) in [("late", 700), ("first", 3), ("second", 3), ("never", 90_000)] {
        let (line, told) = (Rc::clone(&timeline), Rc::clone(&told));
        timeline.begin(async move {
            line.sleep(Duration::from_micros(micros)).await;
            told.borrow_mut().push((name, began.elapsed().as_micros()));
        });
    }

    timeline.run_until(began + Duration::from_millis(1)).await;
    timeline.end();

    assert_eq!(*told.borrow(), [("first", 3), ("second", 3), ("late", 700)]);
    assert_eq!(began.elapsed(), Duration::from_millis(1));
    assert!(timeline.timers.borrow().is_empty(), "who waits no longer leaves nothing");
}
