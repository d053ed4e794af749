//! The endpoints of one pool, swapped whole. Written by control, read by every worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::address::Address;
use super::drains::Drains;
use super::endpoint::{Endpoint, Health};
use super::ids::EndpointId;

/// What a source says of one address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where it listens.
    pub address: Address,
    /// Its share of the traffic beside the others' weights; at least 1.
    pub weight: u32,
    /// The lowest number that has a healthy endpoint is used (RFC 2782).
    pub priority: u16,
    /// The source that named it, as in `dns billing.internal`.
    pub origin: Arc<str>,
}

/// One endpoint with its place in the pool.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint and its live state.
    pub endpoint: Arc<Endpoint>,
    /// Its share of the traffic beside the others' weights.
    pub weight: u32,
    /// The lowest number that has a healthy endpoint is used.
    pub priority: u16,
    /// The source that named it.
    pub origin: Arc<str>,
}

/// The endpoints that the next pick may take.
#[derive(Debug, Default)]
pub struct Eligible {
    /// In the order of their addresses.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// The weight of each.
    pub weights: Box<[u32]>,
    /// Running sums of the weights where they differ; `None` where all are equal.
    pub cumulative: Option<Box<[u64]>>,
    /// Grows with each change, so that what was derived from an older one can be told.
    pub version: u64,
    /// Too few are healthy: all are used rather than none.
    pub panicking: bool,
    /// Those that come back from an ejection, and get one request at a time beside the others.
    pub on_trial: Box<[Arc<Endpoint>]>,
}

/// All members of one instant and those that may be picked.
#[derive(Debug, Default)]
pub struct MemberSet {
    /// In the order of their addresses.
    pub all: Box<[Member]>,
    /// Those that may be picked.
    pub eligible: Eligible,
}

/// Which endpoints joined and left by one [`Members::replace`].
#[derive(Debug, Default)]
pub struct Change {
    /// New members.
    pub joined: Vec<Arc<Endpoint>>,
    /// Members that are no more.
    pub left: Vec<Arc<Endpoint>>,
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
    /// Below this many healthy of a thousand, all are used.
    panic_permille: AtomicU32,
    newcomer: AtomicU8,
    set: ArcSwap<MemberSet>,
    changes: watch::Sender<u64>,
    /// Held while somebody ejects or readmits. Only ever tried, never waited for.
    turn: AtomicBool,
    /// Somebody is or was ejected, so that there is something to watch. Writer: `health::passive`.
    watchful: AtomicBool,
    /// Shared with all that the pool's name ever has.
    drains: Arc<Drains>,
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
        let members = Self {
            serial,
            born: AtomicU32::new(0),
            panic_permille: AtomicU32::new(0),
            newcomer: AtomicU8::new(newcomer as u8),
            set: ArcSwap::default(),
            changes: watch::Sender::new(0),
            turn: AtomicBool::new(false),
            watchful: AtomicBool::new(true),
            drains: Arc::default(),
        };
        members.set_panic_share(panic_share);
        members
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

    /// Sets the share of healthy members, of one, below which all are used.
    pub fn set_panic_share(&self, share: f64) {
        let permille = (share.clamp(0.0, 1.0) * 1000.0).round();
        self.panic_permille.store(permille as u32, Ordering::Relaxed);
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
    /// an address that is named twice counts once, as the first source named it.
    pub fn replace(&self, found: &[Found]) -> Change {
        let mut wanted: Vec<&Found> = found.iter().collect();
        // Stable: the first source's word stays first.
        wanted.sort_by(|a, b| a.address.cmp(&b.address));
        wanted.dedup_by(|a, b| a.address == b.address);

        let before = self.set.load_full();
        let mut change = Change::default();
        let mut all = Vec::with_capacity(wanted.len());
        for found in wanted {
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
            all.push(Member {
                endpoint,
                weight: found.weight.max(1),
                priority: found.priority,
                origin: Arc::clone(&found.origin),
            });
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
        self.set.rcu(|set| self.assemble(set.all.clone(), set.eligible.version + 1));
    }

    fn publish(&self, all: Box<[Member]>) {
        self.set.rcu(|set| self.assemble(all.clone(), set.eligible.version + 1));
    }

    fn newcomer(&self, address: Address) -> Endpoint {
        let number = u64::from(self.born.fetch_add(1, Ordering::Relaxed));
        let id = EndpointId((u64::from(self.serial) << 32) | number);
        Endpoint::new(id, address, Health::from_word(self.newcomer.load(Ordering::Relaxed)))
    }

    fn assemble(&self, all: Box<[Member]>, version: u64) -> MemberSet {
        // Here, so that who joins while it is drained is never picked: a drain comes before the
        // refresh that follows it, and of two assemblies at once the one that saw less is repeated.
        let drains = self.drains.load();
        for Member { endpoint, .. } in &all {
            endpoint.set_drained(drains.contains_key(&endpoint.address));
        }
        let (picked, panicking) = self.choose(&all);
        let (picked, on_trial) = without_trials(picked, panicking);
        let weights: Box<[u32]> = picked.iter().map(|member| member.weight).collect();
        let endpoints = picked.iter().map(|member| Arc::clone(&member.endpoint)).collect();
        let cumulative = running_sums(&weights);
        let eligible = Eligible { endpoints, weights, cumulative, version, panicking, on_trial };
        MemberSet { all, eligible }
    }

    /// The first priority group that has a healthy member: its healthy members, or all of them
    /// when too few are healthy. With no healthy member anywhere, all of the first group. Those that
    /// are drained are none of its members.
    fn choose<'a>(&self, all: &'a [Member]) -> (Vec<&'a Member>, bool) {
        let present = || all.iter().filter(|member| !member.endpoint.is_drained());
        let mut priorities: Vec<u16> = present().map(|member| member.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let group = |priority: u16| present().filter(move |member| member.priority == priority);
        for priority in &priorities {
            let healthy: Vec<&Member> =
                group(*priority).filter(|member| member.endpoint.is_eligible()).collect();
            if healthy.is_empty() {
                continue;
            }
            let total = group(*priority).count();
            let panic_permille = self.panic_permille.load(Ordering::Relaxed) as usize;
            if healthy.len() * 1000 < total * panic_permille {
                return (group(*priority).collect(), true);
            }
            return (healthy, false);
        }
        match priorities.first() {
            Some(first) => (group(*first).collect(), true),
            None => (Vec::new(), false),
        }
    }
}

/// Takes out those that are on trial, unless all are, or all are used anyway.
fn without_trials(picked: Vec<&Member>, panicking: bool) -> (Vec<&Member>, Box<[Arc<Endpoint>]>) {
    let is_sound = |member: &&Member| !member.endpoint.is_on_trial();
    if panicking || picked.iter().all(is_sound) || !picked.iter().any(is_sound) {
        return (picked, Box::default());
    }
    let (sound, on_trial): (Vec<_>, Vec<_>) = picked.into_iter().partition(is_sound);
    (sound, on_trial.into_iter().map(|member| Arc::clone(&member.endpoint)).collect())
}

fn running_sums(weights: &[u32]) -> Option<Box<[u64]>> {
    let first = weights.first()?;
    if weights.iter().all(|weight| weight == first) {
        return None;
    }
    let mut sum = 0u64;
    Some(
        weights
            .iter()
            .map(|weight| {
                sum += u64::from(*weight);
                sum
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::drains::Drained;
    use super::*;

    fn found(addresses: &[(&str, u16)]) -> Vec<Found> {
        addresses
            .iter()
            .map(|(address, priority)| Found {
                address: address.parse().unwrap(),
                weight: 1,
                priority: *priority,
                origin: "test".into(),
            })
            .collect()
    }

    fn eligible(members: &Members) -> Vec<String> {
        let set = members.load();
        set.eligible.endpoints.iter().map(|endpoint| endpoint.label.to_string()).collect()
    }

    #[test]
    fn an_address_that_stays_keeps_its_endpoint() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));
        let before = members.load().all[1].endpoint.id;

        let change = members.replace(&found(&[("10.0.0.2:80", 0), ("10.0.0.3:80", 0)]));

        assert_eq!(members.load().all[0].endpoint.id, before);
        assert_eq!(change.joined[0].label.as_ref(), "10.0.0.3:80");
        assert_eq!(change.left[0].label.as_ref(), "10.0.0.1:80");
    }

    #[test]
    fn an_address_that_left_and_came_back_is_a_new_endpoint() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.replace(&found(&[("10.0.0.1:80", 0)]));
        let first = Arc::clone(&members.load().all[0].endpoint);
        first.set_health(Health::Down, None);
        members.replace(&[]);
        members.replace(&found(&[("10.0.0.1:80", 0)]));

        let second = Arc::clone(&members.load().all[0].endpoint);

        assert_ne!(first.id, second.id);
        assert_eq!(second.health(), Health::Unchecked);
    }

    #[test]
    fn an_address_named_by_two_sources_counts_once() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.1:80", 3)]));

        assert_eq!(members.load().all.len(), 1);
        assert_eq!(members.load().all[0].priority, 0);
    }

    #[test]
    fn below_the_panic_share_all_are_used_rather_than_few() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0), ("10.0.0.3:80", 0)]));
        let endpoint = |at: usize| Arc::clone(&members.load().all[at].endpoint);

        endpoint(0).set_health(Health::Down, None);
        members.refresh();
        assert_eq!(eligible(&members), ["10.0.0.2:80", "10.0.0.3:80"]);

        endpoint(1).eject(std::time::Duration::from_secs(10));
        members.refresh();
        assert_eq!(eligible(&members).len(), 3);
        assert!(members.load().eligible.panicking);
    }

    #[test]
    fn a_later_priority_serves_only_when_the_earlier_has_nobody() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.replace(&found(&[("10.0.0.1:80", 10), ("10.0.0.2:80", 20)]));
        assert_eq!(eligible(&members), ["10.0.0.1:80"]);

        members.load().all[0].endpoint.set_health(Health::Down, None);
        members.refresh();

        assert_eq!(eligible(&members), ["10.0.0.2:80"]);
    }

    fn drained() -> Drained {
        Drained { since: std::time::SystemTime::UNIX_EPOCH, reason: None }
    }

    #[test]
    fn a_drained_endpoint_is_picked_in_no_case() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0), ("10.0.0.3:80", 0)]));
        let first = Arc::clone(&members.load().all[0].endpoint);

        members.drains().insert(&first.address, &drained());
        members.refresh();
        assert_eq!(eligible(&members), ["10.0.0.2:80", "10.0.0.3:80"]);

        for member in &members.load().all {
            member.endpoint.set_health(Health::Down, None);
        }
        members.refresh();
        assert_eq!(eligible(&members), ["10.0.0.2:80", "10.0.0.3:80"]); // panicking

        members.drains().remove(&first.address);
        members.refresh();
        assert_eq!(eligible(&members).len(), 3);
    }

    #[test]
    fn drained_endpoints_do_not_count_for_the_panic_share() {
        let members = Members::new(1, Health::Unchecked, 0.9);
        members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));
        members.drains().insert(&"10.0.0.1:80".parse().unwrap(), &drained());
        members.refresh();

        assert_eq!(eligible(&members), ["10.0.0.2:80"]);
        assert!(!members.load().eligible.panicking);
    }

    #[test]
    fn an_address_stays_drained_when_it_comes_back_and_in_the_pools_next_members() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.replace(&found(&[("10.0.0.1:80", 0)]));
        members.drains().insert(&"10.0.0.1:80".parse().unwrap(), &drained());
        members.refresh();

        members.replace(&[]);
        members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));
        let next = Members::new(2, Health::Unchecked, 0.5).with_drains(Arc::clone(&members.drains));
        next.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));

        assert_eq!(eligible(&members), ["10.0.0.2:80"]);
        assert_eq!(eligible(&next), ["10.0.0.2:80"]);
    }

    #[test]
    fn an_endpoint_on_trial_is_picked_beside_the_others_only_where_there_are_others() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));
        let endpoint = |at: usize| Arc::clone(&members.load().all[at].endpoint);
        let on_trial = || members.load().eligible.on_trial.len();

        endpoint(0).begin_trial(3);
        members.refresh();
        assert_eq!((eligible(&members), on_trial()), (vec!["10.0.0.2:80".to_owned()], 1));

        endpoint(1).begin_trial(3);
        members.refresh();
        assert_eq!((eligible(&members).len(), on_trial()), (2, 0), "there is nobody else");

        endpoint(0).end_trial();
        endpoint(1).end_trial();
        members.refresh();
        assert_eq!((eligible(&members).len(), on_trial()), (2, 0));
    }

    #[test]
    fn sums_are_kept_only_where_weights_differ() {
        assert_eq!(running_sums(&[2, 2]), None);
        assert_eq!(running_sums(&[1, 3, 2]).as_deref(), Some(&[1, 4, 6][..]));
    }
}
