//! So many at once, and those who wait come in by client: whoever sends a thousand waits for itself,
//! and who sends one waits for one of each other client at most.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Notify;

use super::by_client::ByClient;

/// The turns of one worker.
#[derive(Debug)]
pub(super) struct Turnstile {
    free: Cell<usize>,
    queues: RefCell<ByClient<Rc<Waiter>>>,
}

/// One who waits.
#[derive(Debug, Default)]
struct Waiter {
    /// Has a turn, which nobody else counts.
    has_turn: Cell<bool>,
    called: Notify,
}

/// A turn, until it is dropped or taken away.
#[derive(Debug)]
pub(super) struct Turn<'t>(&'t Turnstile, Option<Rc<Hold>>);

/// Hold of somebody's turn, by which it may be taken away.
#[derive(Debug, Default)]
pub(super) struct Hold {
    is_over: Cell<bool>,
    told: Notify,
}

impl Hold {
    /// Resolves once the turn was taken away.
    pub(super) async fn is_taken_away(&self) {
        if !self.is_over.get() {
            self.told.notified().await;
        }
    }
}

impl Turn<'_> {
    /// By what the turn may be taken away from now on.
    pub(super) fn hold(&mut self) -> Rc<Hold> {
        Rc::clone(self.1.get_or_insert_default())
    }
}

impl Turnstile {
    /// `most` at once, of which there is at least one.
    pub(super) fn new(most: usize) -> Self {
        Self { free: Cell::new(most.max(1)), queues: RefCell::default() }
    }

    /// Waits for a turn on behalf of `client`. Given up by dropping the future.
    pub(super) async fn enter(&self, client: u128) -> Turn<'_> {
        if let Some(turn) = self.try_enter() {
            return turn;
        }
        let waiter = Rc::<Waiter>::default();
        let number = self.queues.borrow_mut().push(client, Rc::clone(&waiter));
        let waits = Waits { turnstile: self, client, number, waiter };
        waits.waiter.called.notified().await;
        waits.waiter.has_turn.set(false); // it is in the turn now
        Turn(self, None)
    }

    /// A turn where one is free: then nobody waits.
    pub(super) fn try_enter(&self) -> Option<Turn<'_>> {
        let free = self.free.get().checked_sub(1)?;
        self.free.set(free);
        Some(Turn(self, None))
    }

    /// Takes a turn away, which is free at once: who has it may hear of it much later.
    pub(super) fn take_away(&self, hold: &Hold) {
        drop(self.take_over(hold));
    }

    /// The same for one who goes on with it, whoever else waits. `None`: it was taken away before.
    pub(super) fn take_over(&self, hold: &Hold) -> Option<Turn<'_>> {
        if hold.is_over.replace(true) {
            return None;
        }
        hold.told.notify_one();
        Some(Turn(self, None))
    }

    /// Whose the next turn is, where somebody waits for one.
    pub(super) fn next(&self) -> Option<u128> {
        self.queues.borrow().peek()
    }

    /// A turn is free again.
    fn pass(&self) {
        match self.queues.borrow_mut().pop() {
            Some(waiter) => {
                waiter.has_turn.set(true);
                waiter.called.notify_one();
            }
            None => self.free.set(self.free.get() + 1),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.1.as_ref().is_some_and(|hold| hold.is_over.get()) {
            self.0.pass();
        }
    }
}

/// Leaves the queue once dropped; who was called already calls the next.
struct Waits<'t> {
    turnstile: &'t Turnstile,
    client: u128,
    number: u64,
    waiter: Rc<Waiter>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.waiter.has_turn.get() {
            return self.turnstile.pass();
        }
        self.turnstile.queues.borrow_mut().leave(self.client, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    type Entering<'t> = Pin<Box<dyn Future<Output = Turn<'t>> + 't>>;

    fn poll<'t>(entering: &mut Entering<'t>) -> Option<Turn<'t>> {
        match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    fn enter(turnstile: &Turnstile, client: u128) -> Entering<'_> {
        Box::pin(turnstile.enter(client))
    }

    #[test]
    fn who_sends_one_waits_for_one_of_each_other_client_however_many_these_sent() {
        let turnstile = Turnstile::new(1);
        let mut turn = turnstile.try_enter();
        let mut crowd: Vec<_> =
            (0..100).flat_map(|_| [1, 2]).map(|client| enter(&turnstile, client)).collect();
        assert!(crowd.iter_mut().all(|each| poll(each).is_none()));
        let mut calm = enter(&turnstile, 3);
        assert!(poll(&mut calm).is_none());

        let mut before = 0;
        while turn.take().is_some() {
            turn = poll(&mut calm);
            if turn.is_some() {
                break;
            }
            crowd.retain_mut(|each| {
                let called = turn.is_none().then(|| poll(each)).flatten();
                let stays = called.is_none();
                turn = turn.take().or(called);
                stays
            });
            before += 1;
        }

        assert_eq!(before, 2);
        assert!(turn.is_some());
    }

    /// Whose turn it was may be one of thousands that are ready to go on.
    #[test]
    fn a_turn_that_is_taken_away_is_the_next_one_s_at_once_and_once_only() {
        let turnstile = Turnstile::new(1);
        let mut turn = turnstile.try_enter().unwrap();
        let hold = turn.hold();
        let (mut next, mut last) = (enter(&turnstile, 1), enter(&turnstile, 2));
        assert!(poll(&mut next).is_none() && poll(&mut last).is_none());

        turnstile.take_away(&hold);
        turnstile.take_away(&hold);

        let told = pin!(hold.is_taken_away()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(told.is_ready());
        let second = poll(&mut next);
        drop(turn);
        assert!(second.is_some() && poll(&mut last).is_none());
        drop(second);
        assert!(poll(&mut last).is_some());
    }

    #[test]
    fn those_who_gave_up_cost_their_client_no_turn() {
        let turnstile = Turnstile::new(1);
        let turn = turnstile.try_enter();
        let mut gone: Vec<_> = (0..50).map(|_| enter(&turnstile, 1)).collect();
        let (mut other, mut last) = (enter(&turnstile, 2), enter(&turnstile, 1));
        assert!(gone.iter_mut().chain([&mut last, &mut other]).all(|each| poll(each).is_none()));

        drop((gone, turn));

        let first = poll(&mut last);
        assert!(first.is_some() && poll(&mut other).is_none());
        drop(first);
        assert!(poll(&mut other).is_some());
    }

    proptest! {
        /// Entering, leaving and giving up in any order: never more than the most are in, and once
        /// all have left it is as it was.
        #[test]
        fn no_turn_is_lost_and_none_is_given_twice(
            most in 1..4usize,
            steps in prop::collection::vec((0..4u8, 0..3u128, any::<prop::sample::Index>()), 0..60),
        ) {
            let turnstile = Turnstile::new(most);
            let (mut waiting, mut turns) = (Vec::new(), Vec::new());
            for (step, client, which) in steps {
                match step {
                    0 => waiting.push(enter(&turnstile, client)),
                    1 if !waiting.is_empty() => drop(waiting.swap_remove(which.index(waiting.len()))),
                    2 if !turns.is_empty() => drop(turns.swap_remove(which.index(turns.len()))),
                    _ => {}
                }
                waiting.retain_mut(|each| poll(each).is_none_or(|turn| {
                    turns.push(turn);
                    false
                }));
                prop_assert!(turns.len() <= most);
                prop_assert!(turns.len() == most || waiting.is_empty());
            }
            drop((waiting, turns));
            prop_assert_eq!(turnstile.free.get(), most);
            prop_assert!(turnstile.queues.borrow().is_empty());
        }
    }
}
