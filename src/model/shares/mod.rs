//! Who of a pool's members gets traffic, and how much of it. Pure: facts in, shares out; what the
//! time and the load are is told by the caller.

use std::collections::BTreeMap;

/// What is known of one member that is not drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its share of the traffic beside the others' weights; at least 1.
    pub weight: u32,
    /// Lower numbers come first.
    pub priority: u16,
    /// Whether it has a part in the traffic by its own state: one on trial after an ejection has none.
    pub healthy: bool,
    /// How much of its weight counts yet, from 1 to 100.
    pub warmth: u32,
    /// It has joined a pool in use and is on its way to its first whole share.
    pub joining: bool,
    /// Whether it stands in the gateway's own zone.
    pub near: bool,
}

/// By what rule traffic is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Below this many healthy of a thousand, all are used.
    pub panic_permille: u32,
    /// What a group of healthy members can bear, in hundredths of its part of all: 140 lets 5 of 7 bear
    /// the traffic of all 7.
    pub overprovisioning: u32,
    /// How the gateway's own zone comes first; `None` = zones do not matter.
    pub near: Option<Near>,
    /// Where nobody is healthy nobody is used: requests wait for somebody.
    pub waits: bool,
}

/// How the gateway's own zone comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// With fewer endpoints the zone is nothing special.
    pub min_endpoints: u32,
    /// How much of the traffic it bears by its load, of [`WHOLE`].
    pub bears: u64,
}

/// The traffic of each member and of each group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// The weight of each, in the order of the facts; 0 = it gets nothing.
    pub weights: Vec<u32>,
    /// In the order of their priorities.
    pub groups: Vec<Group>,
}

/// The members of one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Lower numbers come first.
    pub priority: u16,
    /// How many there are that are not drained.
    pub members: u64,
    /// How many of them are healthy.
    pub healthy: u64,
    /// What those can bear, in hundredths of one: less than all while some warm up.
    pub warm: u64,
    /// What its members could bear were all of them healthy and warm. Who has just joined counts as far as it
    /// has come: the group could bear its traffic without it.
    pub whole: u64,
    /// Its part of the traffic, of [`WHOLE`].
    pub share: u64,
    /// Too few are healthy: all of them are used.
    pub panicking: bool,
    /// The part of its traffic that stays in the gateway's own zone, of [`WHOLE`]; `None` = zones do not
    /// matter to it.
    pub near: Option<u64>,
}

/// Divides the traffic of a pool among its members.
///
/// Each group, from the first on, takes what its healthy members can bear; the rest goes to the next
/// ones. What all together cannot bear is divided in proportion.
pub fn divide(facts: &[Fact], rule: &Rule) -> Division {
    let mut groups = groups(facts);
    share(&mut groups, rule);
    let mut parts = Vec::new();
    for group in groups.iter_mut().filter(|group| group.share > 0) {
        split(group, facts, rule, &mut parts);
    }
    Division { weights: weigh(facts, &parts), groups }
}

/// How much of the traffic the own zone bears, of [`WHOLE`]: all of it while no more than `bound`
/// requests are in flight for each of its endpoints; beyond, as much as keeps them at that, and never
/// less than its part of all endpoints, with which none has more than those of other zones.
pub fn bears(in_flight: u64, near: u64, far: u64, bound: u32) -> u64 {
    let room = near.saturating_mul(u64::from(bound));
    if near == 0 || in_flight <= room {
        return WHOLE;
    }
    let even = WHOLE * near / (near + far);
    (WHOLE.saturating_mul(room) / in_flight).max(even)
}

fn groups(facts: &[Fact]) -> Vec<Group> {
    let mut groups = BTreeMap::<u16, (Group, Bearing)>::new();
    for fact in facts {
        let (group, bearing) = groups.entry(fact.priority).or_default();
        group.priority = fact.priority;
        group.members += 1;
        group.healthy += u64::from(fact.healthy);
        bearing.add(fact);
    }
    let group = |(group, bearing): (Group, Bearing)| Group {
        warm: bearing.warm,
        whole: bearing.whole(),
        ..group
    };
    groups.into_values().map(group).collect()
}

/// What members can bear, and could bear were all healthy and warm, in hundredths of one.
#[derive(Debug, Default)]
struct Bearing {
    warm: u64,
    /// Of those that have joined lately, as far as they have come, and of all others.
    whole: (u64, u64),
    members: u64,
}

impl Bearing {
    fn of<'f>(facts: impl Iterator<Item = &'f Fact>) -> Self {
        let mut bearing = Self::default();
        facts.for_each(|fact| bearing.add(fact));
        bearing
    }

    fn add(&mut self, fact: &Fact) {
        let warmth = u64::from(fact.warmth);
        self.members += 1;
        self.warm += if fact.healthy { warmth } else { 0 };
        match fact.joining {
            true => self.whole.0 += warmth,
            false => self.whole.1 += 100,
        }
    }

    fn whole(&self) -> u64 {
        match self.whole {
            // All have just joined: nobody has borne it before.
            (_, 0) => self.members * 100,
            (joining, others) => joining + others,
        }
    }
}

/// Settles which part of the traffic each group gets, and which of them panic.
fn share(groups: &mut [Group], rule: &Rule) {
    let health = |group: &Group| bearable(group.healthy, group.members, rule);
    let total = groups.iter().map(health).sum::<u64>().min(WHOLE);
    if total == 0 {
        // Nobody is healthy anywhere: the first ones are tried, who are meant to serve, unless somebody is waited for.
        if !rule.waits
            && let Some(first) = groups.first_mut()
        {
            (first.share, first.panicking) = (WHOLE, true);
        }
        return;
    }
    // Groups that together can bear all of it need none that is ill. A pool of one group has nobody
    // to spill over to, and its share alone decides.
    let may_panic = groups.len() == 1 || total < WHOLE;
    let is_few =
        |group: &Group| group.healthy * 1000 < group.members * u64::from(rule.panic_permille);
    for group in groups.iter_mut() {
        group.panicking = may_panic && is_few(group);
    }
    if groups.iter().all(|group| group.panicking) {
        let all = groups.iter().map(|group| group.members).sum();
        hand_out(groups, all, |group| group.members);
    } else {
        // Those that warm up bear less, as long as others bear the rest: a site that is back is not given
        // everything at once.
        let warm = |group: &Group| bearable(group.warm, group.whole, rule);
        match groups.iter().map(warm).sum::<u64>() >= WHOLE {
            true => hand_out(groups, WHOLE, warm),
            false => hand_out(groups, total, health),
        }
    }
    for group in groups.iter_mut() {
        group.panicking &= group.share > 0;
    }
}

/// Gives each group its part of `total`, the first ones first.
fn hand_out(groups: &mut [Group], total: u64, part: impl Fn(&Group) -> u64) {
    let mut left = WHOLE;
    for group in groups.iter_mut() {
        group.share = (part(group) * WHOLE / total.max(1)).min(left);
        left -= group.share;
    }
    // What rounding has left.
    if let Some(first) = groups.iter_mut().find(|group| group.share > 0) {
        first.share += left;
    }
}

/// Which part of all traffic so many healthy of so many can bear.
fn bearable(healthy: u64, members: u64, rule: &Rule) -> u64 {
    let bearable = healthy * WHOLE / 100 * u64::from(rule.overprovisioning) / members.max(1);
    // One of a hundred thousand is not nobody.
    bearable.clamp(healthy.min(1), WHOLE)
}

/// Members that have a part of the traffic together, which is divided by their weights.
#[derive(Debug)]
struct Part {
    places: Vec<usize>,
    share: u64,
    /// Nobody knows who of them is healthy: none is spared for having just come back, as it would be
    /// those that are down that get its share.
    panicking: bool,
}

impl Part {
    fn warmth(&self, fact: Fact) -> u32 {
        if self.panicking { 100 } else { fact.warmth }
    }
}

/// Divides the part of a group into that of the own zone and that of all others.
fn split(group: &mut Group, facts: &[Fact], rule: &Rule, parts: &mut Vec<Part>) {
    let picked = |fact: &Fact| fact.priority == group.priority && (fact.healthy || group.panicking);
    let places = facts.iter().enumerate().filter(|(_, fact)| picked(fact)).map(|(place, _)| place);
    let places: Vec<usize> = places.collect();
    let Some(near) = rule.near.and_then(|near| stays_near(group, near, facts, rule)) else {
        parts.push(Part { places, share: group.share, panicking: group.panicking });
        return;
    };
    group.near = Some(near);
    let is_near = |place: &usize| facts.get(*place).is_some_and(|fact| fact.near);
    let (own, others): (Vec<usize>, Vec<usize>) = places.into_iter().partition(is_near);
    let share = group.share * near / WHOLE;
    parts.push(Part { places: own, share, panicking: false });
    parts.push(Part { places: others, share: group.share - share, panicking: false });
}

/// Which part of a group's traffic stays in the own zone; `None` where zones do not matter.
fn stays_near(group: &Group, near: Near, facts: &[Fact], rule: &Rule) -> Option<u64> {
    let of_group = || facts.iter().filter(|fact| fact.priority == group.priority);
    let members = of_group().filter(|fact| fact.near).count() as u64;
    // A zone that is back takes over what the others bear little by little.
    let own = Bearing::of(of_group().filter(|fact| fact.near));
    let (warm, whole) = (own.warm, own.whole());
    let others = Bearing::of(of_group().filter(|fact| !fact.near)).warm;
    // In panic nobody knows who is healthy.
    if group.panicking || members < u64::from(near.min_endpoints.max(1)) || others == 0 {
        return None;
    }
    let even = WHOLE * warm / (warm + others);
    Some(bearable(warm, whole, rule).min(near.bears).max(even))
}

/// The weights by which each part gets its share, and in it each member by its own weight.
fn weigh(facts: &[Fact], parts: &[Part]) -> Vec<u32> {
    let parts: Vec<&Part> =
        parts.iter().filter(|part| part.share > 0 && !part.places.is_empty()).collect();
    let mut weights = vec![0; facts.len()];
    let mut put = |place: usize, weight: u32| {
        if let Some(slot) = weights.get_mut(place) {
            *slot = weight;
        }
    };
    let fact = |place: &usize| facts.get(*place).copied();
    if let [part] = parts.as_slice() {
        let mut warmths = part.places.iter().filter_map(fact).map(|fact| part.warmth(fact));
        let first = warmths.next();
        if warmths.all(|warmth| Some(warmth) == first) {
            // As they are written: nobody is beside them, and all are as warm.
            for place in &part.places {
                put(*place, fact(place).map_or(0, |fact| fact.weight));
            }
            return weights;
        }
    }
    let own = |part: &Part, place: &usize| {
        let warm = |fact: Fact| u64::from(fact.weight) * u64::from(part.warmth(fact));
        (*place, fact(place).map_or(1, warm))
    };
    let parts: Vec<Set> = parts
        .iter()
        .map(|part| (part.share, part.places.iter().map(|place| own(part, place)).collect()))
        .collect();
    for (place, weight) in joined(&parts) {
        put(place, weight);
    }
    weights
}

/// A part of the traffic, and the places among which it is divided, by the weight of each.
pub type Set = (u64, Vec<(usize, u64)>);

/// The weights by which each set gets its part, and in it each place by its own weight. A set that is
/// alone keeps its weights' proportions, whatever its part is.
pub fn joined(sets: &[Set]) -> Vec<(usize, u32)> {
    let sum = |set: &Set| set.1.iter().map(|(_, own)| u128::from(*own)).sum::<u128>().max(1);
    let common = sets.iter().map(sum).fold(1, multiple);
    let mut exact: Vec<(usize, u128)> = Vec::new();
    for set in sets {
        let sum = sum(set);
        for (place, own) in &set.1 {
            // Its own of the set's sum, of the set's part; all times the same.
            exact.push((*place, (u128::from(*own) * u128::from(set.0) * common / sum).max(1)));
        }
    }
    lowest(exact)
}

/// In lowest terms, and scaled down where a number would get too large.
fn lowest(exact: Vec<(usize, u128)>) -> Vec<(usize, u32)> {
    let divisor = exact.iter().fold(0, |divisor, (_, weight)| divisor_of(divisor, *weight)).max(1);
    let most = exact.iter().map(|(_, weight)| weight / divisor).max().unwrap_or(1).max(1);
    let scaled = |weight: u128| {
        let lowest = weight / divisor;
        let scaled = if most > HEAVIEST { lowest * HEAVIEST / most } else { lowest };
        u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
    };
    exact.into_iter().map(|(place, weight)| (place, scaled(weight))).collect()
}

/// The least number that both go into; where that is too large, one that both nearly do.
fn multiple(one: u128, other: u128) -> u128 {
    let multiple = one / divisor_of(one, other).max(1) * other;
    if multiple > COMMON { COMMON } else { multiple }
}

fn divisor_of(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// All of the traffic: shares are exact to a hundredth of a percent.
pub const WHOLE: u64 = 10_000;

/// 2^24: no share is off by more than a balancer could show, and 256 endpoints still sum up within 32
/// bits.
const HEAVIEST: u128 = 1 << 24;

/// 2^40: with a share and a weight it stays within 128 bits.
const COMMON: u128 = 1 << 40;

#[cfg(test)]
mod tests;
