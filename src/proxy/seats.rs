//! The connections of one worker, so that the one that has been idle for longest can be asked to
//! make room for a new one.
//!
//! Costs a request nothing: who is idle is found out when somebody must go.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::activity::Activity;
use super::headcount::Place;
use super::worker::Worker;

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    listener: usize,
    opened: Instant,
    /// Given up when it is asked to go: whom it makes room for takes it.
    place: RefCell<Option<Place>>,
    /// It is waited for its first byte.
    silent: Cell<bool>,
    /// What it does once it speaks HTTP, and whether that is HTTP/1.
    activity: OnceCell<(Rc<Activity>, bool)>,
    asked: Cell<bool>,
    /// Its task.
    waker: RefCell<Option<Waker>>,
}

/// The connections of one worker that may be asked to go.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: RefCell<HashMap<u64, Rc<Seat>>>,
    next: Cell<u64>,
    /// Who goes next, by listener; `None` = of all.
    queues: RefCell<HashMap<Option<usize>, Queue>>,
}

/// A connection is among those that may be asked to go, and that hear of a new phase, until dropped.
#[derive(Debug)]
pub(super) struct Seated {
    pub(super) worker: Rc<Worker>,
    pub(super) seat: Rc<Seat>,
    number: u64,
}

impl Seated {
    pub(super) fn take(worker: &Rc<Worker>, seat: &Rc<Seat>) -> Self {
        let number = worker.seats.take(seat);
        Self { worker: Rc::clone(worker), seat: Rc::clone(seat), number }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.worker.seats.taken.borrow_mut().remove(&self.number);
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// Idle since then, the oldest last.
    idle: Vec<(Instant, Weak<Seat>)>,
    /// When a look at many connections found few idle ones.
    looked: Option<Instant>,
}

impl Seat {
    /// Of a connection that has just come.
    pub(super) fn new(listener: usize, place: Place) -> Rc<Self> {
        Rc::new(Self {
            listener,
            opened: Instant::now(),
            place: RefCell::new(Some(place)),
            silent: Cell::new(false),
            activity: OnceCell::new(),
            asked: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// The number of its listener.
    pub(super) fn listener(&self) -> usize {
        self.listener
    }

    /// It is waited for its first byte, or no longer.
    pub(super) fn set_silent(&self, silent: bool) {
        self.silent.set(silent);
    }

    /// It speaks HTTP from now on.
    pub(super) fn speaks(&self, activity: Rc<Activity>, is_http1: bool) {
        self.silent.set(false);
        // Said once for each connection.
        drop(self.activity.set((activity, is_http1)));
    }

    /// Ready once it is asked to go. Its task is woken then.
    pub(super) fn poll_asked(&self, context: &Context<'_>) -> Poll<()> {
        if self.asked.get() {
            return Poll::Ready(());
        }
        self.listen(context);
        Poll::Pending
    }

    /// Has its task woken when it is asked to go, and when there is news for all.
    pub(super) fn listen(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    /// Since when nothing is under way on it.
    fn idle_since(&self) -> Option<Instant> {
        if self.asked.get() {
            return None;
        }
        match self.activity.get() {
            Some((activity, is_http1)) => activity.idle_since(*is_http1),
            None => self.silent.get().then_some(self.opened),
        }
    }

    fn ask(&self) {
        self.asked.set(true);
        drop(self.place.take());
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Seats {
    /// Takes in a connection; gives its number.
    fn take(&self, seat: &Rc<Seat>) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.taken.borrow_mut().insert(number, Rc::clone(seat));
        number
    }

    /// Wakes the tasks of all connections: there is news for them.
    pub(super) fn wake(&self) {
        for seat in self.taken.borrow().values() {
            if let Some(waker) = &*seat.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    /// Gives back the room of a flood of connections that have ended.
    pub(super) fn tidy(&self) {
        let mut taken = self.taken.borrow_mut();
        if taken.len() * 8 < taken.capacity() {
            taken.shrink_to_fit();
        }
    }

    /// Asks the connection that has been idle for longest to go, of this listener or of all. Tells
    /// whether there was one; its place is free at once.
    pub(super) fn vacate(&self, listener: Option<usize>) -> bool {
        let mut queues = self.queues.borrow_mut();
        let queue = queues.entry(listener).or_default();
        if queue.call() {
            return true;
        }
        let now = Instant::now();
        if queue.looked.is_some_and(|looked| now < looked + AGAIN) {
            return false;
        }
        let taken = self.taken.borrow();
        queue.fill(taken.values().filter(|seat| listener.is_none_or(|at| at == seat.listener)));
        let worthwhile = queue.idle.len() >= BATCH || taken.len() <= BATCH;
        queue.looked = if worthwhile { None } else { Some(now) };
        queue.call()
    }
}

impl Queue {
    /// Asks the first that is still as idle as when it was put here.
    fn call(&mut self) -> bool {
        while let Some((since, seat)) = self.idle.pop() {
            if let Some(seat) = seat.upgrade()
                && seat.idle_since() == Some(since)
            {
                seat.ask();
                return true;
            }
        }
        false
    }

    fn fill<'s>(&mut self, seats: impl Iterator<Item = &'s Rc<Seat>>) {
        let mut idle: Vec<_> =
            seats.filter_map(|seat| Some((seat.idle_since()?, Rc::downgrade(seat)))).collect();
        if idle.len() > BATCH {
            idle.select_nth_unstable_by_key(BATCH, |(since, _)| *since);
            idle.truncate(BATCH);
        }
        idle.sort_unstable_by_key(|(since, _)| std::cmp::Reverse(*since));
        self.idle = idle;
    }
}

/// 256: looking through all connections is paid for by so many that go.
const BATCH: usize = 256;
/// 5 ms: where hardly anybody is idle, looking through many connections for each new one would be a
/// gift to an attacker.
const AGAIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::proxy::clock::Clock;
    use crate::proxy::headcount::{Full, Headcount};

    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    fn seat(headcount: &Arc<Headcount>, listener: usize) -> Rc<Seat> {
        Seat::new(listener, headcount.enter(&Arc::default(), 1000, None).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_idle_for_longest_goes_first_and_who_is_busy_stays() {
        let (headcount, seats, clock) = (Headcount::new(1), Seats::default(), Clock::new());
        let mut all = Vec::new();
        for _ in 0..3 {
            let seat = seat(&headcount, 0);
            let activity = Activity::new(Rc::clone(&clock));
            seat.speaks(Rc::clone(&activity), true);
            seats.take(&seat);
            all.push((seat, activity));
            tokio::time::advance(STEP).await;
        }
        all[0].1.begin();
        tokio::time::advance(STEP).await;
        clock.now();
        all[0].1.end(); // the first to come is the last to be idle
        all[2].1.begin();

        assert!(seats.vacate(None));
        assert!(all[1].0.asked.get());
        assert!(seats.vacate(None));
        assert!(all[0].0.asked.get());
        assert!(!seats.vacate(None), "one is busy, the others are on their way");
        assert!(!all[2].0.asked.get());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_nothing_yet_is_idle_and_who_shakes_hands_is_not() {
        let (headcount, seats) = (Headcount::new(1), Seats::default());
        let (waiting, shaking) = (seat(&headcount, 0), seat(&headcount, 0));
        waiting.set_silent(true);
        seats.take(&waiting);
        seats.take(&shaking);

        assert!(!seats.vacate(Some(1)), "nobody is on that listener");
        assert!(seats.vacate(Some(0)) && !seats.vacate(Some(0)));
        assert!(waiting.asked.get() && !shaking.asked.get());
    }

    #[test]
    fn who_is_asked_to_go_leaves_its_place_at_once() {
        let (headcount, seats) = (Headcount::new(1), Seats::default());
        let waiting = Seat::new(0, headcount.enter(&Arc::default(), 1, None).unwrap());
        waiting.set_silent(true);
        seats.take(&waiting);
        assert_eq!(headcount.enter(&Arc::default(), 1, None).unwrap_err(), Full::Gateway);

        assert!(seats.vacate(None));

        assert!(headcount.enter(&Arc::default(), 1, None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn many_idle_ones_all_go_in_the_order_of_their_age() {
        let (headcount, seats) = (Headcount::new(1), Seats::default());
        let mut all = Vec::new();
        for _ in 0..BATCH * 2 {
            let seat = seat(&headcount, 0);
            seat.set_silent(true);
            seats.take(&seat);
            all.push(seat);
            tokio::time::advance(Duration::from_millis(1)).await;
        }

        for seat in &all {
            assert!(!seat.asked.get() && seats.vacate(None) && seat.asked.get());
        }
    }
}
