//! Exchanges that take long let short ones pass. A worker serves what is ready in the order in which it
//! became so, and looks at its sockets again after some sixty tasks: of thousands of uploads and
//! downloads that trickle, so many may be ready at once that a small request behind them waits for
//! milliseconds. So the long ones go on for a short time between two looks; the others wait here, where
//! it costs them next to nothing. So do connections that begin: there may be thousands of these at once,
//! too, and each costs as much as several requests. Clients have their turns one after the other: whoever has a thousand connections waits for itself.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{coop, yield_now};
use tokio::time::Instant;

use crate::base::network::owner;

use super::by_client::ByClient;
use super::worker::Worker;

/// Whose turn it is among the long exchanges of a worker, or among its connections that begin.
#[derive(Debug)]
pub(super) struct Courtesy {
    /// What the turns between two looks at the sockets may take together.
    time: Duration,
    /// So many turns that is, by what they have cost of late.
    turns: Cell<usize>,
    cost: Cell<Duration>,
    /// Turns that were taken since the last look at the sockets.
    taken: Cell<usize>,
    waiting: RefCell<ByClient<Waiting>>,
    /// Many wait.
    crowded: Cell<bool>,
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

/// What a connection may go on with.
#[derive(Debug)]
#[must_use]
pub(super) enum Turn {
    /// Of a short exchange, which waits for none.
    Short,
    /// Began then.
    Long(Instant),
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
    pub(super) fn at_the_door() -> Self {
        Self::new(DOOR)
    }

    fn new(time: Duration) -> Self {
        let (turns, cost) = (Cell::new(1), Cell::new(USUAL_COST));
        let (taken, waiting, crowded) = (Cell::new(0), RefCell::default(), Cell::new(false));
        let begun = Notify::new();
        let courtesy = Self { time, turns, cost, taken, waiting, crowded, begun };
        courtesy.reckon();
        courtesy
    }

    /// Ready when the connection may go on. A short exchange always may. `now` may be a little late.
    pub(super) fn poll(
        &self,
        manners: &mut Manners,
        now: Instant,
        client: impl FnOnce() -> Option<IpAddr>,
        context: &mut Context<'_>,
    ) -> Poll<Turn> {
        if manners.called.is_none() && manners.is_short(now) {
            manners.times += 1;
            if self.crowded.get() {
                spend(context);
            }
            return Poll::Ready(Turn::Short);
        }
        self.poll_long(manners, client(), context)
    }

    #[inline(never)]
    fn poll_long(
        &self,
        manners: &mut Manners,
        client: Option<IpAddr>,
        context: &mut Context<'_>,
    ) -> Poll<Turn> {
        ready!(self.poll_turn(manners, client, context));
        if self.crowded.get() {
            spend(context);
        }
        Poll::Ready(Turn::Long(Instant::now()))
    }

    /// The connection has gone on for as long as it could, or might. Who has used up what the runtime
    /// allows a task has a long exchange, however young it is.
    pub(super) fn end(&self, turn: &Turn, manners: &mut Manners) {
        match turn {
            Turn::Short if coop::has_budget_remaining() => {}
            Turn::Short => manners.times = SHORT,
            Turn::Long(began) => self.note(began.elapsed()),
        }
    }

    /// Goes on with a newcomer, of `client`, whenever it has a turn.
    pub(super) async fn receive<T>(
        &self,
        client: Option<IpAddr>,
        newcomer: impl Future<Output = T>,
    ) -> T {
        let (mut newcomer, mut manners) = (pin!(newcomer), Manners::default());
        poll_fn(|context| {
            ready!(self.poll_turn(&mut manners, client, context));
            let began = Instant::now();
            let polled = newcomer.as_mut().poll(context);
            self.note(began.elapsed());
            polled
        })
        .await
    }

    /// Ready when the connection has a turn, which all need here.
    pub(super) fn poll_turn(
        &self,
        manners: &mut Manners,
        client: Option<IpAddr>,
        context: &Context<'_>,
    ) -> Poll<()> {
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
        let mut waiting = self.waiting.borrow_mut();
        let waiter = Waiting { called, task: context.waker().clone() };
        waiting.push(client.map_or(0, owner), waiter);
        self.crowded.set(waiting.len() >= CROWD);
        Poll::Pending
    }

    /// A turn, where one is left.
    fn take(&self) -> bool {
        let (taken, turns) = (self.taken.get(), self.turns.get());
        if taken == 0 {
            self.begun.notify_one();
        }
        self.taken.set((taken + 1).min(turns));
        taken < turns
    }

    /// A turn took so long. One that takes longer than the last ones counts at once, for it is what
    /// others waited for; it is forgotten by and by.
    fn note(&self, took: Duration) {
        let cost = self.cost.get();
        let (kept, of) = if took > cost { (1, 2) } else { (7, 8) };
        self.cost.set((cost * kept + took.min(self.time) * (of - kept)) / of);
    }

    /// How many turns there are between two looks.
    fn reckon(&self) {
        let cost = self.cost.get().as_nanos().max(1);
        let turns = usize::try_from(self.time.as_nanos() / cost).unwrap_or(MOST);
        self.turns.set(turns.clamp(1, MOST));
    }

    /// The sockets were looked at: those who have waited for longest have the turns. Tells whether
    /// there were any.
    fn look(&self) -> bool {
        self.reckon();
        let (mut taken, mut waiting) = (0, self.waiting.borrow_mut());
        while taken < self.turns.get()
            && let Some(next) = waiting.pop()
        {
            // Nobody else has it where its connection has ended.
            if Rc::strong_count(&next.called) > 1 {
                next.called.set(true);
                next.task.wake();
                taken += 1;
            }
        }
        self.crowded.set(waiting.len() >= CROWD);
        self.taken.set(taken);
        taken > 0
    }
}

/// Where many wait, each goes on for a quarter of what the runtime allows a task: what lies between two
/// looks then is many small turns, not a large one.
fn spend(context: &mut Context<'_>) {
    for _ in 0..SPENT {
        if !coop::has_budget_remaining() {
            return;
        }
        if let Poll::Ready(spent) = coop::poll_proceed(context) {
            spent.made_progress();
        }
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
            if !courtesy.look() {
                break;
            }
        }
    }
}

/// 16, and 1 s: an exchange with a small body and a small answer goes on two or three times.
const SHORT: u32 = 16;
const YOUNG: Duration = Duration::from_secs(1);
/// 100 us: a small request goes by two looks, and so waits for twice that.
const LONG: Duration = Duration::from_micros(100);
/// 200 us: what a handshake computes, which takes the most, has turns of its own.
const DOOR: Duration = Duration::from_micros(200);
/// 16 turns between two looks at most, whatever they cost: a flood of small ones costs its looks, too.
const MOST: usize = 16;
/// 25 us, until it is known: a message of a few KiB that is passed on, or a connection that begins.
const USUAL_COST: Duration = Duration::from_micros(25);
/// 32: more than a few downloads at full speed, which cost less in large turns.
const CROWD: usize = 32;
/// 96 of the 128 that the runtime allows a task.
const SPENT: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(courtesy: &Courtesy, manners: &mut Manners) -> Poll<Turn> {
        poll_at(Instant::now(), courtesy, manners)
    }

    fn poll_at(now: Instant, courtesy: &Courtesy, manners: &mut Manners) -> Poll<Turn> {
        courtesy.poll(manners, now, || None, &mut Context::from_waker(Waker::noop()))
    }

    fn is_ready(courtesy: &Courtesy, manners: &mut Manners) -> bool {
        poll(courtesy, manners).is_ready()
    }

    /// Of a connection whose exchange has turned out to be long.
    fn long() -> Manners {
        Manners { times: SHORT, ..Manners::default() }
    }

    /// With so many turns between two looks.
    fn of_turns(turns: u32) -> Courtesy {
        let courtesy = Courtesy::new(LONG);
        courtesy.cost.set(LONG / turns);
        courtesy.reckon();
        courtesy
    }

    #[test]
    fn a_few_long_exchanges_go_on_between_two_looks_and_each_has_its_turn() {
        let courtesy = of_turns(2);
        let mut all: Vec<Manners> = (0..6).map(|_| long()).collect();
        let mut round = || -> Vec<usize> {
            let all = all.iter_mut().enumerate();
            let went = all.filter_map(|(number, one)| is_ready(&courtesy, one).then_some(number));
            let went = went.collect();
            courtesy.look();
            went
        };

        assert_eq!(round(), [0, 1]);
        for turn in 1..6 {
            // Those that went on want to again, behind all the others.
            let start = turn % 3 * 2;
            assert_eq!(round(), [start, start + 1], "turn {turn}");
        }
    }

    #[test]
    fn the_longer_turns_take_the_fewer_there_are_and_never_none() {
        let courtesy = Courtesy::among_long();
        let turns = |took: Duration| {
            for _ in 0..200 {
                courtesy.note(took);
            }
            courtesy.look();
            courtesy.turns.get()
        };

        assert_eq!(turns(LONG / 4), 4);
        assert_eq!(turns(LONG * 100), 1);
        assert_eq!(turns(Duration::ZERO), MOST);
        courtesy.note(LONG);
        courtesy.look();
        assert!(courtesy.turns.get() <= 2, "a long one counts at once");
    }

    #[test]
    fn a_short_exchange_goes_on_however_many_wait() {
        let courtesy = of_turns(1);
        let mut waiting: Vec<Manners> = (0..100).map(|_| long()).collect();
        let went = waiting.iter_mut().filter_map(|one| is_ready(&courtesy, one).then_some(()));
        assert_eq!(went.count(), 1);

        let mut manners = Manners::default();
        for _ in 0..SHORT {
            assert!(is_ready(&courtesy, &mut manners));
        }
        assert!(!is_ready(&courtesy, &mut manners), "it is a long one now");
        manners = Manners::default();
        let now = Instant::now();
        manners.begin(now);
        assert!(poll_at(now, &courtesy, &mut manners).is_ready());
        let later = now + 2 * YOUNG;
        assert!(poll_at(later, &courtesy, &mut manners).is_pending(), "it is an old one now");
        manners = Manners::default();
        manners.begin(now);
        manners.rest();
        assert!(poll_at(later, &courtesy, &mut manners).is_ready(), "it was idle for long");
    }

    #[test]
    fn a_newcomer_goes_on_in_its_turns_alone() {
        let courtesy = of_turns(1);
        let polled = Cell::new(0);
        let newcomer = || {
            Box::pin(courtesy.receive(
                None,
                poll_fn(|_| {
                    polled.set(polled.get() + 1);
                    Poll::<()>::Pending
                }),
            ))
        };
        let mut all: Vec<_> = (0..3).map(|_| newcomer()).collect();
        for round in 1..=6 {
            for one in &mut all {
                let mut context = Context::from_waker(Waker::noop());
                assert!(one.as_mut().poll(&mut context).is_pending());
            }
            assert_eq!(polled.get(), round);
            courtesy.cost.set(LONG);
            courtesy.look();
        }
    }

    #[test]
    fn who_has_one_connection_waits_for_one_of_each_other_client_however_many_these_have() {
        let courtesy = of_turns(1);
        let wait = |address: [u8; 4], manners: &mut Manners| {
            let context = Context::from_waker(Waker::noop());
            courtesy.poll_turn(manners, Some(address.into()), &context).is_pending()
        };
        let mut crowd: Vec<Manners> = (0..101).map(|_| long()).collect();
        let waiting = crowd.iter_mut().filter_map(|one| wait([192, 0, 2, 1], one).then_some(()));
        assert_eq!(waiting.count(), 100);
        let mut calm = long();
        assert!(wait([192, 0, 2, 2], &mut calm));

        let looks = (1..).find(|_| {
            courtesy.look();
            !wait([192, 0, 2, 2], &mut calm)
        });

        assert_eq!(looks, Some(2));
    }

    #[test]
    fn who_has_left_takes_no_turn() {
        let courtesy = of_turns(2);
        let mut all: Vec<Manners> = (0..6).map(|_| long()).collect();
        let went = all.iter_mut().filter_map(|one| is_ready(&courtesy, one).then_some(()));
        assert_eq!(went.count(), 2);
        all.drain(2..4);

        assert!(courtesy.look());

        assert!(all[2..].iter_mut().all(|one| is_ready(&courtesy, one)));
        assert!(!courtesy.look(), "nobody waits");
    }

    #[tokio::test]
    async fn an_exchange_that_uses_up_what_a_task_may_is_a_long_one() {
        let (courtesy, mut manners) = (Courtesy::among_long(), Manners::default());
        poll_fn(|context| {
            courtesy.end(&Turn::Short, &mut manners);
            assert!(manners.is_short(Instant::now()), "it has done nothing");
            (0..2).for_each(|_| spend(context));
            courtesy.end(&Turn::Short, &mut manners);
            assert!(!manners.is_short(Instant::now()));
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn turns_are_small_where_many_wait() {
        let courtesy = of_turns(1);
        let left = async |manners: &mut Manners| {
            yield_now().await;
            poll_fn(|context| {
                assert!(courtesy.poll(manners, Instant::now(), || None, context).is_ready());
                let mut left = 0;
                while coop::has_budget_remaining() {
                    if let Poll::Ready(spent) = coop::poll_proceed(context) {
                        spent.made_progress();
                    }
                    left += 1;
                }
                Poll::Ready(left)
            })
            .await
        };
        let alone = left(&mut long()).await;
        let mut crowd: Vec<Manners> = (0..CROWD + 1).map(|_| long()).collect();
        assert!(crowd.iter_mut().all(|one| !is_ready(&courtesy, one)), "one has its turn");

        assert_eq!(alone - left(&mut Manners::default()).await, SPENT, "of a short one, too");
        courtesy.look();
        assert_eq!(alone - left(&mut crowd[0]).await, SPENT);
        courtesy.look();
        assert_eq!(left(&mut crowd[1]).await, alone, "fewer wait");
    }
}
