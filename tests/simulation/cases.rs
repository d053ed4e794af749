//! What is simulated: a pool, its users, and what breaks. Each case says what it promises; docs/simulation.md shows what came of
//! it.

use std::time::Duration;

use tenantry::base::units::{ByteSize, Percent};
use tenantry::config::spec::{
    AdaptiveSpec, BreakerSpec, ConcurrencySpec, HedgeSpec, PoolSpec, WaitSpec,
};

use super::report::Report;
use super::server::{Condition, Form};
use super::users::Users;
use super::world::World;

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) of: Group,
    /// Its row of docs/simulation.md.
    pub(crate) name: &'static str,
    pub(crate) endpoints: usize,
    pub(crate) form: Form,
    pub(crate) balance: &'static str,
    /// What the pool's definition says beside the defaults.
    pub(crate) tune: fn(&mut PoolSpec),
    pub(crate) users: Users,
    pub(crate) breaks: Breaks,
    /// From when to when.
    pub(crate) fault: (Duration, Duration),
    /// Until when users come.
    pub(crate) end: Duration,
    pub(crate) promise: Promise,
}

/// What cases are about, each of which is a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// One endpoint of ten is slow.
    Slow,
    /// A storm of retries at 100 % load.
    Storm,
    /// All fail.
    Outage,
    /// The herd that comes once a partition is over.
    Herd,
    /// Endpoints come and go.
    Churn,
    /// More users come than can be served.
    Crowd,
    /// Requests wait until somebody is back.
    Wait,
    /// Whatever a seed draws.
    Drawn,
}

/// What breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Breaks {
    /// So many endpoints take so many times as long.
    Slow(usize, f64),
    /// So many answer 503.
    Failing(usize),
    /// So many are behind a network that lets nothing through.
    Unreachable(usize),
    /// So many leave and join each tenth of a second.
    Churn(usize),
    /// So many die, are found to be down one after the other, and come back so.
    Restarts(usize),
    /// So many times as many users come.
    Crowd(f64),
}

/// What users may expect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// Whether in the end all is as in the beginning.
    pub(crate) returns: Returns,
    /// The share of those that come while it is broken who are served at least.
    pub(crate) content: f64,
    /// How many are served in the last quarter of that time for each that was before, at least.
    pub(crate) held: f64,
    /// Requests to endpoints for each request to the gateway meanwhile, at most.
    pub(crate) sent: f64,
    /// How long after the fault all is as before, at most.
    pub(crate) back: Duration,
    /// How long 99 of 100 requests have waited at most that are refused meanwhile.
    pub(crate) refused: Duration,
    /// Whether the pool is found to be overrun and is bounded; `None`: nobody says so.
    pub(crate) bound: Option<bool>,
    /// How many requests the endpoint has that has the most, for each of the one that has the fewest, at most.
    pub(crate) even: f64,
    /// How many times as long as before 99 of 100 requests take meanwhile at most.
    pub(crate) slower: f64,
}

/// Whether all comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Returns {
    /// It does.
    Surely,
    /// As many are served as before. Of those who come a few more are left out: more come than can be served, and there is no queue
    /// any more that only grows.
    Goodput,
    /// It does not. That is for a pool that has nothing against storms: were it to come back, the simulator would see none.
    Never,
}

impl Breaks {
    pub(crate) fn begin(self, world: &World) {
        match self {
            Self::Slow(count, times) => world.turn(count, Condition::Slow(times)),
            Self::Failing(count) => world.turn(count, Condition::Failing),
            Self::Unreachable(count) => world.turn(count, Condition::Unreachable),
            Self::Restarts(count) => world.turn(count, Condition::Dead),
            Self::Crowd(times) => world.crowd.set(times),
            Self::Churn(_) => {}
        }
    }

    pub(crate) fn go_on(self, world: &World) {
        match self {
            Self::Churn(count) => world.churn(count),
            Self::Restarts(_) => world.find_down(),
            _ => {}
        }
    }

    pub(crate) fn end(self, world: &World) {
        match self {
            Self::Slow(count, _) | Self::Failing(count) | Self::Unreachable(count) => {
                world.turn(count, Condition::Sound);
            }
            Self::Crowd(_) => world.crowd.set(1.0),
            Self::Churn(_) | Self::Restarts(_) => {}
        }
    }

    /// What takes a while goes on to be mended. Tells whether there is more of it.
    pub(crate) fn recover(self, world: &World) -> bool {
        matches!(self, Self::Restarts(_)) && world.revive()
    }
}

impl Promise {
    /// Panics where a run has not kept it.
    pub(crate) fn check(&self, report: &Report) {
        let Self { returns, content, held, sent, back, refused, bound, even, slower } = *self;
        let during = &report.during;
        report.require("enough are served meanwhile", during.content >= content);
        let goes_on = report.held.goodput >= report.before.goodput * held;
        report.require("enough are served at last, while it is broken still", goes_on);
        report.require("no more is sent meanwhile", during.sent <= sent);
        report.require("who is refused hears of it soon", during.refused <= refused);
        let [fewest, most] = report.shares.map(|begun| begun as f64);
        report.require("endpoints have even shares", most <= even * fewest.max(1.0));
        let p99 = [report.before.p99, during.p99].map(|p99| p99.as_secs_f64());
        report.require("it is not much slower meanwhile", p99[1] <= p99[0] * slower);
        match returns {
            Returns::Surely => {
                report.require("all is in the end as it was", report.has_returned());
                report.require("it is so soon", report.back <= back);
            }
            Returns::Goodput => {
                let is_served = report.after.goodput >= report.before.goodput * 0.9;
                report.require("as many are served in the end as before", is_served);
            }
            Returns::Never => {
                let stays = report.after.goodput < report.before.goodput * 0.5;
                report.require("the storm goes on by itself", stays);
            }
        }
        if let Some(bound) = bound {
            report.require("it is bounded where it is overrun alone", (report.bounds > 0) == bound);
        }
    }
}

/// Ten endpoints that bear 2,000 requests a second, and users that ask for 60 % of it.
pub(crate) const TEN: Case = Case {
    of: Group::Slow,
    name: "",
    endpoints: 10,
    form: Form::USUAL,
    balance: "least-request",
    tune: |_| (),
    users: Users::calm(1_200.0),
    breaks: Breaks::Slow(1, 20.0),
    fault: (secs(6), secs(14)),
    end: secs(30),
    promise: PROMISE,
};

const PROMISE: Promise = Promise {
    returns: Returns::Surely,
    content: 0.99,
    held: 0.0,
    sent: 1.2,
    back: secs(2),
    refused: Duration::MAX,
    bound: Some(false),
    even: f64::INFINITY,
    slower: f64::INFINITY,
};

/// Users ask for all that there is, and again where they get nothing. Endpoints let so many wait that they wait in vain.
const STORM: Case = Case {
    of: Group::Storm,
    form: Form { backlog: 1024, ..Form::USUAL },
    users: Users { retries: 2, pause: Duration::from_millis(500), ..Users::calm(2_000.0) },
    breaks: Breaks::Slow(10, 2.0),
    fault: (secs(5), secs(10)),
    end: secs(25),
    ..TEN
};

/// What a pool promises that has nothing against storms.
const NOTHING: Promise = Promise {
    returns: Returns::Never,
    content: 0.0,
    sent: f64::INFINITY,
    back: Duration::MAX,
    ..PROMISE
};

/// What a pool promises at full load that is bounded once it is overrun.
const BOUND: Promise =
    Promise { returns: Returns::Goodput, content: 0.0, sent: 1.3, bound: Some(true), ..PROMISE };

/// Half of what endpoints can do is asked of them, and then half as much again as they can.
const CROWD: Case = Case {
    of: Group::Crowd,
    form: Form { backlog: 1024, ..Form::USUAL },
    users: Users::calm(1_000.0),
    breaks: Breaks::Crowd(3.0),
    end: secs(26),
    // Two of three can be served.
    promise: Promise { content: 0.6, sent: 1.0, refused: Duration::from_millis(1), ..PROMISE },
    ..TEN
};

/// All endpoints restart at once, and users have the patience to wait for them.
const WAIT: Case = Case {
    of: Group::Wait,
    tune: waiting,
    users: Users { patience: secs(10), ..Users::calm(300.0) },
    breaks: Breaks::Restarts(10),
    fault: (secs(6), secs(10)),
    end: secs(24),
    // Until most of them are known to be down, and before most are back, requests go to some that are down and fail there.
    promise: Promise { content: 0.9, sent: 4.0, ..PROMISE },
    ..TEN
};

/// Nothing breaks, and some requests take far longer than others.
const UNEVEN: Case = Case {
    tune: patient,
    users: Users { patience: secs(20), ..Users::calm(600.0) },
    breaks: Breaks::Slow(0, 1.0),
    promise: Promise { even: 1.8, ..PROMISE },
    ..TEN
};

/// Every case, each a row of docs/simulation.md.
pub(crate) const ALL: &[Case] = &[
    Case {
        name: "one of ten takes 20 times as long: least-request",
        promise: Promise { slower: 1.4, ..PROMISE },
        ..TEN
    },
    Case {
        name: "three of ten take 20 times as long, at 30 % load: least-request",
        users: Users::calm(600.0),
        breaks: Breaks::Slow(3, 20.0),
        promise: Promise { slower: 7.0, ..PROMISE },
        ..TEN
    },
    Case {
        name: "one of two takes 20 times as long, at 30 % load: least-request",
        endpoints: 2,
        users: Users::calm(120.0),
        promise: Promise { slower: 7.0, ..PROMISE },
        ..TEN
    },
    Case {
        name: "one of ten takes 3 times as long, at 91 % of what is left: least-request",
        users: Users::calm(1_700.0),
        breaks: Breaks::Slow(1, 3.0),
        promise: Promise { slower: 4.0, ..PROMISE },
        ..TEN
    },
    Case {
        name: "all take 3 times as long, at 25 % load: least-request",
        users: Users::calm(500.0),
        breaks: Breaks::Slow(10, 3.0),
        ..TEN
    },
    Case {
        name: "nothing breaks, and one request of a hundred takes 2 s: least-request",
        form: Form { slots: 60, heavy: 100, ..Form::USUAL },
        ..UNEVEN
    },
    Case {
        name: "nothing breaks, and one request of five takes 2 s: least-request",
        form: Form { slots: 300, heavy: 5, ..Form::USUAL },
        ..UNEVEN
    },
    Case { name: "one of ten takes 20 times as long: peak-ewma", balance: "peak-ewma", ..TEN },
    Case {
        name: "one of ten takes 20 times as long: round-robin",
        balance: "round-robin",
        promise: Promise { content: 0.95, sent: 1.3, ..PROMISE },
        ..TEN
    },
    Case {
        name: "one of ten takes 20 times as long: round-robin, second attempts beside slow ones",
        balance: "round-robin",
        tune: |spec| spec.retry.hedge = Some(HedgeSpec::UNSAID),
        promise: Promise { content: 0.97, sent: 1.35, ..PROMISE },
        ..TEN
    },
    Case {
        of: Group::Storm,
        name: "half of what all can do is gone for 5 s at 100 % load: 80 at once, others wait for 0.5 s",
        tune: bounded,
        promise: Promise { content: 0.4, sent: 1.1, back: secs(5), ..PROMISE },
        ..STORM
    },
    Case {
        of: Group::Storm,
        name: "the same by default: a bound while it is overrun",
        // It is bound while what was under way before is worked off, and until those are back who were ejected before.
        end: secs(35),
        promise: BOUND,
        ..STORM
    },
    Case {
        of: Group::Storm,
        name: "the same by default, with an attempt of 15 s, the default of that",
        tune: patient,
        end: secs(45),
        promise: BOUND,
        ..STORM
    },
    Case {
        of: Group::Storm,
        name: "the same without any bound, without a budget and without ejection",
        tune: defenceless,
        promise: NOTHING,
        ..STORM
    },
    Case {
        of: Group::Outage,
        name: "all fail for 8 s: the usual budget",
        users: Users::calm(1_000.0),
        breaks: Breaks::Failing(10),
        // 20 %, ten a second for each tenant, and a hundred that each has saved up.
        promise: Promise { content: 0.0, sent: 1.35, back: secs(3), ..PROMISE },
        ..TEN
    },
    Case {
        of: Group::Outage,
        name: "all fail for 8 s: breakers",
        tune: |spec| spec.breaker = Some(BREAKER),
        users: Users::calm(1_000.0),
        breaks: Breaks::Failing(10),
        // They look at ten seconds: what was served before counts for half of that.
        promise: Promise { content: 0.0, sent: 1.0, back: secs(11), ..PROMISE },
        ..TEN
    },
    Case {
        of: Group::Herd,
        name: "nobody is reached for 8 s, and users ask again: the herd after it",
        users: Users { retries: 3, pause: secs(1), ..Users::calm(800.0) },
        breaks: Breaks::Unreachable(10),
        promise: Promise { content: 0.2, sent: 1.35, back: secs(10), ..PROMISE },
        ..TEN
    },
    Case {
        of: Group::Herd,
        name: "nobody is reached for 8 s, and users ask again: 80 at once, others wait for 0.5 s",
        tune: bounded,
        users: Users { retries: 3, pause: secs(1), ..Users::calm(800.0) },
        breaks: Breaks::Unreachable(10),
        promise: Promise { content: 0.2, sent: 1.35, back: secs(3), ..PROMISE },
        ..TEN
    },
    Case {
        of: Group::Churn,
        name: "10 % of 1,000 endpoints a second leave, half of them by dying, and others join",
        endpoints: 1_000,
        form: Form { slots: 1, service: Duration::from_millis(250), ..Form::USUAL },
        tune: |spec| {
            spec.timeouts.attempt = Some(secs(6));
            spec.timeouts.total = Some(secs(10));
        },
        users: Users { patience: secs(8), ..Users::calm(2_000.0) },
        breaks: Breaks::Churn(10),
        fault: (secs(6), secs(12)),
        end: secs(18),
        ..TEN
    },
    Case {
        of: Group::Slow,
        name: "one of ten takes 20 times as long: round-robin and an adaptive limit",
        balance: "round-robin",
        tune: adaptive,
        promise: Promise { content: 0.9, sent: 1.3, ..PROMISE },
        ..TEN
    },
    Case {
        of: Group::Slow,
        name: "all take 3 times as long for 8 s: an adaptive limit",
        tune: adaptive,
        breaks: Breaks::Slow(10, 3.0),
        end: secs(26),
        promise: Promise { content: 0.4, sent: 1.0, back: secs(5), ..PROMISE },
        ..TEN
    },
    Case {
        of: Group::Storm,
        name: "half of what all can do is gone for 5 s at 100 % load: an adaptive limit",
        tune: adaptive,
        promise: Promise { content: 0.4, sent: 1.1, back: secs(5), ..PROMISE },
        ..STORM
    },
    Case { name: "150 % load for 8 s: an adaptive limit", tune: adaptive, ..CROWD },
    Case { name: "150 % load for 8 s: 80 at once", tune: bounded, ..CROWD },
    Case {
        name: "150 % load for 8 s, by default: a bound while it is overrun",
        promise: Promise {
            content: 0.1,
            sent: 1.3,
            back: secs(6),
            refused: secs(3),
            bound: Some(true),
            ..PROMISE
        },
        ..CROWD
    },
    Case {
        name: "150 % load for 8 s, by default, with an attempt of 15 s",
        tune: patient,
        end: secs(45),
        promise: Promise {
            content: 0.1,
            sent: 1.3,
            back: secs(15),
            refused: secs(3),
            bound: Some(true),
            ..PROMISE
        },
        ..CROWD
    },
    Case {
        name: "140 % load for 120 s, by default, with users who wait for 15 s",
        endpoints: 4,
        form: Form { service: Duration::from_millis(40), backlog: 4096, ..Form::USUAL },
        tune: patient,
        users: Users { patience: secs(20), ..Users::calm(200.0) },
        breaks: Breaks::Crowd(2.8),
        fault: (secs(36), secs(156)),
        end: secs(190),
        // They are busy with what came before it was bounded for most of the time. Then they do nearly all that they can: twice
        // as much as before.
        promise: Promise {
            content: 0.3,
            held: 1.7,
            sent: 1.0,
            back: secs(5),
            refused: secs(3),
            bound: Some(true),
            ..PROMISE
        },
        ..CROWD
    },
    Case {
        name: "nothing breaks, and 300 are under way",
        form: Form { slots: 60, service: Duration::from_millis(250), ..Form::USUAL },
        breaks: Breaks::Slow(0, 1.0),
        ..TEN
    },
    Case {
        name: "nothing breaks, requests take 5 s, and a fifth of the users leave before",
        form: Form { slots: 200, service: secs(5), ..Form::USUAL },
        tune: patient,
        users: Users { patience: secs(8), ..Users::calm(100.0) },
        breaks: Breaks::Slow(0, 1.0),
        fault: (secs(14), secs(16)),
        promise: Promise { content: 0.7, back: Duration::MAX, ..PROMISE },
        ..TEN
    },
    Case {
        name: "five of ten answer nobody for 8 s: round-robin, and nobody is ejected",
        balance: "round-robin",
        tune: |spec| {
            spec.eject.failures = 0;
            spec.eject.success_rate = None;
        },
        breaks: Breaks::Unreachable(5),
        promise: Promise { content: 0.7, sent: 2.0, ..PROMISE },
        ..TEN
    },
    Case { name: "all restart for 4 s, and requests wait", ..WAIT },
    Case {
        name: "all restart for 4 s, and requests wait: four times as many, who ask again, and 80 at once",
        tune: |spec| {
            bounded(spec);
            waiting(spec);
        },
        users: Users { retries: 2, pause: secs(1), patience: secs(10), ..Users::calm(1_200.0) },
        promise: Promise { content: 0.35, sent: 4.0, back: secs(5), ..PROMISE },
        ..WAIT
    },
];

/// As many at once as the endpoints can work on, and as many in their queues.
pub(crate) fn bounded(spec: &mut PoolSpec) {
    let wait = Duration::from_millis(500);
    spec.concurrency = Some(ConcurrencySpec { limit: 80, length: 100, wait, adaptive: None });
}

/// As many at once as it finds that they bear.
pub(crate) fn adaptive(spec: &mut PoolSpec) {
    let (wait, limit) = (Duration::from_millis(500), ADAPTIVE.min);
    let adaptive = Some(ADAPTIVE);
    spec.concurrency = Some(ConcurrencySpec { limit, length: 50, wait, adaptive });
}

/// `concurrency = "adaptive"`.
const ADAPTIVE: AdaptiveSpec = AdaptiveSpec { min: 20, max: 1_000, tolerance: 1.5 };

/// `wait = "5s"`, and a deadline that leaves room for it.
fn waiting(spec: &mut PoolSpec) {
    let memory = ByteSize(64 * 1024 * 1024);
    spec.wait = Some(WaitSpec { time: secs(5), length: 2_000, memory, at_once: 8 });
    spec.timeouts.total = Some(secs(12));
}

/// Requests may take longer than they usually do.
fn patient(spec: &mut PoolSpec) {
    spec.timeouts.attempt = Some(secs(15));
    spec.timeouts.total = Some(secs(30));
}

/// Each failure is tried again, and no endpoint is given a rest.
fn defenceless(spec: &mut PoolSpec) {
    spec.retry.budget = Some(Percent::new(100.0));
    spec.retry.budget_floor = Some(1_000_000);
    spec.eject.failures = 0;
    spec.eject.success_rate = None;
    spec.overrun = None;
}

pub(crate) const BREAKER: BreakerSpec = BreakerSpec {
    failures: Percent::new(50.0),
    requests: 20,
    window: secs(10),
    open: secs(2),
    max: secs(10),
    trials: 3,
    whole_pool: false,
};

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
