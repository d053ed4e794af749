//! Shuffle sharding: each tenant has a few endpoints of a pool, so that what it does to them hurts only
//! those few tenants that have the very same ones.
//!
//! Which ones is settled by rendezvous hashing of the tenant's id and the endpoints' addresses: all
//! gateways agree on it, also after a restart, and an endpoint that comes or goes moves nobody but those
//! who get it or had it.
//!
//! Tenants are of [`KINDS`] kinds, by a hash of their ids. So what is worked out takes bounded memory,
//! and no tenant pushes another one's out.

use std::cmp::Reverse;
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use crate::model::ids::EndpointId;
use crate::model::members::{Eligible, MemberSet};

use super::balancer::Balancer;

/// The shards of one pool.
pub(super) struct Shards {
    /// Endpoints that a tenant has, of each priority; at least 1.
    size: usize,
    /// Worked out by the first request of each kind after a change of the endpoints.
    known: Box<[ArcSwapOption<Shard>]>,
}

/// What tenants of one kind have of a pool.
pub(super) struct Shard {
    /// Of which eligible endpoints of the pool.
    version: u64,
    /// Those of its own that may be picked, or the one that stands in for them.
    pub(super) eligible: Eligible,
    /// Its own ones, whether they may be picked or not.
    own: Box<[EndpointId]>,
    /// Its own, too: turns and orders are of these endpoints.
    pub(super) balancer: Arc<dyn Balancer>,
}

impl Shard {
    /// Whether this endpoint is one of its own.
    pub(super) fn has(&self, endpoint: EndpointId) -> bool {
        self.own.contains(&endpoint)
    }
}

impl Shards {
    /// For tenants that have so many endpoints each, of each priority.
    pub(super) fn new(size: usize) -> Self {
        Self { size: size.max(1), known: (0..KINDS).map(|_| ArcSwapOption::empty()).collect() }
    }

    /// What a tenant has of these members. `build` makes a balancer where none is known.
    pub(super) fn of(
        &self,
        tenant: &str,
        set: &MemberSet,
        build: impl FnOnce() -> Arc<dyn Balancer>,
    ) -> Guard<Option<Arc<Shard>>> {
        let kind = kind(tenant);
        let Some(slot) = self.known.get(kind) else { return Guard::from_inner(None) };
        let known = slot.load();
        if known.as_ref().is_some_and(|shard| shard.version == set.eligible.version) {
            return known;
        }
        let balancer = known.as_ref().map(|shard| Arc::clone(&shard.balancer));
        let (eligible, own) = work_out(kind, set, self.size);
        let version = set.eligible.version;
        let balancer = balancer.unwrap_or_else(build);
        let shard = Arc::new(Shard { version, eligible, own, balancer });
        slot.store(Some(Arc::clone(&shard)));
        Guard::from_inner(Some(shard))
    }
}

/// A member as a kind of tenants sees it.
struct Candidate {
    priority: u16,
    score: u64,
    endpoint: EndpointId,
    /// Its place among the eligible; `None` = it may not be picked.
    place: Option<usize>,
}

/// The members that tenants of this kind have, in the order of their preference. Those that are drained
/// are none, so that their tenants go over to the next ones before they stop.
fn ranked(kind: usize, set: &MemberSet) -> Vec<Candidate> {
    let mut eligible = set.eligible.endpoints.iter().enumerate().peekable();
    let seed = mixed(kind as u64);
    let mut candidates = Vec::with_capacity(set.all.len());
    for member in &set.all {
        // Both are in the order of their addresses.
        let is_same = |other: &(usize, &Arc<_>)| Arc::ptr_eq(other.1, &member.endpoint);
        let place = eligible.next_if(is_same).map(|(place, _)| place);
        if member.endpoint.is_drained() {
            continue;
        }
        candidates.push(Candidate {
            priority: member.priority,
            score: mixed(seed ^ hash(&member.endpoint.label)),
            endpoint: member.endpoint.id,
            place,
        });
    }
    candidates.sort_unstable_by_key(|one| (one.priority, Reverse(one.score)));
    candidates
}

/// What may be picked for tenants of this kind, and which members are their own: the first `size` of each
/// priority. Where none of those may be picked, it is the next one that may: one alone, so that whatever
/// has made all of the own ones ill goes through the others one by one at worst.
fn work_out(kind: usize, set: &MemberSet, size: usize) -> (Eligible, Box<[EndpointId]>) {
    let ranked = ranked(kind, set);
    let (mut own, mut places) = (Vec::new(), Vec::new());
    for group in ranked.chunk_by(|one, other| one.priority == other.priority) {
        for one in group.iter().take(size) {
            own.push(one.endpoint);
            places.extend(one.place);
        }
    }
    if places.is_empty() {
        places.extend(ranked.iter().find_map(|one| one.place));
    }
    places.sort_unstable();
    let all = &set.eligible;
    let endpoints = places.iter().filter_map(|place| all.endpoints.get(*place)).map(Arc::clone);
    let weights = places.iter().filter_map(|place| all.weights.get(*place)).copied();
    let eligible = Eligible::of(endpoints.collect(), weights.collect(), all.version, all.panicking);
    (eligible, own.into())
}

/// The kind of a tenant.
fn kind(tenant: &str) -> usize {
    (mixed(hash(tenant)) % KINDS as u64) as usize
}

/// FNV-1a: the same in every process and every version. No client chooses what goes in.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Another number that looks as random (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// 4,096: two tenants in a thousand times as many pairs are of one kind by chance, which is less than
/// have the same three of twenty endpoints; and the shards of a pool take 2 MB at most.
const KINDS: usize = 4096;

#[cfg(test)]
mod tests;
