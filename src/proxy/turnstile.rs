//! Lets one piece of long work through between two looks at the sockets. A handshake computes for
//! about a millisecond: a crowd of them at once would keep every other request of the worker waiting
//! until the last one is done.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

/// The turnstile of one worker. Opens as long as somebody polls [`Turnstile::keep`].
#[derive(Debug)]
pub(super) struct Turnstile {
    /// Nobody has passed since the last look at the sockets, and nobody waits.
    open: Cell<bool>,
    waiting: RefCell<VecDeque<Weak<Place>>>,
    passed: Notify,
}

/// A place in the queue.
#[derive(Debug)]
struct Place {
    waker: Waker,
    /// Its turn has come.
    called: Cell<bool>,
}

/// Work of which each step passes the turnstile.
pub(super) struct Passing<'t, F> {
    turnstile: &'t Turnstile,
    place: Option<Rc<Place>>,
    work: Pin<Box<F>>,
}

impl Turnstile {
    /// An open one.
    pub(super) fn new() -> Self {
        Self { open: Cell::new(true), waiting: RefCell::default(), passed: Notify::new() }
    }

    /// Makes each step of `work` pass.
    pub(super) fn pass<F: Future>(&self, work: F) -> Passing<'_, F> {
        Passing { turnstile: self, place: None, work: Box::pin(work) }
    }

    /// Calls who waits, one after each look at the sockets.
    pub(super) async fn keep(&self) {
        loop {
            self.passed.notified().await;
            loop {
                tokio::task::yield_now().await; // the runtime looks at the sockets
                let Some(next) = self.next() else { break };
                next.called.set(true);
                next.waker.wake_by_ref();
            }
            self.open.set(true);
        }
    }

    /// Who has waited for longest and has not given up.
    fn next(&self) -> Option<Rc<Place>> {
        let mut waiting = self.waiting.borrow_mut();
        std::iter::from_fn(|| waiting.pop_front()).find_map(|place| place.upgrade())
    }

    fn enqueue(&self, context: &Context<'_>) -> Rc<Place> {
        let place = Rc::new(Place { waker: context.waker().clone(), called: Cell::new(false) });
        self.waiting.borrow_mut().push_back(Rc::downgrade(&place));
        place
    }
}

impl<F: Future> Future for Passing<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let turnstile = self.turnstile;
        match &self.place {
            Some(place) if place.called.get() => self.place = None,
            // Its task may have got another waker; the place in the queue is the same.
            Some(place) if place.waker.will_wake(context.waker()) => return Poll::Pending,
            None if turnstile.open.replace(false) => turnstile.passed.notify_one(),
            _ => {
                self.place = Some(turnstile.enqueue(context));
                return Poll::Pending;
            }
        }
        self.work.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, yield_now};

    use crate::base::tasks::LocalTasks;

    use super::*;

    /// Steps of work that were done after each look at the sockets, of `crowd` pieces of two steps.
    async fn steps(crowd: usize) -> Vec<usize> {
        let (turnstile, done) = (Rc::new(Turnstile::new()), Rc::new(Cell::new(0)));
        let mut tasks = LocalTasks::new("test");
        let keeper = Rc::clone(&turnstile);
        tasks.spawn(|_stop| async move { keeper.keep().await });
        for _ in 0..crowd {
            let (turnstile, done) = (Rc::clone(&turnstile), Rc::clone(&done));
            tasks.spawn(|_stop| async move {
                let work = async {
                    done.set(done.get() + 1);
                    yield_now().await;
                    done.set(done.get() + 1);
                };
                turnstile.pass(work).await;
            });
        }
        let mut steps = Vec::new();
        while done.get() < 2 * crowd {
            let before = done.get();
            yield_now().await;
            steps.push(done.get() - before);
        }
        steps
    }

    #[tokio::test]
    async fn one_step_is_done_between_two_looks_at_the_sockets() {
        let steps = LocalSet::new().run_until(steps(100)).await;

        assert!(steps.iter().all(|steps| *steps <= 1), "{steps:?}");
        assert!(steps.len() < 250, "and hardly a look goes by without one: {steps:?}");
    }

    #[tokio::test]
    async fn who_gives_up_keeps_nobody_waiting() {
        let work = async {
            let turnstile = Rc::new(Turnstile::new());
            let mut tasks = LocalTasks::new("test");
            let keeper = Rc::clone(&turnstile);
            tasks.spawn(|_stop| async move { keeper.keep().await });
            turnstile.pass(std::future::ready(())).await;
            let mut leaving = turnstile.pass(std::future::ready(()));
            assert!(polled(&mut leaving).await.is_pending());
            let staying = turnstile.pass(std::future::ready(()));
            drop(leaving);
            staying.await;
        };
        LocalSet::new().run_until(work).await;
    }

    async fn polled<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
    }
}
