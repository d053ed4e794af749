//! How long the first attempts of routes take that want second ones, and which endpoints always lose to those,
//! as one worker sees it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::ids::{EndpointId, Label};
use crate::resilience::hedging::HedgeRule;
use crate::resilience::latencies::Latencies;
use crate::routing::route::Route;

/// What a worker knows of routes that want second attempts.
#[derive(Debug, Default)]
pub(super) struct Delays {
    known: RefCell<HashMap<u64, Known>>,
    losers: RefCell<HashMap<EndpointId, Losses>>,
    tidied: Cell<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Known {
    latencies: Latencies,
    /// What was told for a quantile, and how many attempts ago.
    told: Option<(u8, Option<Duration>)>,
    since: u32,
    is_used: bool,
}

/// First attempts in a row at an endpoint that were given up for want of an answer.
#[derive(Clone, Copy, Debug)]
struct Losses {
    count: u32,
    since: Instant,
    last: Instant,
}

/// What is known of how long an attempt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// It took so long.
    Whole(Duration),
    /// It was given up after so long.
    AtLeast(Duration),
    /// It failed, which may come at once.
    None,
}

/// Routes of one name to one pool are told together: it is the same endpoints and the same path.
pub(super) fn key(pool: &Label, route: Option<&Route>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (pool.slot, route.map(|route| &route.name)).hash(&mut hasher);
    hasher.finish()
}

impl Delays {
    /// After how long a second attempt goes; `None` while too little is known.
    pub(super) fn of(&self, key: u64, rule: &HedgeRule<'_>) -> Option<Duration> {
        let percent = rule.after;
        let mut known = self.known.borrow_mut();
        let known = known.get_mut(&key)?;
        known.is_used = true;
        let told = match known.told {
            Some((of, told)) if of == percent && known.since < LOOK => told,
            _ => {
                let told = known.latencies.quantile(percent);
                (known.told, known.since) = (Some((percent, told)), 0);
                told
            }
        };
        told.map(|delay| delay.max(rule.floor))
    }

    /// Learns of an attempt beside which another one goes after `delay`. One that is given up counts as one
    /// that takes a little less than `delay`: were it more, endpoints that hang would move the quantile
    /// into the times of those that were given up, which grow with it.
    pub(super) fn learn(&self, key: u64, delay: Option<Duration>, measure: Measure) {
        match (measure, delay) {
            (Measure::Whole(took), _) => self.observe(key, took),
            (Measure::AtLeast(took), Some(delay)) => {
                self.observe(key, took.min(delay.saturating_sub(TICK)));
            }
            (Measure::AtLeast(_), None) | (Measure::None, _) => {}
        }
    }

    fn observe(&self, key: u64, took: Duration) {
        let mut known = self.known.borrow_mut();
        if known.len() >= MOST && !known.contains_key(&key) {
            return;
        }
        let known = known.entry(key).or_default();
        known.latencies.observe(took);
        known.is_used = true;
        known.since += 1;
    }

    /// An endpoint has answered.
    pub(super) fn answers(&self, endpoint: EndpointId) {
        self.losers.borrow_mut().remove(&endpoint);
    }

    /// A first attempt at an endpoint was given up, since the second one has brought an answer. Tells
    /// whether that is a failure: one may be bad luck, but an endpoint that has not answered any of several,
    /// for longer than a pause of its own takes, hangs.
    pub(super) fn loses(&self, endpoint: EndpointId, now: Instant) -> bool {
        let mut losers = self.losers.borrow_mut();
        if losers.len() >= MOST && !losers.contains_key(&endpoint) {
            return false;
        }
        let new = Losses { count: 0, since: now, last: now };
        let losses = losers.entry(endpoint).or_insert(new);
        losses.count = losses.count.saturating_add(1);
        losses.last = now;
        losses.count >= HANGS_AFTER && now.saturating_duration_since(losses.since) >= PAUSE
    }

    /// Forgets what nobody has asked for in a while.
    pub(super) fn tidy(&self, now: Instant) {
        let since = self.tidied.get().map(|tidied| now.saturating_duration_since(tidied));
        if since.is_some_and(|since| since < KEPT) {
            return;
        }
        self.tidied.set(Some(now));
        let is_used = |known: &mut Known| std::mem::take(&mut known.is_used);
        self.known.borrow_mut().retain(|_, known| is_used(known));
        let is_late = |losses: &Losses| now.saturating_duration_since(losses.last) < KEPT;
        self.losers.borrow_mut().retain(|_, losses| is_late(losses));
    }
}

/// Tells how long a first attempt took, also where its client leaves.
pub(super) struct Timed<'d> {
    pub(super) delays: &'d Delays,
    pub(super) key: u64,
    pub(super) started: Instant,
    /// After how long a second one goes; `None` also once the first has ended.
    pub(super) delay: Option<Duration>,
}

impl Timed<'_> {
    /// It has ended so.
    pub(super) fn learn(&mut self, measure: Measure) {
        let delay = self.delay.take();
        self.delays.learn(self.key, delay, measure);
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        // It was slow before its client left.
        if self.delay.is_some_and(|delay| took >= delay) {
            self.learn(Measure::AtLeast(took));
        }
    }
}

/// A quantile of hundreds does not change by fewer.
const LOOK: u32 = 16;
/// 1,024 routes of 1.5 KiB each, and as many endpoints of a few words.
const MOST: usize = 1_024;
/// 5 min: a route that has a request in so much time keeps what is known of it.
const KEPT: Duration = Duration::from_secs(300);
/// What times are told apart by.
const TICK: Duration = Duration::from_micros(1);
/// As many as failures in a row eject by default.
const HANGS_AFTER: u32 = 5;
/// 1 s: no collection of garbage takes longer.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::HeaderMap;

    use super::*;
    use crate::config::spec::HedgeSpec;
    use crate::routing;
    use crate::routing::samples::{get, route, spec, tenant};

    const MS: Duration = Duration::from_millis(1);
    const P95: HedgeSpec =
        HedgeSpec { after: Some(95), floor: Some(Duration::from_millis(10)), methods: None };

    fn rule(spec: &HedgeSpec) -> HedgeRule<'_> {
        HedgeRule::resolve(Some(spec), None).unwrap()
    }

    fn whole(delays: &Delays, times: u32, took: Duration) {
        (0..times).for_each(|_| delays.learn(1, None, Measure::Whole(took)));
    }

    #[test]
    fn a_delay_is_told_once_enough_is_known_and_never_below_its_floor() {
        let delays = Delays::default();
        whole(&delays, 99, MS * 40);
        assert_eq!(delays.of(1, &rule(&P95)), None);
        whole(&delays, 100, MS * 40);
        let told = delays.of(1, &rule(&P95)).unwrap();
        assert!(told > MS * 40 && told <= MS * 43, "{told:?}");
        let floor = HedgeSpec { floor: Some(MS * 90), ..P95 };
        assert_eq!(delays.of(1, &rule(&floor)), Some(MS * 90));
        assert_eq!(delays.of(2, &rule(&P95)), None, "another route");
    }

    #[test]
    fn a_slow_route_and_a_fast_one_each_have_their_own_delay() {
        let routes = vec![route("", "/slow"), route("", "/fast")];
        let spec = spec(vec![("acme", tenant(None, routes, &[]))], vec![]);
        let table = routing::compile(&spec, None, &BTreeMap::new(), 1);
        let fields = HeaderMap::new();
        let find = |path| table.tenant("acme").unwrap().find(&get("", path, &fields)).unwrap();
        let pool = |slot| Label { name: "app".into(), slot };
        let key = |slot, path| key(&pool(slot), Some(&**find(path)));
        let delays = Delays::default();
        for _ in 0..200 {
            delays.learn(key(0, "/slow"), None, Measure::Whole(MS * 400));
            delays.learn(key(0, "/fast"), None, Measure::Whole(MS * 20));
        }

        let told = |slot, path| delays.of(key(slot, path), &rule(&P95));
        let (slow, fast) = (told(0, "/slow").unwrap(), told(0, "/fast").unwrap());

        assert!(slow >= MS * 400 && slow <= MS * 430, "{slow:?}");
        assert!(fast >= MS * 20 && fast <= MS * 22, "{fast:?}");
        assert_eq!(told(1, "/slow"), None, "to another pool");
    }

    /// The delay after so many requests, of which each tenth hangs and the others take 5 to 9 ms.
    fn after(requests: u32, floor: Duration) -> Duration {
        let (delays, spec) = (Delays::default(), HedgeSpec { floor: Some(floor), ..P95 });
        let rule = rule(&spec);
        let mut last = Duration::ZERO;
        for number in 0..requests {
            let delay = delays.of(1, &rule);
            let took = MS * (5 + number % 5);
            if number % 10 != 3 {
                delays.learn(1, delay, Measure::Whole(took));
            } else if let Some(delay) = delay {
                delays.learn(1, Some(delay), Measure::AtLeast(delay + took));
                delays.learn(1, None, Measure::Whole(took)); // the second one's
            } else {
                delays.learn(1, None, Measure::AtLeast(MS * 15_000));
            }
            last = delay.unwrap_or(last);
        }
        last
    }

    #[test]
    fn an_endpoint_of_ten_that_hangs_does_not_make_the_delay_run_away() {
        for floor in [MS, MS * 10] {
            let (few, many) = (after(2_000, floor), after(50_000, floor));
            assert!(many <= MS * 11 && many >= MS * 8, "{few:?} {many:?}");
        }
    }

    #[test]
    fn a_route_that_becomes_slow_as_a_whole_has_a_delay_that_follows() {
        let delays = Delays::default();
        whole(&delays, 2_000, MS * 10);
        for _ in 0..2_000 {
            let delay = delays.of(1, &rule(&P95));
            delays.learn(1, delay, Measure::Whole(MS * 100)); // it wins nevertheless
        }
        assert!(delays.of(1, &rule(&P95)).unwrap() >= MS * 100);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_always_loses_has_failed_and_one_that_pauses_has_not() {
        let (delays, hangs) = (Delays::default(), EndpointId(1));
        let start = Instant::now();
        let lose = |at: u32| delays.loses(hangs, start + MS * at);
        assert!((0..20).all(|at| !lose(at * 10)), "within 200 ms");
        assert!(lose(1_000));
        assert!(!delays.loses(EndpointId(2), start + MS * 1_000), "another one");

        delays.answers(hangs);
        assert!(![1_000, 2_000, 3_000, 4_000].map(lose).contains(&true), "four in a row");
        assert!(lose(5_000));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_forgotten_and_routes_are_bounded() {
        let delays = Delays::default();
        let learn = |key| delays.learn(key, None, Measure::Whole(MS));
        (0..2 * MOST as u64).for_each(learn);
        (0..2 * MOST as u64).for_each(|id| {
            delays.loses(EndpointId(id), Instant::now());
        });
        assert_eq!(delays.known.borrow().len(), MOST);
        assert_eq!(delays.losers.borrow().len(), MOST);
        delays.tidy(Instant::now());
        tokio::time::advance(KEPT).await;
        learn(7);
        delays.tidy(Instant::now());
        assert_eq!(delays.known.borrow().len(), 1);
        assert_eq!(delays.losers.borrow().len(), 0);
    }
}
