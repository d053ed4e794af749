//! A run: a pool, its endpoints and its users, and what breaks and is mended meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::Instant;

use tenantry::config::spec::{PoolSpec, TimeoutsSpec};
use tenantry::model::address::Address;
use tenantry::model::endpoint::{Endpoint, Health};
use tenantry::model::ids::Label;
use tenantry::model::members::{Found, Members};
use tenantry::model::rules::Rules;
use tenantry::pool::Pool;

use super::book::Book;
use super::cases::Case;
use super::dice::Dice;
use super::gateway::Gateway;
use super::report::Report;
use super::server::{Condition, Form, Server};
use super::timeline::Timeline;
use super::users;

/// All that there is in a run.
pub(crate) struct World {
    pub(crate) timeline: Rc<Timeline>,
    pub(crate) book: Rc<Book>,
    pub(crate) gateway: Rc<Gateway>,
    /// When users come, and whose they are.
    pub(crate) arrivals: Dice,
    /// What else is drawn for users.
    pub(crate) moods: Dice,
    /// What is drawn for faults.
    faults: Dice,
    /// How long work takes.
    work: Rc<Dice>,
    form: Form,
    /// How many times as many users come as usual.
    pub(crate) crowd: Cell<f64>,
    /// Where the source says that endpoints are, the oldest first, and what is there.
    present: RefCell<VecDeque<(Address, Rc<Server>)>>,
    /// All that there were.
    all: RefCell<Vec<Rc<Server>>>,
    /// Those that have left and of whom the source has yet to hear, by when it does.
    leaving: RefCell<VecDeque<(Instant, Address)>>,
    hosts: Cell<u32>,
}

/// Runs a case by a seed. The same seed gives the same report, to the last bit.
pub(crate) fn run(case: &Case, seed: u64) -> Report {
    // What the code under test draws: by which endpoints it picks, and how long it pauses.
    fastrand::seed(seed);
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new(case, seed);
        let began = Instant::now();
        let end = began + case.end;
        world.timeline.begin(Rc::clone(&world.gateway).watch());
        world.timeline.begin(users::come(Rc::clone(&world), case.users, end));
        world.timeline.begin(break_and_mend(Rc::clone(&world), case.clone(), began));
        // Those who came last have their time, too.
        let patience = (case.users.patience + 2 * case.users.pause) * (case.users.retries + 1);
        world.timeline.run_until(end + patience).await;
        world.timeline.end();
        let wasted = world.all.borrow().iter().map(|server| server.wasted()).sum();
        let begun = || world.all.borrow().iter().map(|server| server.begun()).collect::<Vec<_>>();
        let shares = [begun().into_iter().min(), begun().into_iter().max()];
        Report::of(
            (case, seed),
            world.book.close(),
            (wasted, shares.map(Option::unwrap_or_default)),
        )
    })
}

/// Breaks what the case breaks, and mends it.
async fn break_and_mend(world: Rc<World>, case: Case, began: Instant) {
    world.timeline.sleep_until(began + case.fault.0).await;
    let mended = began + case.fault.1;
    case.breaks.begin(&world);
    while Instant::now() < mended {
        case.breaks.go_on(&world);
        world.discover();
        world.timeline.sleep_until(mended.min(Instant::now() + STEP)).await;
    }
    case.breaks.end(&world);
    for _ in 0..case.endpoints {
        if !case.breaks.recover(&world) {
            break;
        }
        world.timeline.sleep(STEP).await;
    }
    // Of whom the source has not heard by then.
    world.timeline.sleep(LAG).await;
    world.discover();
}

impl World {
    fn new(case: &Case, seed: u64) -> Rc<Self> {
        let timeline = Rc::new(Timeline::default());
        let book = Rc::new(Book::begin());
        let mut spec = pool_spec(case.balance);
        (case.tune)(&mut spec);
        let members = Arc::new(Members::new(1, Health::Unchecked, spec.panic_below.share()));
        let rules = Rules::of_panic_share(spec.panic_below.share());
        members.set_rules(Rules { turns: spec.wait.map(|wait| wait.at_once), ..rules });
        let label = Label { name: "simulated".into(), slot: 0 };
        let pool = Pool::build(label, Arc::new(spec), members, 0, None).expect("a pool");
        let gateway = Rc::new(Gateway::new(&timeline, &book, pool, case.users.tenants));
        let [arrivals, moods, faults, work] = [1, 2, 3, 4].map(|what| Dice::of(seed, what));
        let world = Rc::new(Self {
            timeline,
            book,
            gateway,
            arrivals,
            moods,
            faults,
            work: Rc::new(work),
            form: case.form,
            crowd: Cell::new(1.0),
            present: RefCell::default(),
            all: RefCell::default(),
            leaving: RefCell::default(),
            hosts: Cell::default(),
        });
        (0..case.endpoints).for_each(|_| world.join());
        world.tell();
        world.gateway.pool.members.settle();
        world
    }

    /// The first endpoints become so.
    pub(crate) fn turn(&self, count: usize, condition: Condition) {
        self.present.borrow().iter().take(count).for_each(|(_, server)| server.turn(condition));
    }

    /// So many endpoints leave, each other one as a process that dies and the others in peace, and as many join. The source hears
    /// of it later.
    pub(crate) fn churn(&self, count: usize) {
        for nth in 0..count {
            let mut present = self.present.borrow_mut();
            let Some(last) = present.len().checked_sub(1) else { return };
            let place = self.faults.below(last + 1);
            let Some((address, server)) = present.swap_remove_back(place) else { return };
            if nth.is_multiple_of(2) {
                server.turn(Condition::Dead);
            }
            self.leaving.borrow_mut().push_back((Instant::now() + LAG, address));
        }
        (0..count).for_each(|_| self.join());
    }

    /// A check has found that one of those that have died is down, if it was not known of all of them.
    pub(crate) fn find_down(&self) {
        let members = &self.gateway.pool.members;
        let set = members.load();
        let is_dead = |endpoint: &&Arc<Endpoint>| {
            endpoint.health() != Health::Down
                && self.gateway.servers.borrow()[&endpoint.address].condition() == Condition::Dead
        };
        let dead = set.all.iter().map(|member| &member.endpoint).find(is_dead);
        if let Some(endpoint) = dead {
            endpoint.set_health(Health::Down, None);
            members.refresh();
        }
    }

    /// The next one of those that have died is back, and its check has found it. Tells whether there was one.
    pub(crate) fn revive(&self) -> bool {
        let present = self.present.borrow();
        let is_dead = |(_, server): &&(Address, Rc<Server>)| server.condition() == Condition::Dead;
        let Some((address, server)) = present.iter().find(is_dead) else { return false };
        server.turn(Condition::Sound);
        let members = &self.gateway.pool.members;
        for member in members.load().all.iter() {
            if member.endpoint.address == *address {
                member.endpoint.set_health(Health::Up, None);
            }
        }
        members.refresh();
        true
    }

    /// An endpoint comes up. The source tells of it with its next word.
    fn join(&self) {
        let host = self.hosts.get();
        self.hosts.set(host + 1);
        let [_, b, c, d] = host.to_be_bytes();
        let address = Address::from(([10, b, c, d], 80));
        let server = Server::new(&self.timeline, &self.work, self.form);
        self.gateway.serve(address.clone(), Rc::clone(&server));
        self.all.borrow_mut().push(Rc::clone(&server));
        self.present.borrow_mut().push_back((address, server));
    }

    /// The source looks who is there, where somebody has left long enough ago.
    fn discover(&self) {
        let is_due = |first: &(Instant, Address)| first.0 <= Instant::now();
        let mut leaving = self.leaving.borrow_mut();
        let before = leaving.len();
        while leaving.front().is_some_and(is_due) {
            leaving.pop_front();
        }
        let has_changed = leaving.len() < before;
        drop(leaving);
        if has_changed {
            self.tell();
        }
    }

    /// The source tells who is there, as far as it knows.
    fn tell(&self) {
        let (present, leaving) = (self.present.borrow(), self.leaving.borrow());
        let there = present.iter().map(|(address, _)| address);
        let thought = leaving.iter().map(|(_, address)| address);
        let origin: Arc<str> = "simulated".into();
        let found = there.chain(thought);
        let found: Vec<Found> =
            found.map(|address| Found::new(address.clone(), Arc::clone(&origin))).collect();
        self.gateway.pool.members.replace(&found);
    }
}

/// A pool as the files define it where they say no more than the deadlines.
fn pool_spec(balance: &str) -> PoolSpec {
    let timeouts = TimeoutsSpec {
        connect: Some(Duration::from_millis(250)),
        attempt: Some(Duration::from_secs(1)),
        total: Some(Duration::from_secs(5)),
        ..TimeoutsSpec::UNSAID
    };
    PoolSpec { balance: balance.into(), timeouts, ..PoolSpec::default() }
}

/// 100 ms: how often faults that go on do so, and the source looks.
const STEP: Duration = Duration::from_millis(100);
/// 500 ms until the source hears of who has left: a register with leases, or DNS with a short time to live.
const LAG: Duration = Duration::from_millis(500);
