//! The endpoints of one pool, swapped whole. Written by control, read by every worker.

mod eligible;
mod roll;
mod trials;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::address::Address;
use crate::model::drains::Drains;
use crate::model::endpoint::{Endpoint, Health, NO_PEERS};
use crate::model::ids::EndpointId;
use crate::model::room::Room;
use crate::model::rules::Rules;
use crate::model::shares::{self, Division, Fact, Group, WHOLE};
use crate::model::warmth::Warmth;

use eligible::VERSIONS;
pub use eligible::{Cohort, Eligible};
pub use roll::{Entry, Roll};

/// What a source says of one address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where it listens.
    pub address: Address,
    /// Its share of the traffic beside the others' weights; at least 1.
    pub weight: u32,
    /// Lower numbers come first (RFC 2782).
    pub priority: u16,
    /// The source that named it, as in `dns billing.internal`.
    pub origin: Arc<str>,
    /// The zone that it stands in; `None` = the source does not say.
    pub zone: Option<Arc<str>>,
    /// The source takes it out of the traffic.
    pub draining: bool,
}

impl Found {
    /// An address of which a source says no more.
    pub fn new(address: impl Into<Address>, origin: impl Into<Arc<str>>) -> Self {
        Self {
            address: address.into(),
            weight: 1,
            priority: 0,
            origin: origin.into(),
            zone: None,
            draining: false,
        }
    }
}

/// One endpoint with its place in the pool.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint and its live state.
    pub endpoint: Arc<Endpoint>,
    /// Its share of the traffic beside the others' weights.
    pub weight: u32,
    /// Lower numbers come first.
    pub priority: u16,
    /// The source that named it.
    pub origin: Arc<str>,
    /// The zone that it stands in, where its source says so.
    pub zone: Option<Arc<str>>,
    /// Since when its source takes it out of the traffic.
    pub draining: Option<SystemTime>,
    /// How far it has come into the traffic.
    pub warmth: Warmth,
}

/// All members of one instant and those that may be picked.
#[derive(Debug, Default)]
pub struct MemberSet {
    /// In the order of their addresses.
    pub all: Box<[Member]>,
    /// Those that may be picked.
    pub eligible: Eligible,
    /// The members by priority, and what each group gets.
    pub groups: Box<[Group]>,
    /// Who the members are, of which priority, and whether each is drained, in the order of [`Self::all`].
    pub roll: Arc<Roll>,
    /// When the shares are others because of the time alone; `None` = nobody warms up.
    due: Option<Instant>,
}

impl MemberSet {
    /// Whether what is derived from these is what was derived from its own.
    fn has_same(&self, eligible: &Eligible, groups: &[Group]) -> bool {
        let own = &self.eligible;
        let are_same = own.endpoints.len() == eligible.endpoints.len()
            && own.endpoints.iter().zip(&eligible.endpoints).all(|(a, b)| Arc::ptr_eq(a, b));
        let share = |group: &Group| (group.priority, group.share);
        are_same
            && own.weights == eligible.weights
            && own.counted == eligible.counted
            && own.panicking == eligible.panicking
            && self.groups.iter().map(share).eq(groups.iter().map(share))
    }

    /// How many are on their way to their share.
    pub fn warming(&self) -> usize {
        self.all.iter().filter(|member| member.warmth.since().is_some()).count()
    }

    /// How many are drained, and the requests that they are still busy with.
    pub fn draining(&self) -> (usize, u64) {
        let drained = self.all.iter().filter(|member| member.endpoint.is_drained());
        drained.fold((0, 0), |(count, in_flight), member| {
            (count + 1, in_flight + u64::from(member.endpoint.in_flight()))
        })
    }

    /// How many requests go round since they were late time after time: none, where all are alike.
    pub fn late(&self) -> usize {
        let (endpoints, now) = (&self.eligible.endpoints, Instant::now());
        let late = endpoints.iter().filter(|endpoint| endpoint.is_late_now(now)).count();
        if late < endpoints.len() { late } else { 0 }
    }

    /// The part of the traffic, of one, that goes past the first priority, also where all of that is
    /// drained.
    pub fn failed_over(&self) -> f64 {
        let later: u64 = self.groups.iter().skip(1).map(|group| group.share).sum();
        later.min(WHOLE) as f64 / WHOLE as f64
    }

    /// The part of the traffic, of one, that leaves the gateway's own zone although that has endpoints;
    /// `None` where zones do not matter.
    pub fn leaves_zone(&self) -> Option<f64> {
        let mut zoned = self.groups.iter().filter_map(|group| Some((group.share, group.near?)));
        let first = zoned.next()?;
        let leaves = |(share, near): (u64, u64)| share * (WHOLE - near.min(WHOLE));
        let all = leaves(first) + zoned.map(leaves).sum::<u64>();
        Some(all as f64 / (WHOLE * WHOLE) as f64)
    }
}

/// Which endpoints joined and left by one [`Members::replace`].
#[derive(Debug, Default)]
pub struct Change {
    /// New members.
    pub joined: Vec<Arc<Endpoint>>,
    /// Members that are no more.
    pub left: Vec<Arc<Endpoint>>,
    /// Members that their source takes out of the traffic from now on.
    pub draining: Vec<Arc<Endpoint>>,
    /// Members that it lets in again.
    pub back: Vec<Arc<Endpoint>>,
}

impl Change {
    /// Whether nobody joined or left.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.left.is_empty()
    }
}

/// The members of one pool. Lives as long as a pool of its name does, across reloads.
#[derive(Debug)]
pub struct Members {
    serial: u32,
    born: AtomicU32,
    rules: ArcSwap<Rules>,
    newcomer: AtomicU8,
    /// Its sources have spoken: who joins from now on begins slowly. Writer: `control`.
    settled: AtomicBool,
    /// How much of the traffic the own zone bears by its load, of [`WHOLE`], and the requests in flight
    /// that this was worked out from, in sixteenths. Writer: [`Members::tick`].
    near: (AtomicU32, AtomicU32),
    set: ArcSwap<MemberSet>,
    changes: watch::Sender<u64>,
    /// Held while somebody ejects or readmits. Only ever tried, never waited for.
    turn: AtomicBool,
    /// Somebody is or was ejected, so that there is something to watch. Writer: `health::passive`.
    watchful: AtomicBool,
    /// Shared with all that the pool's name ever has.
    drains: Arc<Drains>,
    /// Where requests wait while nobody may be picked; there once a pool has asked for it.
    room: OnceLock<Arc<Room>>,
}

/// The right to eject and readmit; given back on drop.
#[derive(Debug)]
pub struct Turn<'m> {
    members: &'m Members,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.members.turn.store(false, Ordering::Release);
    }
}

impl Members {
    /// No members yet. `serial` is never used twice in a process; `newcomer` is the health that a
    /// new member starts with: `Unchecked`, or `Pending` where an active check will follow.
    pub fn new(serial: u32, newcomer: Health, panic_share: f64) -> Self {
        Self {
            serial,
            born: AtomicU32::new(0),
            rules: ArcSwap::from_pointee(Rules::of_panic_share(panic_share)),
            newcomer: AtomicU8::new(newcomer as u8),
            settled: AtomicBool::new(false),
            near: (AtomicU32::new(WHOLE as u32), AtomicU32::new(0)),
            set: ArcSwap::default(),
            changes: watch::Sender::new(0),
            turn: AtomicBool::new(false),
            watchful: AtomicBool::new(true),
            drains: Arc::default(),
            room: OnceLock::new(),
        }
    }

    /// The same, with what is known of drains.
    #[must_use]
    pub fn with_drains(self, drains: Arc<Drains>) -> Self {
        Self { drains, ..self }
    }

    /// Which addresses are kept out of the traffic. Who changes it refreshes the members.
    pub fn drains(&self) -> &Drains {
        &self.drains
    }

    /// The members of now.
    pub fn load(&self) -> Guard<Arc<MemberSet>> {
        self.set.load()
    }

    /// Where requests wait while nobody may be picked, in a pool that has them wait.
    pub fn room(&self) -> Option<&Arc<Room>> {
        self.room.get()
    }

    /// Sets how traffic is divided. The caller refreshes the members.
    pub fn set_rules(&self, rules: Rules) {
        if rules.turns.is_some() {
            self.room.get_or_init(Room::new);
        }
        self.rules.store(Arc::new(rules));
    }

    /// How traffic is divided.
    pub fn rules(&self) -> Guard<Arc<Rules>> {
        self.rules.load()
    }

    /// Its sources have all spoken: those that it has now are its first members, and who joins from now
    /// on begins slowly where that is asked for.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Sets the health that a new member starts with.
    pub fn set_newcomer(&self, health: Health) {
        self.newcomer.store(health as u8, Ordering::Relaxed);
    }

    /// The right to eject and readmit, unless somebody else has it now.
    pub fn try_turn(&self) -> Option<Turn<'_>> {
        let taken =
            self.turn.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err();
        // Made only when it was got: one that is made and dropped gives somebody else's turn back.
        (!taken).then(|| Turn { members: self })
    }

    /// Whether somebody is or was ejected.
    pub fn is_watchful(&self) -> bool {
        self.watchful.load(Ordering::Relaxed)
    }

    /// Sets whether somebody is or was ejected.
    pub fn set_watchful(&self, watchful: bool) {
        self.watchful.store(watchful, Ordering::Relaxed);
    }

    /// Hears of each change of who is a member (not of health).
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes `found` as the full set. An address that stays keeps its endpoint and live state;
    /// an address that is named twice counts once, as the first source named it, and is draining where
    /// any of them says so.
    pub fn replace(&self, found: &[Found]) -> Change {
        let mut wanted: Vec<(&Found, bool)> =
            found.iter().map(|found| (found, found.draining)).collect();
        // Stable: the first source's word stays first.
        wanted.sort_by(|(a, _), (b, _)| a.address.cmp(&b.address));
        wanted.dedup_by(|(a, also), (b, draining)| {
            let is_same = a.address == b.address;
            *draining |= is_same && *also;
            is_same
        });

        let before = self.set.load_full();
        let mut change = Change::default();
        let mut all = Vec::with_capacity(wanted.len());
        for (found, draining) in wanted {
            let kept = before
                .all
                .binary_search_by(|member| member.endpoint.address.cmp(&found.address))
                .ok()
                .and_then(|at| before.all.get(at));
            let endpoint = match kept {
                Some(member) => Arc::clone(&member.endpoint),
                None => {
                    let new = Arc::new(self.newcomer(found.address.clone()));
                    change.joined.push(Arc::clone(&new));
                    new
                }
            };
            all.push(self.member(endpoint, (found, draining), kept, &mut change));
        }
        for old in &before.all {
            let stays = all
                .binary_search_by(|member| member.endpoint.address.cmp(&old.endpoint.address))
                .is_ok();
            if !stays {
                change.left.push(Arc::clone(&old.endpoint));
            }
        }
        self.publish(all.into());
        if !change.is_empty() {
            self.changes.send_modify(|count| *count += 1);
        }
        change
    }

    /// Works out anew who may be picked, after a change of an endpoint's health or ejection.
    pub fn refresh(&self) {
        self.set.rcu(|set| self.assemble(set.all.clone(), set));
        self.let_in();
    }

    fn publish(&self, all: Box<[Member]>) {
        self.set.rcu(|set| self.assemble(all.clone(), set));
        self.let_in();
    }

    /// Gives those who wait as many turns as those that may be picked can take.
    fn let_in(&self) {
        let Some(room) = self.room.get() else { return };
        loop {
            // Who changes the set looks at the turns behind that, and who sets these looks at the set behind that: of
            // two at once one sees the other's.
            fence(Ordering::SeqCst);
            let set = self.set.load_full();
            let turns = self.rules.load().turns.unwrap_or(1);
            let picked = u32::try_from(set.eligible.endpoints.len()).unwrap_or(u32::MAX);
            // The largest number would be none at all for a gate.
            room.set_turns(turns.saturating_mul(picked).min(MOST_TURNS));
            fence(Ordering::SeqCst);
            // Of two changes at once the one that was there first must not have the last word.
            if Arc::ptr_eq(&set, &self.set.load()) {
                return;
            }
        }
    }

    /// A member as its source names it now.
    fn member(
        &self,
        endpoint: Arc<Endpoint>,
        (found, draining): (&Found, bool),
        kept: Option<&Member>,
        change: &mut Change,
    ) -> Member {
        let before = kept.and_then(|kept| kept.draining);
        match (draining, before.is_some()) {
            (true, false) => change.draining.push(Arc::clone(&endpoint)),
            (false, true) => change.back.push(Arc::clone(&endpoint)),
            _ => {}
        }
        let is_first = !self.settled.load(Ordering::Relaxed);
        let new = if is_first { Warmth::First } else { Warmth::New };
        Member {
            endpoint,
            weight: found.weight.max(1),
            priority: found.priority,
            origin: Arc::clone(&found.origin),
            zone: found.zone.clone(),
            draining: draining.then(|| before.unwrap_or_else(SystemTime::now)),
            warmth: kept.map_or(new, |kept| kept.warmth),
        }
    }

    fn newcomer(&self, address: Address) -> Endpoint {
        let number = u64::from(self.born.fetch_add(1, Ordering::Relaxed));
        let id = EndpointId((u64::from(self.serial) << 32) | number);
        Endpoint::new(id, address, Health::from_word(self.newcomer.load(Ordering::Relaxed)))
    }

    /// Who of all may be picked now. What is as it was `before` keeps its version, so that nothing is worked
    /// out anew for it.
    fn assemble(&self, mut all: Box<[Member]>, before: &MemberSet) -> MemberSet {
        let (rules, now) = (self.rules.load(), Instant::now());
        let slow_start = rules.slow_start.as_ref();
        // Here, so that who joins while it is drained is never picked: a drain comes before the
        // refresh that follows it, and of two assemblies at once the one that saw less is repeated.
        let drains = self.drains.load();
        for Member { endpoint, draining, .. } in &all {
            let is_drained = draining.is_some() || drains.contains_key(&endpoint.address);
            endpoint.set_drained(is_drained);
        }
        let able = trials::able(&all);
        for Member { endpoint, warmth, priority, zone, .. } in &mut all {
            *warmth = warmth.next((endpoint, able(endpoint)), slow_start, now);
            // While it comes to its share it is slow since it is cold, and is to become warm.
            let is_cold = warmth.since().is_some();
            endpoint.set_peers(if is_cold { NO_PEERS } else { peers(*priority, zone.as_deref()) });
        }
        let roll = Roll::of(&all);
        let roll = if roll == *before.roll { Arc::clone(&before.roll) } else { Arc::new(roll) };
        // Those that are drained count for nothing, nor do those that nobody has seen serve: the more
        // join at once, the less the others would seem to bear. Where nobody is healthy, they are tried.
        let drained = || roll.entries().iter().map(|entry| entry.drained);
        let is_any_healthy = all.iter().any(|member| able(&member.endpoint));
        let counts = |member: &Member| !(is_any_healthy && member.warmth == Warmth::New);
        let present = all.iter().zip(drained());
        let present = present.filter(|(member, drained)| !drained && counts(member));
        let (present, facts): (Vec<&Member>, Vec<Fact>) =
            present.map(|(member, _)| (member, fact(member, &able, (&rules, now)))).unzip();
        let rule = rules.rule(u64::from(self.near.0.load(Ordering::Relaxed)));
        let Division { weights, mut groups } = shares::divide(&facts, &rule);
        let on_trial = trials::tried(&present, &facts, &weights, &rule);
        let picked = || present.iter().zip(&weights).filter(|(_, weight)| **weight > 0);
        let endpoints = picked().map(|(member, _)| Arc::clone(&member.endpoint)).collect();
        let weights = picked().map(|(_, weight)| *weight).collect();
        let panicking = groups.iter().any(|group| group.panicking);
        complete(&mut groups, &all);
        let mut eligible = Eligible::of(endpoints, weights, before.eligible.version, panicking);
        eligible.counted =
            eligible::counted(picked().map(|(member, weight)| (member.weight, *weight)));
        if !Arc::ptr_eq(&roll, &before.roll) || !before.has_same(&eligible, &groups) {
            eligible.version += VERSIONS;
        }
        eligible.on_trial = on_trial;
        eligible.cohort = cohort(picked().map(|(member, _)| *member), &all);
        let warms = all.iter().any(|member| member.warmth.since().is_some());
        let due = slow_start.filter(|_| warms).map(|slow_start| now + slow_start.step());
        MemberSet { all, eligible, groups: groups.into(), roll, due }
    }

    /// Works out anew what the time and the load alone have changed. To be called about every 100 ms;
    /// costs nothing while nobody warms up and zones do not matter.
    pub fn tick(&self) {
        let set = self.set.load();
        let is_due = set.due.is_some_and(|due| due <= Instant::now());
        if self.has_other_load(&set) || is_due {
            drop(set);
            self.refresh();
        }
    }

    /// Whether the own zone bears more or less of the traffic than it did, by its load.
    fn has_other_load(&self, set: &MemberSet) -> bool {
        if set.groups.iter().all(|group| group.near.is_none()) {
            return false;
        }
        let rules = self.rules.load();
        let bound = rules.zone.as_ref().map_or(u32::MAX, |zone| zone.spill_above);
        let is_near = |member: &&Member| rules.is_near(member.zone.as_ref());
        // Of later priorities that serve nobody neither the endpoints nor their last requests count.
        let serves = |member: &&Member| {
            let at = set.groups.binary_search_by_key(&member.priority, |group| group.priority);
            at.ok().and_then(|at| set.groups.get(at)).is_some_and(|group| group.share > 0)
        };
        let is_able = trials::able(&set.all);
        let able = || set.all.iter().filter(|member| is_able(&member.endpoint)).filter(serves);
        let near = able().filter(is_near).count() as u64;
        let all = able().count() as u64;
        let now: u64 = able().map(|member| u64::from(member.endpoint.in_flight())).sum();
        // An average of about a second: single long answers shall not move traffic to and fro.
        let before = u64::from(self.near.1.load(Ordering::Relaxed));
        let smooth = before - before / 8 + now * 16 / 8;
        self.near.1.store(u32::try_from(smooth).unwrap_or(u32::MAX), Ordering::Relaxed);
        let bears = shares::bears(smooth / 16, near, all - near, bound);
        let old = u64::from(self.near.0.load(Ordering::Relaxed));
        let is_other = bears.abs_diff(old) >= LEAST_MOVE || (bears == WHOLE && old != WHOLE);
        if is_other {
            self.near.0.store(bears as u32, Ordering::Relaxed);
        }
        is_other
    }
}

/// Adds groups of which no member counts now: they get nothing, and the next ones stand in for them.
fn complete(groups: &mut Vec<Group>, all: &[Member]) {
    let known: BTreeSet<u16> = groups.iter().map(|group| group.priority).collect();
    let others: BTreeSet<u16> = all.iter().map(|member| member.priority).collect();
    let empty = |priority: &u16| Group { priority: *priority, ..Group::default() };
    groups.extend(others.difference(&known).map(empty));
    groups.sort_by_key(|group| group.priority);
}

/// The number of those that are as far away: of the same priority and zone (FNV-1a).
fn peers(priority: u16, zone: Option<&str>) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let number = zone.unwrap_or_default().bytes().fold(u32::from(priority), step);
    number.min(NO_PEERS - 1)
}

/// All members of the priorities that `picked` are of.
fn cohort<'m>(picked: impl Iterator<Item = &'m Member>, all: &[Member]) -> Cohort {
    let priorities: BTreeSet<u16> = picked.map(|member| member.priority).collect();
    let peers = all.iter().filter(|member| priorities.contains(&member.priority));
    Cohort::of(peers.map(|member| member.weight))
}

fn fact(
    member: &Member,
    able: impl Fn(&Endpoint) -> bool,
    (rules, now): (&Rules, Instant),
) -> Fact {
    Fact {
        weight: member.weight,
        priority: member.priority,
        healthy: able(&member.endpoint),
        warmth: member.warmth.percent(rules.slow_start.as_ref(), now),
        joining: matches!(member.warmth, Warmth::Joining(_)),
        near: rules.is_near(member.zone.as_ref()),
    }
}

/// 1,000,000, beyond any number of requests that wait.
const MOST_TURNS: u32 = 1_000_000;

/// 5 %: each move is another order of turns, and less is not felt.
const LEAST_MOVE: u64 = WHOLE / 20;

#[cfg(test)]
mod tests;
