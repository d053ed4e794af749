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

use crate::model::endpoint::Endpoint;
use crate::model::ids::EndpointId;
use crate::model::members::{Eligible, Member, MemberSet, Roll};
use crate::model::shares::{self, Group};

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
    /// Of which members its own ones were chosen.
    roll: Arc<Roll>,
    /// Those of its own that may be picked, and of each priority that has none of these the one that stands
    /// in for them.
    pub(super) eligible: Eligible,
    /// Its own ones, whether they may be picked or not, by priority.
    own: Arc<[Own]>,
    /// Its own, too: turns and orders are of these endpoints.
    pub(super) balancer: Arc<dyn Balancer>,
}

/// An endpoint of a kind's own.
#[derive(Clone, Copy)]
struct Own {
    priority: u16,
    /// Its place among the members.
    place: usize,
    endpoint: EndpointId,
}

impl Shard {
    /// Whether this endpoint is one of its own.
    pub(super) fn has(&self, endpoint: EndpointId) -> bool {
        self.own.iter().any(|own| own.endpoint == endpoint)
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
        match known.as_ref() {
            Some(shard) if shard.version == set.eligible.version => known,
            before => {
                let shard = self.renewed(kind, set, before, build);
                // Two that meet a change at once work out the same; who is behind keeps nobody back.
                slot.rcu(|known| match known {
                    Some(known) if known.version > shard.version => Some(Arc::clone(known)),
                    _ => Some(Arc::clone(&shard)),
                });
                Guard::from_inner(Some(shard))
            }
        }
    }

    /// Works a shard out. What is dear, the choice of its own endpoints, only for other members.
    #[cold]
    #[inline(never)]
    fn renewed(
        &self,
        kind: usize,
        set: &MemberSet,
        before: Option<&Arc<Shard>>,
        build: impl FnOnce() -> Arc<dyn Balancer>,
    ) -> Arc<Shard> {
        let own = match before {
            Some(shard) if Arc::ptr_eq(&shard.roll, &set.roll) => Arc::clone(&shard.own),
            _ => own(kind, set, self.size),
        };
        Arc::new(Shard {
            version: set.eligible.version,
            roll: Arc::clone(&set.roll),
            eligible: eligible(kind, set, &own),
            own,
            balancer: before.map_or_else(build, |shard| Arc::clone(&shard.balancer)),
        })
    }
}

/// The members that tenants of this kind have: the first `size` of each priority in the order of their
/// preference. Those that are drained are none, so that their tenants go over to the next ones before
/// they stop.
fn own(kind: usize, set: &MemberSet, size: usize) -> Arc<[Own]> {
    let entries = set.roll.entries().iter().zip(&set.all).enumerate();
    let present = entries.filter(|(_, (entry, _))| !entry.drained);
    let ranked = present.map(|(place, (entry, member))| {
        let own = Own { priority: entry.priority, place, endpoint: entry.endpoint };
        (Reverse(score(kind, &member.endpoint)), own)
    });
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by_key(|(_, own)| own.priority);
    let mut all = Vec::new();
    for group in ranked.chunk_by_mut(|(_, one), (_, other)| one.priority == other.priority) {
        if group.len() > size {
            group.select_nth_unstable_by_key(size, |(score, own)| (*score, own.place));
        }
        all.extend(group.iter().take(size).map(|(_, own)| *own));
    }
    all.sort_unstable_by_key(|own| (own.priority, own.place));
    all.into()
}

/// What may be picked for tenants of this kind: of each priority that has a part of the pool's traffic those
/// of its own that may be picked, with that part. Where none of those may, it is the next one that may:
/// one alone, so that whatever has made all of the own ones ill goes through the others one by one at
/// worst.
fn eligible(kind: usize, set: &MemberSet, own: &[Own]) -> Eligible {
    let all = &set.eligible;
    let weight = |place: usize| (place, all.weights.get(place).map_or(1, |one| u64::from(*one)));
    let mut parts: Vec<shares::Set> = Vec::new();
    for own in own.chunk_by(|one, other| one.priority == other.priority) {
        let Some(group) = own.first().and_then(|own| group(set, own.priority)) else { continue };
        let members = own.iter().filter_map(|own| set.all.get(own.place));
        let places = members.filter_map(|member| all.place_of(&member.endpoint));
        let mut places: Vec<_> = places.map(weight).collect();
        if places.is_empty() {
            places.extend(stand_in(kind, set, group.priority).map(weight));
        }
        if !places.is_empty() {
            parts.push((group.share, places));
        }
    }
    let mut places = match parts.as_slice() {
        // As they are in the pool: nobody is beside them.
        [(_, places)] => places
            .iter()
            .map(|(place, _)| (*place, all.weights.get(*place).copied().unwrap_or(1)))
            .collect(),
        _ => shares::joined(&parts),
    };
    places.sort_unstable();
    all.part(kind, &places)
}

/// The members of a priority, where they have a part of the traffic.
fn group(set: &MemberSet, priority: u16) -> Option<&Group> {
    let at = set.groups.binary_search_by_key(&priority, |group| group.priority).ok()?;
    set.groups.get(at).filter(|group| group.share > 0)
}

/// Of those of a priority that may be picked the first one in the order of this kind, as a place among
/// the eligible.
fn stand_in(kind: usize, set: &MemberSet, priority: u16) -> Option<usize> {
    let of_priority = placed(set).filter(|(_, member)| member.priority == priority);
    let first = of_priority.max_by_key(|(_, member)| score(kind, &member.endpoint));
    first.map(|(place, _)| place)
}

/// The members that may be picked, each with its place among the eligible.
fn placed(set: &MemberSet) -> impl Iterator<Item = (usize, &Member)> {
    let mut eligible = set.eligible.endpoints.iter().enumerate().peekable();
    set.all.iter().filter_map(move |member| {
        // Both are in the order of their addresses.
        let is_same = |other: &(usize, &Arc<Endpoint>)| Arc::ptr_eq(other.1, &member.endpoint);
        eligible.next_if(is_same).map(|(place, _)| (place, member))
    })
}

/// The next one in a tenant's order that may be picked and was not tried, of those that seem sound rather
/// than of others. For requests that have reached nobody: they do no harm, and all of the tenant's own are
/// gone.
pub(super) fn next<'s>(
    tenant: &str,
    set: &'s MemberSet,
    tried: &[EndpointId],
) -> Option<&'s Arc<Endpoint>> {
    let kind = kind(tenant);
    let untried = placed(set).filter(|(_, member)| !tried.contains(&member.endpoint.id));
    let next = untried.min_by_key(|(_, member)| {
        let score = score(kind, &member.endpoint);
        (member.endpoint.failures() > 0, member.priority, Reverse(score))
    });
    next.map(|(_, member)| &member.endpoint)
}

/// How much tenants of this kind prefer an endpoint.
fn score(kind: usize, endpoint: &Endpoint) -> u64 {
    mixed(mixed(kind as u64) ^ hash(&endpoint.label))
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

/// 4,096: of so many pairs of tenants one is of one kind by chance, while one of 1,140 has the same three
/// of twenty endpoints. A kind takes about 300 bytes and 60 for each of its endpoints, and
/// up to 1 KiB for turns by weight: 2 to 6 MB a pool for shards of three, 250 MB for the largest
/// that can be configured.
const KINDS: usize = 4096;

#[cfg(test)]
mod tests;
