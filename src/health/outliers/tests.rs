//! Who stands out, and who does not whatever one tenant does.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::time::{Instant, advance};

use crate::config::spec::EjectSpec;
use crate::health::passive::Cause;
use crate::model::endpoint::{Endpoint, Health};
use crate::model::members::{self, Members};
use crate::model::rules::Rules;
use crate::model::warmth::SlowStart;
use crate::telemetry::sightings::Times;

use super::watch::Found;
use super::*;

const RATE: SuccessRateSpec = SuccessRateSpec::USUAL;
const LATENCY: LatencySpec = LatencySpec::USUAL;

fn sighting(served: u64, failed: &[(u32, u64)]) -> Sighting {
    Sighting {
        served,
        failed: failed.iter().map(|(_, count)| count).sum(),
        by_tenant: failed.to_vec(),
        times: Times::default(),
    }
}

fn seen(sightings: &[Sighting], serves_others: bool) -> Vec<Seen<'_>> {
    let seen = |sighting| Seen { sighting, serves_others, priority: 0, warms_up: false };
    sightings.iter().map(seen).collect()
}

fn places(outliers: &[Outlier]) -> Vec<usize> {
    outliers.iter().map(|outlier| outlier.place).collect()
}

#[test]
fn the_one_that_fails_of_five_stands_out() {
    let well = sighting(1000, &[]);
    let all =
        [well.clone(), well.clone(), sighting(600, &[(1, 200), (2, 200)]), well.clone(), well];
    let outliers = by_success_rate(&RATE, &seen(&all, true));
    assert_eq!(outliers, [Outlier { place: 2, by_one_tenant: false }]);

    assert_eq!(by_success_rate(&RATE, &seen(&all[1..], true)), [], "of four nobody does");
}

#[test]
fn a_small_difference_is_none_however_alike_the_others_are() {
    let well = sighting(1000, &[]);
    let all = [well.clone(), well.clone(), well.clone(), well, sighting(970, &[(1, 15), (2, 15)])];
    assert_eq!(by_success_rate(&RATE, &seen(&all, false)), []);
}

#[test]
fn one_with_few_requests_is_left_alone() {
    let well = sighting(1000, &[]);
    let mut all = vec![well; 5];
    all.push(sighting(0, &[(1, 99)]));
    assert_eq!(by_success_rate(&RATE, &seen(&all, false)), []);
}

#[test]
fn a_tenant_whose_requests_fail_at_one_endpoint_takes_it_from_nobody() {
    let well = sighting(1000, &[]);
    let mut all = vec![well; 5];
    all.push(sighting(500, &[(7, 500), (1, 3)]));

    let outliers = by_success_rate(&RATE, &seen(&all, true));
    assert_eq!(outliers, [Outlier { place: 5, by_one_tenant: true }]);
    let alone = by_success_rate(&RATE, &seen(&all, false));
    assert_eq!(
        alone,
        [Outlier { place: 5, by_one_tenant: false }],
        "there is nobody to take it from"
    );
}

#[test]
fn a_share_of_failures_is_judged_without_the_others() {
    let all = [sighting(50, &[(1, 25), (2, 25)]), sighting(60, &[(1, 20), (2, 20)])];
    let outliers = by_failure_share(Percent::new(50.0), 100, &seen(&all, true));
    assert_eq!(places(&outliers), [0]);
    assert_eq!(by_failure_share(Percent::new(50.0), 101, &seen(&all, true)), []);

    let one = [sighting(99, &[(1, 1)]), sighting(100, &[])];
    assert_eq!(places(&by_failure_share(Percent::new(0.0), 100, &seen(&one, false))), [0]);
}

/// Kinds of requests, how many of each, and how long they take.
fn timed(kinds: &[(u8, u32, u64)]) -> Sighting {
    let mut one = Sighting::default();
    for (kind, count, millis) in kinds {
        for _ in 0..*count {
            one.times.add(*kind, Duration::from_millis(*millis));
            one.served += 1;
        }
    }
    one
}

fn paces(all: &[Sighting]) -> Vec<Pace> {
    by_latency(&LATENCY, &seen(all, false))
}

/// An answer of another site takes 150 ms more, and 30 % of the requests go there.
#[test]
fn a_site_that_stands_in_is_not_slow_for_being_far_away() {
    let near = timed(&[(1, 40, 20)]);
    let far = timed(&[(1, 40, 200)]);
    let all = [near.clone(), near.clone(), near, far.clone(), far.clone(), far];
    let mut seen = seen(&all, false);
    assert_eq!(by_latency(&LATENCY, &seen)[5], Pace::Slow, "in the same priority");

    seen[3..].iter_mut().for_each(|one| one.priority = 1);
    assert_eq!(by_latency(&LATENCY, &seen), [Pace::Usual; 6]);
}

#[test]
fn the_slow_one_is_told_by_requests_that_are_alike() {
    use Pace::{Slow, Unknown, Usual};
    let usual = timed(&[(1, 40, 20)]);
    let slow = timed(&[(1, 40, 200)]);
    assert_eq!(paces(&[usual.clone(), usual.clone(), slow.clone()]), [Usual, Usual, Slow]);
    assert_eq!(paces(&[usual.clone(), slow]), [Unknown, Unknown], "nobody tells who is right");

    // Ten times as long, and nobody minds.
    let fast = timed(&[(1, 40, 1)]);
    assert_eq!(paces(&[fast.clone(), fast, timed(&[(1, 40, 10)])])[2], Usual);

    // One has all the requests of a route that is slow.
    let other = timed(&[(2, 40, 5000)]);
    assert_eq!(paces(&[usual.clone(), usual.clone(), usual.clone(), other])[3], Unknown);
    let mixed = timed(&[(1, 40, 20), (2, 30, 5000)]);
    assert_eq!(paces(&[usual.clone(), usual.clone(), mixed])[2], Usual);

    // All take long: it is the requests.
    let long = timed(&[(1, 40, 5000)]);
    assert_eq!(paces(&[long.clone(), long.clone(), long]), [Usual; 3]);
}

proptest! {
    /// What one tenant does at one endpoint, or everywhere, ejects nobody who serves others well: a few requests of each
    /// fail now and then.
    #[test]
    fn one_tenant_alone_makes_nobody_an_outlier(
        counts in prop::collection::vec((400_u64..2000, 0_u64..5000, 0_u64..4, 2_u32..30), 5..20),
    ) {
        let all: Vec<Sighting> = counts
            .iter()
            .map(|(served, failed, few, other)| sighting(*served, &[(*other, *few), (1, *failed)]))
            .collect();
        let outliers = by_success_rate(&RATE, &seen(&all, true));
        prop_assert!(outliers.iter().all(|outlier| outlier.by_one_tenant));
    }

    /// Endpoints that fail alike stand out by nothing, however much they fail.
    #[test]
    fn endpoints_that_are_alike_stay(
        share in 0.0_f64..1.0,
        noise in prop::collection::vec(-0.02_f64..0.02, 5..30),
    ) {
        let all: Vec<Sighting> = noise
            .iter()
            .map(|noise| {
                let failed = ((share + noise).clamp(0.0, 1.0) * 1000.0) as u64;
                sighting(1000 - failed, &[(1, failed / 2), (2, failed - failed / 2)])
            })
            .collect();
        prop_assert_eq!(by_success_rate(&RATE, &seen(&all, true)), []);
    }

    /// Nobody stands out by doing better.
    #[test]
    fn nobody_above_the_mean_stands_out(
        counts in prop::collection::vec((0_u64..2000, 0_u64..2000), 0..20),
    ) {
        let all: Vec<Sighting> =
            counts.iter().map(|(served, failed)| sighting(*served, &[(1, *failed)])).collect();
        let judged = all.iter().filter(|one| one.attempts() >= RATE.requests);
        let rates: Vec<f64> =
            judged.map(|one| rate(one.served, one.failed)).collect();
        let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        for outlier in by_success_rate(&RATE, &seen(&all, false)) {
            prop_assert!(rate(all[outlier.place].served, all[outlier.place].failed) < mean);
        }
    }

    /// Nobody is slow who is no slower than the median of any kind.
    #[test]
    fn at_most_half_of_the_endpoints_are_slow(
        all in prop::collection::vec((1_u64..5000, 0_u32..60), 0..12),
    ) {
        let all: Vec<Sighting> =
            all.iter().map(|(millis, count)| timed(&[(3, *count, *millis)])).collect();
        let paces = paces(&all);
        let slow = paces.iter().filter(|pace| **pace == Pace::Slow).count();
        let known = all.iter().filter(|one| one.attempts() >= FEW).count();
        prop_assert!(2 * slow <= known, "{slow} of {known}");
    }
}

struct World {
    members: Members,
    spec: EjectSpec,
    watch: Watch,
}

impl World {
    fn new(count: u8, latency: bool) -> Self {
        let latency = latency.then_some(LATENCY);
        let spec = EjectSpec { success_rate: Some(RATE), latency, ..EjectSpec::USUAL };
        let members = Members::new(1, Health::Unchecked, 0.5);
        let found = |host: u8| members::Found::new(([10, 0, 0, host], 80), "test");
        members.replace(&(0..count).map(found).collect::<Vec<_>>());
        let watch = Watch::begin(&spec, Instant::now());
        Self { members, spec, watch }
    }

    fn endpoint(&self, at: usize) -> Arc<Endpoint> {
        Arc::clone(&self.members.load().all[at].endpoint)
    }

    /// An interval in which this was seen of each endpoint.
    async fn interval(&mut self, seen: impl Fn(usize) -> Sighting) -> Vec<(usize, Cause)> {
        advance(self.spec.interval).await;
        let set = Arc::clone(&self.members.load());
        let mut all: HashMap<_, _> =
            set.all.iter().enumerate().map(|(at, member)| (member.endpoint.id, seen(at))).collect();
        let rules = (&self.spec, None);
        let found = self.watch.look(&self.members, rules, &mut all, Instant::now());
        assert!(all.is_empty(), "all of it is taken");
        let place = |endpoint: &Arc<Endpoint>| {
            set.all.iter().position(|member| Arc::ptr_eq(&member.endpoint, endpoint)).unwrap()
        };
        found
            .iter()
            .filter_map(|found| match found {
                Found::Ejected(endpoint, ejected) => Some((place(endpoint), ejected.cause)),
                Found::Spared => None,
            })
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_a_part_of_its_requests_is_ejected_at_the_end_of_an_interval() {
    let mut world = World::new(10, false);
    let seen = |at: usize| match at {
        3 => sighting(150, &[(1, 25), (2, 25)]),
        _ => sighting(200, &[]),
    };
    assert_eq!(world.interval(seen).await, [(3, Cause::SuccessRate)]);
    assert!(world.endpoint(3).ejected_for().is_some());
    assert_eq!(world.members.load().eligible.endpoints.len(), 9);
    assert_eq!(world.interval(seen).await, [], "it is out");
}

#[tokio::test(start_paused = true)]
async fn it_stays_where_another_tenant_is_served_there() {
    let mut world = World::new(10, false);
    world.endpoint(3).serves(2, Instant::now());
    let seen = |at: usize| match at {
        3 => sighting(150, &[(1, 50)]),
        _ => sighting(200, &[]),
    };
    assert_eq!(world.interval(seen).await, []);
}

#[tokio::test(start_paused = true)]
async fn no_more_stand_out_than_may_be_ejected() {
    let mut world = World::new(20, false);
    let seen = |at: usize| {
        sighting(if at < 2 { 100 } else { 200 }, if at < 2 { &[(1, 100)] } else { &[] })
    };
    world.spec.share = Percent::new(5.0);
    assert_eq!(world.interval(seen).await, [(0, Cause::SuccessRate)]);
}

#[tokio::test(start_paused = true)]
async fn of_several_that_stand_out_the_worst_goes_where_there_is_room_for_one() {
    let mut world = World::new(20, false);
    world.spec.share = Percent::new(5.0);
    let seen = |at: usize| match at {
        0 => sighting(100, &[(1, 100)]),
        7 => sighting(20, &[(1, 180)]),
        _ => sighting(200, &[]),
    };
    assert_eq!(world.interval(seen).await, [(7, Cause::SuccessRate)]);
}

#[tokio::test(start_paused = true)]
async fn failures_that_have_ejected_an_endpoint_eject_it_no_second_time() {
    let mut world = World::new(10, false);
    let endpoint = world.endpoint(3);
    let failed = || HashMap::from([(endpoint.id, sighting(0, &[(1, 100), (2, 100)]))]);
    let rules = (world.spec, None);
    let look = |world: &mut World, mut seen| {
        world.watch.look(&world.members, (&rules.0, rules.1), &mut seen, Instant::now()).len()
    };
    advance(Duration::from_secs(1)).await;
    assert_eq!(look(&mut world, failed()), 0);

    // Others have ejected it meanwhile, and it has come back within the interval.
    endpoint.eject(Duration::from_secs(1));
    assert_eq!(look(&mut world, HashMap::new()), 0);
    endpoint.readmit();

    assert_eq!(world.interval(|at| sighting(if at == 3 { 0 } else { 200 }, &[])).await, []);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slow_for_three_intervals_is_ejected_though_it_got_few_requests_in_one() {
    let mut world = World::new(4, true);
    let (usual, slow, few) = (timed(&[(1, 40, 20)]), timed(&[(1, 40, 400)]), timed(&[(1, 3, 400)]));
    let seen = |slow: &Sighting| {
        let (usual, slow) = (usual.clone(), slow.clone());
        move |at: usize| if at == 1 { slow.clone() } else { usual.clone() }
    };
    assert_eq!(world.interval(seen(&slow)).await, []);
    assert_eq!(world.interval(seen(&usual)).await, []);
    assert_eq!(world.interval(seen(&slow)).await, []);
    assert_eq!(world.interval(seen(&slow)).await, []);
    assert_eq!(world.interval(seen(&few)).await, []);
    assert_eq!(world.interval(seen(&slow)).await, [(1, Cause::Latency)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_warms_up_is_not_ejected_for_being_cold_and_is_judged_once_it_is_warm() {
    let mut world = World::new(4, true);
    let slow_start = SlowStart { window: Duration::from_secs(60), aggression: 1.0, min: 0.1 };
    world.members.set_rules(Rules { slow_start: Some(slow_start), ..Rules::of_panic_share(0.5) });
    for health in [Health::Down, Health::Up] {
        world.endpoint(1).set_health(health, None);
        world.members.refresh();
    }
    let (usual, slow) = (timed(&[(1, 40, 20)]), timed(&[(1, 40, 400)]));
    let seen = |at: usize| if at == 1 { slow.clone() } else { usual.clone() };

    for _ in 0..5 {
        assert_eq!(world.interval(seen).await, [], "it has just come back");
        world.members.tick();
    }
    advance(Duration::from_secs(10)).await;
    world.members.tick();
    assert_eq!(world.members.load().warming(), 0);
    assert_eq!(world.interval(seen).await, []);
    assert_eq!(world.interval(seen).await, []);
    assert_eq!(world.interval(seen).await, [(1, Cause::Latency)]);
}
