//! Exchanges that take long let short ones pass. A worker serves what is ready in the order in which it
//! became so, and looks at its sockets again after some sixty tasks: of thousands of uploads and
//! downloads that trickle, so many may be ready at once that a small request behind them waits for
//! milliseconds. So few of the long ones go on between two looks; the others wait here, where it
//! costs them next to nothing. So do connections that begin: there may be thousands of these at once, too,
//! and each costs as much as several requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::worker::Worker;

/// Whose turn it is among the long exchanges of a worker, or among its newcomers.
#[derive(Debug)]
pub(super) struct Courtesy {
    /// So many have one between two looks at the sockets.
    turns: usize,
    /// Turns that were taken since the last look at the sockets.
    taken: Cell<usize>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// The first turn after a look was taken.
    begun: Notify,
}

/// One connection's part in it.
#[derive(Debug, Default)]
pub(super) struct Manners {
    /// How often its exchange, or the head of its next one, has gone on.
    times: u32,
    /// When its exchange began; `None`: there is none.
    began: Option<Instant>,
    /// It waits until this says that it has a turn.
    called: Option<Rc<Cell<bool>>>,
}

#[derive(Debug)]
struct Waiting {
    called: Rc<Cell<bool>>,
    task: Waker,
}

impl Manners {
    /// Another exchange begins, which is short until it turns out to be none.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.times, self.began) = (0, Some(now));
    }

    /// It waits for its next one.
    pub(super) fn rest(&mut self) {
        (self.times, self.began) = (0, None);
    }

    fn is_short(&self, now: Instant) -> bool {
        let is_old = self.began.is_some_and(|began| now.saturating_duration_since(began) > YOUNG);
        self.times < SHORT && !is_old
    }
}

impl Courtesy {
    /// Among exchanges that take long.
    pub(super) fn among_long() -> Self {
        Self::new(LONG)
    }

    /// Among connections that begin.
    pub(super) fn among_newcomers() -> Self {
        Self::new(NEWCOMERS)
    }

    fn new(turns: usize) -> Self {
        Self { turns, taken: Cell::new(0), waiting: RefCell::default(), begun: Notify::new() }
    }

    /// Ready when the connection may go on. A short exchange always may. `now` may be a little late.
    pub(super) fn poll(
        &self,
        manners: &mut Manners,
        now: Instant,
        context: &Context<'_>,
    ) -> Poll<()> {
        if manners.called.is_none() && manners.is_short(now) {
            manners.times += 1;
            return Poll::Ready(());
        }
        self.poll_turn(manners, context)
    }

    /// Goes on with a newcomer whenever it has a turn.
    pub(super) async fn receive<T>(&self, newcomer: impl Future<Output = T>) -> T {
        let (mut newcomer, mut manners) = (pin!(newcomer), Manners::default());
        poll_fn(|context| {
            ready!(self.poll_turn(&mut manners, context));
            newcomer.as_mut().poll(context)
        })
        .await
    }

    fn poll_turn(&self, manners: &mut Manners, context: &Context<'_>) -> Poll<()> {
        if let Some(called) = &manners.called {
            if !called.get() {
                return Poll::Pending;
            }
            manners.called = None;
            return Poll::Ready(());
        }
        if self.take() {
            return Poll::Ready(());
        }
        let called = Rc::new(Cell::new(false));
        manners.called = Some(Rc::clone(&called));
        self.waiting.borrow_mut().push_back(Waiting { called, task: context.waker().clone() });
        Poll::Pending
    }

    /// A turn, where one is left.
    fn take(&self) -> bool {
        let taken = self.taken.get();
        if taken == 0 {
            self.begun.notify_one();
        }
        self.taken.set((taken + 1).min(self.turns));
        taken < self.turns
    }

    /// The sockets were looked at: those who have waited for longest have the turns. Tells whether
    /// there were any.
    fn turn(&self) -> bool {
        let mut taken = 0;
        while taken < self.turns
            && let Some(next) = self.waiting.borrow_mut().pop_front()
        {
            // Nobody else has it where its connection has ended.
            if Rc::strong_count(&next.called) > 1 {
                next.called.set(true);
                next.task.wake();
                taken += 1;
            }
        }
        self.taken.set(taken);
        taken > 0
    }
}

/// Gives out the turns of a worker's `courtesy`, for as long as it runs.
pub(super) async fn usher(worker: Rc<Worker>, courtesy: fn(&Worker) -> &Courtesy) {
    let courtesy = courtesy(&worker);
    loop {
        courtesy.begun.notified().await;
        loop {
            // The runtime goes on with who yields when it has looked at the sockets.
            yield_now().await;
            if !courtesy.turn() {
                break;
            }
        }
    }
}

/// 16, and 1 s: an exchange with a small body and a small answer goes on two or three times, one of a
/// megabyte about as often as this.
const SHORT: u32 = 16;
const YOUNG: Duration = Duration::from_secs(1);
/// 2: a few hundred microseconds, where each reads and writes the 256 KiB of a turn.
const LONG: usize = 2;
/// 8: some tenths of a millisecond, but for what a handshake computes, which has turns of its own.
const NEWCOMERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_on(courtesy: &Courtesy, manners: &mut Manners) -> bool {
        goes_on_at(Instant::now(), courtesy, manners)
    }

    fn goes_on_at(now: Instant, courtesy: &Courtesy, manners: &mut Manners) -> bool {
        courtesy.poll(manners, now, &Context::from_waker(Waker::noop())).is_ready()
    }

    /// Of a connection whose exchange has turned out to be long.
    fn long() -> Manners {
        Manners { times: SHORT, ..Manners::default() }
    }

    #[test]
    fn a_few_long_exchanges_go_on_between_two_looks_and_each_has_its_turn() {
        let courtesy = Courtesy::among_long();
        let mut all: Vec<Manners> = (0..3 * LONG).map(|_| long()).collect();
        let mut round = || -> Vec<usize> {
            let all = all.iter_mut().enumerate();
            let went = all.filter_map(|(number, one)| goes_on(&courtesy, one).then_some(number));
            let went = went.collect();
            courtesy.turn();
            went
        };

        let first: Vec<usize> = (0..LONG).collect();
        assert_eq!(round(), first);
        for turn in 1..6 {
            // Those that went on want to again, behind all the others.
            let start = turn % 3 * LONG;
            assert_eq!(round(), (start..start + LONG).collect::<Vec<_>>(), "turn {turn}");
        }
    }

    #[test]
    fn a_short_exchange_goes_on_however_many_wait() {
        let courtesy = Courtesy::among_long();
        let mut waiting: Vec<Manners> = (0..100).map(|_| long()).collect();
        let went = waiting.iter_mut().filter_map(|one| goes_on(&courtesy, one).then_some(()));
        assert_eq!(went.count(), LONG);

        let mut manners = Manners::default();
        for _ in 0..SHORT {
            assert!(goes_on(&courtesy, &mut manners));
        }
        assert!(!goes_on(&courtesy, &mut manners), "it is a long one now");
        manners = Manners::default();
        let now = Instant::now();
        manners.begin(now);
        assert!(goes_on_at(now, &courtesy, &mut manners));
        assert!(!goes_on_at(now + 2 * YOUNG, &courtesy, &mut manners), "it is an old one now");
        manners = Manners::default();
        manners.begin(now);
        manners.rest();
        assert!(goes_on_at(now + 2 * YOUNG, &courtesy, &mut manners), "it was idle for long");
    }

    #[test]
    fn a_newcomer_goes_on_in_its_turns_alone() {
        let courtesy = Courtesy::among_newcomers();
        let polled = Cell::new(0);
        let newcomer = || {
            Box::pin(courtesy.receive(poll_fn(|_| {
                polled.set(polled.get() + 1);
                Poll::<()>::Pending
            })))
        };
        let mut all: Vec<_> = (0..3 * NEWCOMERS).map(|_| newcomer()).collect();
        for round in 1..=6 {
            for one in &mut all {
                let mut context = Context::from_waker(Waker::noop());
                assert!(one.as_mut().poll(&mut context).is_pending());
            }
            assert_eq!(polled.get(), round * NEWCOMERS);
            courtesy.turn();
        }
    }

    #[test]
    fn who_has_left_takes_no_turn() {
        let courtesy = Courtesy::among_long();
        let mut all: Vec<Manners> = (0..3 * LONG).map(|_| long()).collect();
        let went = all.iter_mut().filter_map(|one| goes_on(&courtesy, one).then_some(()));
        assert_eq!(went.count(), LONG);
        all.drain(LONG..2 * LONG);

        assert!(courtesy.turn());

        assert!(all[LONG..].iter_mut().all(|one| goes_on(&courtesy, one)));
        assert!(!courtesy.turn(), "nobody waits");
    }
}
