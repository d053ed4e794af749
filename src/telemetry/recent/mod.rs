//! What was counted in the last minutes, for people who look at it now: rates and latency of all,
//! of each pool and of each tenant. Kept on the control side from the deltas that the metrics are
//! summed from, by number and not by label, so that the cap of tenants in the metrics does not
//! matter here.
//!
//! What it holds is bounded. For each tenant and pool with a request in the last 20 s, two windows
//! of some 100 bytes; and for 256 tenants and as many pools, a history of ten minutes in
//! [`POINTS`] points of 16 bytes. The history of the busiest, the worst and those that somebody
//! looked at is kept.

mod counts;
mod group;
mod track;
mod windows;

use std::time::Duration;

use tokio::time::Instant;

use super::delta::Delta;

use counts::Counts;
use group::Group;
use track::Track;

pub use counts::{Rates, Sort};
pub use track::Chart;

/// What was counted in the last minutes.
#[derive(Debug)]
pub struct Recent {
    total: Counts,
    total_before: Counts,
    history: Track,
    /// Answers of the gateway itself to problems: in this window and in the one before.
    own: [u64; 2],
    tenants: Group,
    pools: Group,
    /// Points that are closed.
    points: u64,
    /// When the window before this one began.
    began: Instant,
    /// When this window began.
    turned: Instant,
}

impl Recent {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            total: Counts::default(),
            total_before: Counts::default(),
            history: Track::new(now, Counts::default()),
            own: [0; 2],
            tenants: Group::default(),
            pools: Group::default(),
            points: 0,
            began: now,
            turned: now,
        }
    }

    /// Adds what a worker counted.
    pub(super) fn add(&mut self, delta: &Delta) {
        // Numbers here are those of the labels and 1; 0 stands for none.
        self.total.add_classes(&delta.requests.classes);
        self.total.add_durations(&delta.requests.duration);
        for requests in delta.tenants.iter() {
            if let Some(tenant) = requests.tenant.checked_sub(1) {
                self.tenants.at(tenant).add(requests);
            }
        }
        for (pool, counts) in delta.pools.iter() {
            if let Some(pool) = pool.checked_sub(1) {
                let recent = self.pools.at(pool);
                recent.add_classes(&counts.classes);
                recent.add_durations(&counts.first_byte);
            }
        }
        self.own[0] += delta.answers.0.iter().map(|(_, count)| count).sum::<u64>();
    }

    /// Closes a point of the histories; every second one turns the windows. Due each [`POINT`].
    pub(super) fn turn(&mut self) {
        let now = Instant::now();
        self.points += 1;
        self.history.close(&self.total);
        self.tenants.close();
        self.pools.close();
        if self.points.is_multiple_of(POINTS_A_WINDOW) {
            self.total_before = std::mem::take(&mut self.total);
            self.history.turn();
            self.own = [0, self.own[0]];
            self.tenants.turn(now);
            self.pools.turn(now);
            self.began = std::mem::replace(&mut self.turned, now);
        }
    }

    /// Over how much time rates are reckoned now: 10 to 20 s, less right after the start.
    pub fn span(&self) -> Duration {
        self.began.elapsed().max(SHORTEST)
    }

    /// How many points are closed: histories change when this does.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// All requests.
    pub fn total(&self) -> Rates {
        let mut counts = self.total.clone();
        counts.merge(&self.total_before);
        counts.rates(self.span())
    }

    /// Answers of the gateway itself to problems, per second.
    pub fn own_answers(&self) -> f64 {
        counts::per_second(self.own[0] + self.own[1], self.span())
    }

    /// The history of all requests.
    pub fn total_chart(&self) -> Chart {
        self.history.chart()
    }

    /// Requests of the tenant with this number.
    pub fn tenant(&self, slot: u32) -> Rates {
        self.tenants.counts(slot).rates(self.span())
    }

    /// The history of the tenant with this number, where it is kept. From now on it is.
    pub fn tenant_chart(&mut self, slot: u32) -> Chart {
        self.tenants.chart(slot)
    }

    /// Where the tenant with this number stands in an order: the more, the further ahead.
    pub fn tenant_key(&self, slot: u32, sort: Sort) -> u64 {
        self.tenants.key(slot, sort)
    }

    /// Requests to the pool with this number; its latency is the time to the head of an answer.
    pub fn pool(&self, slot: u32) -> Rates {
        self.pools.counts(slot).rates(self.span())
    }

    /// The history of the pool with this number, where it is kept. From now on it is.
    pub fn pool_chart(&mut self, slot: u32) -> Chart {
        self.pools.chart(slot)
    }

    /// Where the pool with this number stands in an order: the more, the further ahead.
    pub fn pool_key(&self, slot: u32, sort: Sort) -> u64 {
        self.pools.key(slot, sort)
    }
}

/// How long a point of a history is.
pub const POINT: Duration = Duration::from_secs(5);

/// Points that a history has at most: ten minutes.
pub const POINTS: usize = 120;

/// Two: rates are over the window of now and the one before, 10 to 20 s. Shorter ones jump, as
/// workers report once a second.
const POINTS_A_WINDOW: u64 = 2;

/// 1 s: what a worker reports at once is what it counted in a second.
const SHORTEST: Duration = Duration::from_secs(1);

/// Tenants, and as many pools, whose histories are kept: half a megabyte each.
const TRACKS: usize = 256;

#[cfg(test)]
mod tests;
