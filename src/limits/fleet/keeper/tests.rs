//! A store that comes and goes.

use std::collections::VecDeque;
use std::sync::Mutex;

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

/// What becomes of what is asked of the store.
#[derive(Clone)]
enum Turn {
    Works,
    Fails(Fault),
    /// It takes so long, and then works.
    Takes(Duration),
}

#[derive(Clone, Default)]
struct Played {
    /// What becomes of the next attempts to open it, then it works.
    opens: Arc<Mutex<VecDeque<Turn>>>,
    /// The same of questions.
    asks: Arc<Mutex<VecDeque<Turn>>>,
    opened: Arc<Mutex<Vec<Instant>>>,
    asked: Arc<Mutex<Vec<Ask>>>,
    words: Arc<Mutex<Words>>,
}

impl Played {
    fn next(turns: &Mutex<VecDeque<Turn>>) -> Turn {
        turns.lock().unwrap().pop_front().unwrap_or(Turn::Works)
    }
}

impl Store for Played {
    async fn open(&mut self) -> Result<(), Fault> {
        self.opened.lock().unwrap().push(Instant::now());
        match Self::next(&self.opens) {
            Turn::Fails(fault) => Err(fault),
            _ => Ok(()),
        }
    }

    async fn ask(&mut self, asks: &[Ask]) -> Result<Vec<Answer>, Fault> {
        let turn = Self::next(&self.asks);
        if let Turn::Takes(time) = turn {
            sleep(time).await;
        }
        if let Turn::Fails(fault) = turn {
            return Err(fault);
        }
        self.asked.lock().unwrap().extend_from_slice(asks);
        let mut words = self.words.lock().unwrap();
        Ok(asks.iter().map(|ask| words.ask(ask, 0)).collect())
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
        let whose = Whose { tenant: "acme", route: None };
        let now = Ticks::of(self.fleet.born.elapsed());
        self.fleet.take(self.ledger.own(), whose, (pace, now))
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
