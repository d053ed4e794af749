//! What is simulated: a pool, its users, and what breaks. Each case says what it promises; docs/simulation.md shows what came of
//! it.

use std::time::Duration;

use tenantry::base::units::Percent;
use tenantry::config::spec::{BreakerSpec, ConcurrencySpec, HedgeSpec, PoolSpec};

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
}

/// What users may expect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// Whether in the end all is as in the beginning.
    pub(crate) returns: Returns,
    /// The share of those that come while it is broken who are served at least.
    pub(crate) content: f64,
    /// Requests to endpoints for each request to the gateway meanwhile, at most.
    pub(crate) sent: f64,
    /// How long after the fault all is as before, at most.
    pub(crate) back: Duration,
}

/// Whether all comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Returns {
    /// It does.
    Surely,
    /// It does not. That is for a pool that has nothing against storms: were it to come back, the simulator would see none.
    Never,
    /// Nobody says so: the page tells what came of it.
    Unsaid,
}

impl Breaks {
    pub(crate) fn begin(self, world: &World) {
        match self {
            Self::Slow(count, times) => world.turn(count, Condition::Slow(times)),
            Self::Failing(count) => world.turn(count, Condition::Failing),
            Self::Unreachable(count) => world.turn(count, Condition::Unreachable),
            Self::Churn(_) => {}
        }
    }

    pub(crate) fn go_on(self, world: &World) {
        if let Self::Churn(count) = self {
            world.churn(count);
        }
    }

    pub(crate) fn end(self, world: &World) {
        match self {
            Self::Slow(count, _) | Self::Failing(count) | Self::Unreachable(count) => {
                world.turn(count, Condition::Sound);
            }
            Self::Churn(_) => {}
        }
    }
}

impl Promise {
    /// Panics where a run has not kept it.
    pub(crate) fn check(&self, report: &Report) {
        let Self { returns, content, sent, back } = *self;
        let during = &report.during;
        report.require("enough are served meanwhile", during.content >= content);
        report.require("no more is sent meanwhile", during.sent <= sent);
        match returns {
            Returns::Surely => {
                report.require("all is in the end as it was", report.has_returned());
                report.require("it is so soon", report.back <= back);
            }
            Returns::Never => {
                let stays = report.after.goodput < report.before.goodput * 0.5;
                report.require("the storm goes on by itself", stays);
            }
            Returns::Unsaid => {}
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
    end: secs(34),
    promise: Promise { returns: Returns::Surely, content: 0.99, sent: 1.2, back: secs(2) },
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
const NOTHING: Promise =
    Promise { returns: Returns::Never, content: 0.0, sent: f64::INFINITY, back: Duration::MAX };

/// Every case, each a row of docs/simulation.md.
pub(crate) const ALL: &[Case] = &[
    Case { name: "one of ten takes 20 times as long: least-request", ..TEN },
    Case { name: "one of ten takes 20 times as long: peak-ewma", balance: "peak-ewma", ..TEN },
    Case {
        name: "one of ten takes 20 times as long: round-robin",
        balance: "round-robin",
        promise: Promise { content: 0.95, sent: 1.3, ..TEN.promise },
        ..TEN
    },
    Case {
        name: "one of ten takes 20 times as long: round-robin, second attempts beside slow ones",
        balance: "round-robin",
        tune: |spec| spec.retry.hedge = Some(HedgeSpec::UNSAID),
        promise: Promise { content: 0.97, sent: 1.35, ..TEN.promise },
        ..TEN
    },
    Case {
        of: Group::Storm,
        name: "half of what all can do is gone for 5 s at 100 % load: 80 at once, others wait for 0.5 s",
        tune: bounded,
        promise: Promise { content: 0.4, sent: 1.1, back: secs(5), ..TEN.promise },
        ..STORM
    },
    Case {
        of: Group::Storm,
        name: "the same without a bound",
        promise: Promise { returns: Returns::Unsaid, ..NOTHING },
        ..STORM
    },
    Case {
        of: Group::Storm,
        name: "the same without a bound, without a budget and without ejection",
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
        promise: Promise { content: 0.0, sent: 1.35, back: secs(3), ..TEN.promise },
        ..TEN
    },
    Case {
        of: Group::Outage,
        name: "all fail for 8 s: breakers",
        tune: |spec| spec.breaker = Some(BREAKER),
        users: Users::calm(1_000.0),
        breaks: Breaks::Failing(10),
        // They look at ten seconds: what was served before counts for half of that.
        promise: Promise { content: 0.0, sent: 1.0, back: secs(11), ..TEN.promise },
        ..TEN
    },
    Case {
        of: Group::Herd,
        name: "nobody is reached for 8 s, and users ask again: the herd after it",
        users: Users { retries: 3, pause: secs(1), ..Users::calm(800.0) },
        breaks: Breaks::Unreachable(10),
        promise: Promise { content: 0.2, sent: 1.35, back: secs(10), ..TEN.promise },
        ..TEN
    },
    Case {
        of: Group::Herd,
        name: "nobody is reached for 8 s, and users ask again: 80 at once, others wait for 0.5 s",
        tune: bounded,
        users: Users { retries: 3, pause: secs(1), ..Users::calm(800.0) },
        breaks: Breaks::Unreachable(10),
        promise: Promise { content: 0.2, sent: 1.35, back: secs(3), ..TEN.promise },
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
        promise: Promise { returns: Returns::Surely, content: 0.99, sent: 1.2, back: secs(2) },
        ..TEN
    },
];

/// As many at once as the endpoints can work on, and as many in their queues.
pub(crate) fn bounded(spec: &mut PoolSpec) {
    let wait = Duration::from_millis(500);
    spec.concurrency = Some(ConcurrencySpec { limit: 80, length: 100, wait, adaptive: None });
}

/// Each failure is tried again, and no endpoint is given a rest.
fn defenceless(spec: &mut PoolSpec) {
    spec.retry.budget = Some(Percent::new(100.0));
    spec.retry.budget_floor = Some(1_000_000);
    spec.eject.failures = 0;
    spec.eject.success_rate = None;
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
