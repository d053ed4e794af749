//! A store that comes and goes.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use crate::base::memory::Account;
use crate::base::tasks::Tasks;
use crate::base::units::{Percent, Rate};
use crate::config::spec::RateSpec;
use crate::limits::Shared;
use crate::limits::fleet::store::Ask;
use crate::limits::fleet::tests::Words;
use crate::limits::fleet::{Held, Whose};
use crate::limits::gcra::Pace;
use crate::limits::ledger::Ledger;

use super::*;

const A_SECOND: u64 = Ticks::A_SECOND;
const ACME: Whose<'_> = Whose { tenant: "acme", route: None };

/// What becomes of what is asked of the store.
#[derive(Clone)]
enum Turn {
    Works,
    Fails(Fault),
    /// It takes so long, and then works.
    Takes(Duration),
}

#[derive(Clone)]
struct Played {
    born: Instant,
    /// What becomes of questions that nothing else is said of.
    usual: Arc<Mutex<Turn>>,
    /// What becomes of the next attempts to open it, then it works.
    opens: Arc<Mutex<VecDeque<Turn>>>,
    /// The same of questions.
    asks: Arc<Mutex<VecDeque<Turn>>>,
    opened: Arc<Mutex<Vec<Instant>>>,
    asked: Arc<Mutex<Vec<Ask>>>,
    words: Arc<Mutex<Words>>,
}

impl Default for Played {
    fn default() -> Self {
        let usual = Arc::new(Mutex::new(Turn::Works));
        let (opens, asks, words) = (Arc::default(), Arc::default(), Arc::default());
        let (opened, asked) = (Arc::default(), Arc::default());
        Self { born: Instant::now(), usual, opens, asks, opened, asked, words }
    }
}

impl Played {
    fn next(turns: &Mutex<VecDeque<Turn>>) -> Option<Turn> {
        turns.lock().unwrap().pop_front()
    }

    /// It takes so long from now on, half of that on the way there.
    fn takes(&self, milliseconds: u64) {
        *self.usual.lock().unwrap() = Turn::Takes(Duration::from_millis(milliseconds));
    }
}

impl Store for Played {
    async fn open(&mut self) -> Result<(), Fault> {
        self.opened.lock().unwrap().push(Instant::now());
        match Self::next(&self.opens) {
            Some(Turn::Fails(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    async fn ask(&mut self, asks: &[Ask]) -> Result<Vec<Answer>, Fault> {
        let usual = self.usual.lock().unwrap().clone();
        let half = match Self::next(&self.asks).unwrap_or(usual) {
            Turn::Works => None,
            Turn::Fails(fault) => return Err(fault),
            Turn::Takes(time) => Some(time / 2),
        };
        if let Some(half) = half {
            sleep(half).await;
        }
        self.asked.lock().unwrap().extend_from_slice(asks);
        let now = A_SECOND + Ticks::of(self.born.elapsed()).0;
        let answers = {
            let mut words = self.words.lock().unwrap();
            asks.iter().map(|ask| words.ask(ask, now)).collect()
        };
        if let Some(half) = half {
            sleep(half).await;
        }
        Ok(answers)
    }

    fn place(&self) -> &str {
        "played"
    }
}

struct World {
    fleet: Arc<Fleet>,
    store: Played,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    tasks: Tasks,
}

impl World {
    fn start(store: Played) -> Self {
        let (fleet, arrivals) = Fleet::new(Percent::new(20.0));
        let metrics = Arc::new(Metrics::new());
        let whom = (Arc::clone(&fleet), arrivals);
        let patience = Duration::from_millis(50);
        let keeper = Keeper::new(whom, (store.clone(), "test"), patience, Arc::clone(&metrics));
        let mut tasks = Tasks::new("test");
        tasks.spawn(|stop| keeper.run(stop));
        let some = Some(Arc::clone(&fleet));
        let shared = Shared::with_fleet(1 << 16, Account::unlimited(), Arc::default(), some);
        let ledger = Ledger::new(&shared, "acme");
        Self { fleet, store, metrics, ledger, tasks }
    }

    fn take(&self) -> Result<Held, crate::limits::gcra::Later> {
        let rate = Rate { count: 1, per: Duration::from_secs(3600) };
        let pace = Pace::of(&RateSpec { rate, burst: 10 });
        self.fleet.take(self.ledger.own(), ACME, (pace, self.now()))
    }

    fn now(&self) -> Ticks {
        Ticks::of(self.fleet.born.elapsed())
    }

    /// Whether a request comes through, by its own count and by what is shared.
    fn admits(&self, pace: Pace) -> bool {
        let (cell, now) = (self.ledger.own(), self.now());
        let Ok(grant) = cell.meter.take(pace, now, Ticks(0)) else { return false };
        let taken = self.fleet.take(cell, ACME, (pace, now));
        if taken.is_err() {
            cell.meter.give_back(pace, grant, now);
        }
        taken.is_ok()
    }

    /// A request that waits for its slot here, and then for room.
    async fn waits(&self, pace: Pace) {
        let cell = Arc::clone(self.ledger.own());
        cell.undecided.fetch_add(1, Ordering::Relaxed);
        let grant = cell.meter.take(pace, self.now(), Ticks(1000 * A_SECOND)).unwrap();
        sleep(Ticks(grant.at.saturating_sub(self.now().0)).duration()).await;
        if self.fleet.take_late(&cell, ACME, (pace, self.now())).is_err() {
            self.fleet.stand(&cell, ACME).turn().await;
        }
        cell.undecided.fetch_sub(1, Ordering::Relaxed);
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.render().unwrap().lines().any(|shown| shown == line)
    }
}

fn refused() -> Turn {
    Turn::Fails(Fault::Unreachable("refused".to_owned()))
}

async fn wait(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_not_there_is_looked_for_less_and_less_often() {
    let store = Played::default();
    store.opens.lock().unwrap().extend(vec![refused(); 12]);
    let world = World::start(store);
    wait(1).await;
    assert_eq!(world.take(), Ok(Held::Own), "each gateway holds its limits alone");

    wait(120_000).await;

    let opened = world.store.opened.lock().unwrap().clone();
    assert_eq!(opened.len(), 13);
    for (at, pair) in opened.windows(2).enumerate() {
        let longest = Duration::from_millis((100 << at.min(10)).min(5000));
        let pause = pair[1] - pair[0];
        let slack = Duration::from_millis(2);
        assert!(pause + slack >= longest / 2 && pause <= longest + slack, "{at}: {pause:?}");
    }
    assert_eq!(world.fleet.mode(), Mode::Shared);
    assert!(world.shows("tenantry_shared_limits_up 1"));
    assert!(world.shows("tenantry_shared_limits_calls_total{result=\"unreachable\"} 12"));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_store_that_is_late_and_what_passes_is_counted() {
    let world = World::start(Played::default());
    wait(1).await;
    world.store.asks.lock().unwrap().push_back(Turn::Takes(Duration::from_millis(100)));
    assert_eq!(world.take(), Ok(Held::Shared));
    wait(10).await;
    assert_eq!(world.fleet.mode(), Mode::Shared);
    wait(50).await;
    assert_eq!(world.fleet.mode(), Mode::Late);
    for _ in 0..5 {
        assert_eq!(world.take(), Ok(Held::Shared));
    }
    wait(100).await;

    assert_eq!(world.fleet.mode(), Mode::Shared);
    let spent: u64 = world.store.asked.lock().unwrap().iter().map(|ask| ask.spent).sum();
    let held: u64 = world.store.asked.lock().unwrap().iter().map(|ask| ask.wanted).sum();
    assert!(spent + held >= 6, "{spent} {held}");
    assert!(world.shows("tenantry_shared_limits_requests_total{kind=\"given_back\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_lost_is_told_once_and_shared_again_when_it_is_back() {
    let world = World::start(Played::default());
    wait(1).await;
    assert!(world.fleet.standing().is_shared);
    let fault = Fault::ReadOnly("a replica".to_owned());
    world.store.asks.lock().unwrap().push_back(Turn::Fails(fault.clone()));
    world.store.opens.lock().unwrap().extend([refused(), refused()]);

    assert_eq!(world.take(), Ok(Held::Shared));
    wait(20).await;

    assert_eq!(world.take(), Ok(Held::Own));
    let standing = world.fleet.standing();
    assert_eq!(standing.fault, Some(fault.to_string()), "what it was lost by");
    wait(1000).await;
    assert_eq!(world.take(), Ok(Held::Shared));
    assert_eq!(world.fleet.standing().fault, None);
    assert!(world.shows("tenantry_shared_limits_calls_total{result=\"read_only\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_ends_gives_back_what_it_has() {
    let world = World::start(Played::default());
    wait(1).await;
    for _ in 0..3 {
        assert_eq!(world.take(), Ok(Held::Shared));
    }
    wait(20).await;
    world.tasks.stop(Duration::from_secs(1)).await;

    let asked = world.store.asked.lock().unwrap();
    let sum = |of: fn(&Ask) -> u64| asked.iter().map(of).sum::<u64>();
    let (spent, back) = (sum(|ask| ask.spent), sum(|ask| ask.back));
    assert_eq!((spent, back), (3, 6), "{asked:?}");
}

fn pace(count: u32, burst: u32) -> Pace {
    Pace::of(&RateSpec { rate: Rate { count, per: Duration::from_secs(1) }, burst })
}

/// How many come through in so many seconds, of 20 at each that come each millisecond.
async fn admitted(all: &[World], pace: Pace, seconds: u64) -> u64 {
    admitted_of(20, all, pace, seconds).await
}

/// The same of so many at each.
async fn admitted_of(each: u64, all: &[World], pace: Pace, seconds: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..seconds * 1000 {
        for world in all {
            admitted += (0..each).filter(|_| world.admits(pace)).count() as u64;
        }
        wait(1).await;
    }
    admitted
}

#[tokio::test(start_paused = true)]
async fn gateways_whose_store_is_always_late_let_through_what_one_would() {
    for milliseconds in [30, 60, 150] {
        let store = Played::default();
        store.takes(milliseconds);
        let all: Vec<_> = (0..3).map(|_| World::start(store.clone())).collect();
        wait(1).await;
        let pace = pace(100, 100);
        admitted(&all, pace, 6).await; // what they have had too much at first is made up for

        let admitted = admitted(&all, pace, 20).await;

        assert!((1700..=2300).contains(&admitted), "{milliseconds}: {admitted}");
        let is_late = milliseconds > 50;
        assert_eq!(all[0].fleet.is_late(), is_late, "{milliseconds}");
        assert_eq!(all[0].shows("tenantry_shared_limits_late_seconds_total 0"), !is_late);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_gateways_that_were_ahead_of_a_late_store_make_up_for_it_and_then_have_the_rate() {
    let store = Played::default();
    store.takes(150);
    let all: Vec<_> = (0..10).map(|_| World::start(store.clone())).collect();
    wait(1).await;
    let pace = pace(100, 100);

    let first = admitted_of(2, &all, pace, 14).await;
    let then = admitted_of(2, &all, pace, 20).await;

    // A burst of each, before any of them has heard of another one.
    assert!((1000..=100 + 1400 + 10 * 100).contains(&first), "{first}");
    assert!((1800..=2200).contains(&then), "{then}");
}

#[tokio::test(start_paused = true)]
async fn a_fast_limit_of_one_gateway_is_used_to_its_end() {
    // In the second case a burst is used up before the store has answered.
    for (burst, milliseconds, least) in [(100, 1, 29_000), (100, 10, 24_000), (1000, 45, 29_000)] {
        let store = Played::default();
        store.takes(milliseconds);
        let all = [World::start(store)];
        wait(1).await;
        let pace = pace(10_000, burst);
        admitted(&all, pace, 1).await;

        let admitted = admitted(&all, pace, 3).await;

        assert!((least..=30_000).contains(&admitted), "{burst} {milliseconds}: {admitted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_line_moves_at_the_rate() {
    for (gateways, count, burst, milliseconds) in
        [(1, 20, 1, 1), (1, 100, 10, 1), (2, 100, 50, 5), (3, 1000, 100, 60)]
    {
        let store = Played::default();
        store.takes(milliseconds);
        let all: Vec<_> = (0..gateways).map(|_| World::start(store.clone())).collect();
        wait(1).await;
        let (pace, each) = (pace(count, burst), 5 * count as usize / gateways);
        let begun = Instant::now();

        let waiting = all.iter().flat_map(|world| (0..each).map(|_| world.waits(pace)));
        futures_util::future::join_all(waiting).await;

        let took = begun.elapsed();
        let (least, most) = (Duration::from_millis(3500), Duration::from_millis(5800));
        assert!((least..=most).contains(&took), "{gateways} {count} {burst}: {took:?}");
    }
}
