//! How many connections are open, counted over all workers: in all, by listener and by client.
//!
//! Written to when a connection opens and when it ends, never by a request. What is counted by
//! client is behind locks that are held for one look-up, one lock for a share of all clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::base::loads::Loads;
use crate::base::network::owner;
use crate::base::purse::Client;

use super::handover::{self, Moved};
use super::pleas::{self, Plea};
use super::post::Post;

/// How many connections are open.
#[derive(Debug)]
pub struct Headcount {
    all: AtomicUsize,
    clients: Vec<Mutex<HashMap<u128, Counted>>>,
    pub(super) pleas: Post<Plea>,
    /// Of each worker.
    pub(super) loads: Arc<Loads>,
    pub(super) moves: Post<Moved>,
    born: Instant,
    /// When the log was last told that connections are refused: milliseconds since `born`, plus
    /// one; 0 = never.
    told: AtomicU64,
}

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The gateway.
    Gateway,
    /// One listener.
    Listener,
}

impl Full {
    /// Whose connection must go to make room at this listener; `None` = anybody's.
    pub(super) fn listener(self, number: usize) -> Option<usize> {
        (self == Self::Listener).then_some(number)
    }

    /// The metric's word for it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Gateway => "too_many",
            Self::Listener => "too_many_of_listener",
        }
    }
}

/// A connection that is counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    headcount: Arc<Headcount>,
    /// Its listener's.
    here: Arc<AtomicUsize>,
}

/// A connection that is counted as its client's, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    headcount: Arc<Headcount>,
    /// What all of the client's connections hold.
    pub(super) client: Arc<Client>,
}

/// What is known of a client.
#[derive(Debug)]
struct Counted {
    connections: usize,
    client: Arc<Client>,
}

impl Headcount {
    /// Nobody is here yet.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            all: AtomicUsize::new(0),
            clients: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            pleas: pleas::ways(workers),
            loads: Loads::new(workers),
            moves: handover::ways(workers),
            born: Instant::now(),
            told: AtomicU64::new(0),
        })
    }

    /// How many each worker has.
    pub fn loads(&self) -> &Arc<Loads> {
        &self.loads
    }

    /// Counts a connection of a listener, whose own count is `here`, where there is room: at most
    /// `all`, and on the listener at most `own`.
    pub(super) fn enter(
        self: &Arc<Self>,
        here: &Arc<AtomicUsize>,
        all: usize,
        own: Option<usize>,
    ) -> Result<Place, Full> {
        if here.fetch_add(1, Ordering::Relaxed) >= own.unwrap_or(usize::MAX) {
            here.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Listener);
        }
        if self.all.fetch_add(1, Ordering::Relaxed) >= all {
            self.all.fetch_sub(1, Ordering::Relaxed);
            here.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Gateway);
        }
        Ok(Place { headcount: Arc::clone(self), here: Arc::clone(here) })
    }

    /// Counts a connection of a client that has fewer than `most`.
    pub(super) fn share(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Share> {
        let address = owner(address);
        let mut counts = self.counts(address);
        let unknown = || Counted { connections: 0, client: Client::new(address) };
        let counted = counts.entry(address).or_insert_with(unknown);
        if counted.connections >= most {
            return None; // `most` is above 0, so that no empty entry is left behind
        }
        counted.connections += 1;
        let client = Arc::clone(&counted.client);
        drop(counts);
        Some(Share { headcount: Arc::clone(self), client })
    }

    /// Whether the log may be told now that connections are refused: once a second over all workers.
    pub(super) fn may_tell(&self) -> bool {
        let now = Instant::now().saturating_duration_since(self.born).as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX - 1) + 1;
        let told = self.told.load(Ordering::Relaxed);
        let due = told == 0 || now >= told + SECOND;
        due && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn counts(&self, client: u128) -> MutexGuard<'_, HashMap<u128, Counted>> {
        let folded = (client >> 64) as u64 ^ client as u64;
        let shard = folded.wrapping_mul(SPREAD) >> (u64::BITS - SHARDS.ilog2());
        let counts = self.clients[shard as usize].lock();
        counts.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.headcount.all.fetch_sub(1, Ordering::Relaxed);
        self.here.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let address = self.client.address;
        let mut counts = self.headcount.counts(address);
        if let Some(counted) = counts.get_mut(&address) {
            counted.connections -= 1;
            if counted.connections == 0 {
                counts.remove(&address);
                // What a flood left behind is not kept for good.
                if counts.len() * 8 < counts.capacity() {
                    counts.shrink_to_fit();
                }
            }
        }
    }
}

/// 64 locks: more than workers that open a connection in the same instant.
const SHARDS: usize = 64;
/// Odd, and near the golden ratio of 2^64: neighbouring addresses fall into different shards.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// In milliseconds.
const SECOND: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn who_leaves_makes_room() {
        let (headcount, one, other) = (Headcount::new(1), Arc::default(), Arc::default());
        let first = headcount.enter(&one, 2, Some(1)).unwrap();
        assert_eq!(headcount.enter(&one, 2, Some(1)).unwrap_err(), Full::Listener);
        let second = headcount.enter(&other, 2, None).unwrap();
        assert_eq!(headcount.enter(&other, 2, None).unwrap_err(), Full::Gateway);

        drop(first);

        let third = headcount.enter(&one, 2, Some(1)).unwrap();
        assert_eq!(headcount.enter(&other, 2, None).unwrap_err(), Full::Gateway);
        drop((second, third));
        assert_eq!(headcount.all.load(Ordering::Relaxed), 0);
        assert!([one, other].iter().all(|own| own.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_client_is_counted_by_its_address_and_by_its_64_bits_of_ipv6() {
        let headcount = Headcount::new(1);
        let first = headcount.share(at("192.0.2.1"), 1).unwrap();
        assert!(headcount.share(at("::ffff:192.0.2.1"), 1).is_none());
        let other = headcount.share(at("192.0.2.2"), 1).unwrap();
        let v6 = headcount.share(at("2001:db8:0:1::1"), 1).unwrap();
        assert!(headcount.share(at("2001:db8:0:1:ffff::2"), 1).is_none());
        let next = headcount.share(at("2001:db8:0:2::1"), 1).unwrap();

        drop((first, other, v6, next));

        assert!(headcount.clients.iter().all(|counts| counts.lock().unwrap().is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_told_once_a_second() {
        let headcount = Headcount::new(1);
        assert!(headcount.may_tell() && !headcount.may_tell());
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(!headcount.may_tell());

        tokio::time::advance(Duration::from_millis(1)).await;

        assert!(headcount.may_tell() && !headcount.may_tell());
    }
}
