//! What a worker counted since its last flush: only what was touched, each with its name.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::model::endpoint::Endpoint;
use crate::model::ids::{EndpointId, Label};

use super::attempts::Rare;
use super::by_slot::BySlot;
use super::histogram::{Histogram, Took, each_counted};
use super::mirrors::MirrorCounts;
use super::sightings::Sighted;
use super::tenant_delta::{TenantDelta, TenantDeltas};

/// How one attempt at an endpoint ended: the closed set of the `outcome` label. Never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// An answer below 200: a connection that was upgraded.
    Informational,
    /// An answer of 200 to 299.
    Success,
    /// An answer of 300 to 399.
    Redirection,
    /// An answer of 400 to 499.
    ClientError,
    /// An answer of 500 or more.
    ServerError,
    /// No connection: refused, unreachable, out of sockets.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// The TLS handshake failed or took too long.
    Tls,
    /// The connection died before an answer.
    Reset,
    /// The attempt's deadline passed before an answer.
    Timeout,
    /// What came back is no HTTP.
    BadAnswer,
    /// The endpoint refused the HTTP/2 stream without acting on it.
    Refused,
    /// The client left before an answer.
    Cancelled,
}

impl AttemptOutcome {
    /// Whether it is an answer, whatever that says.
    #[inline]
    pub fn is_answer(self) -> bool {
        self == Self::ServerError || self.is_served()
    }

    /// Whether it is an answer that does not say that the endpoint is at fault.
    #[inline]
    pub fn is_served(self) -> bool {
        matches!(self, Self::Informational | Self::Success | Self::Redirection | Self::ClientError)
    }

    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Reset,
        Self::Timeout,
        Self::BadAnswer,
        Self::Refused,
        Self::Cancelled,
    ];

    /// The outcome of an answer with this status.
    pub fn from_status(status: u16) -> Self {
        match status {
            0..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::BadAnswer => "bad_answer",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What became of a request that came to a pool without room: the closed set of a label. Never rename
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOutcome {
    /// It had its turn.
    Served,
    /// Too many of its tenant waited.
    Full,
    /// It waited for too long.
    Late,
    /// The client left meanwhile.
    Left,
}

impl QueueOutcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Served, Self::Full, Self::Late, Self::Left];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Full => "full",
            Self::Late => "late",
            Self::Left => "left",
        }
    }
}

/// What became of a tenant's requests that came to pools without room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QueueCounts {
    pub(super) outcomes: [u64; QueueOutcome::ALL.len()],
    /// Time waited in all.
    pub(super) waited: Duration,
}

impl QueueCounts {
    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        add_each(&mut self.outcomes, &other.outcomes);
        self.waited += other.waited;
    }
}

/// What limits and full pools have done to requests of a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldBack {
    /// Time waited for room within a limit.
    pub(super) waited: Duration,
    /// Requests that were refused, by the name of the problem.
    pub(super) refused: Tally,
}

/// What a worker counted since its last flush.
#[derive(Debug, Default)]
pub struct Delta {
    pub(super) tenants: TenantDeltas,
    /// What those of all tenants come to: summed here, where it is one line of the caches for all.
    pub(super) requests: Requests,
    pub(super) pools: BySlot<PoolCounts>,
    pub(super) endpoints: HashMap<EndpointId, EndpointCounts, BuildHasherDefault<IdHasher>>,
    /// By the listener's number.
    pub(super) listeners: Vec<Flow>,
    /// Exchanges: opened at their start, closed at their end.
    pub(super) exchanges: Flow,
    pub(super) answers: Tally,
    pub(super) rejected: Tally,
    pub(super) retired: Tally,
    pub(super) forwarded_faults: Tally,
    pub(super) debugged: Tally,
    pub(super) access_refused: Tally,
    pub(super) authorized: Tally,
    /// In microseconds.
    pub(super) authorizing: Tally,
    /// By the tenant's number, which was heard of; empty where no pool is full.
    pub(super) queues: BTreeMap<u32, QueueCounts>,
    /// As `queues`; empty where no limit is reached.
    pub(super) held_back: BTreeMap<u32, HeldBack>,
    pub(super) limit_waits: Tally,
    pub(super) panics: u64,
}

/// The class of an answer's status, as the value of the `class` label: the hundred is the index.
/// The first stands for an exchange that ended before it had an answer.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// One request that ended, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct One {
    /// The place among [`CLASSES`].
    pub(super) class: usize,
    pub(super) took: Took,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// Requests, whoever's they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pub(super) classes: [u64; CLASSES.len()],
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) duration: Histogram,
}

/// What is counted for one pool.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolCounts {
    /// Requests by class, for who looks at the last minutes: sums have them by tenant.
    pub(super) classes: [u64; CLASSES.len()],
    pub(super) first_byte: Histogram,
    pub(super) retries: Tally,
    pub(super) refused: Tally,
    pub(super) ejections: u64,
    pub(super) spared: u64,
    /// Ejections of those that differ from the others, by cause.
    pub(super) outliers: Tally,
    /// Trials after ejections, by result.
    pub(super) trials: Tally,
    /// What breakers became.
    pub(super) breakers: Tally,
    pub(super) connections: Flow,
    pub(super) reused: u64,
    /// Boxed: most pools are never full.
    pub(super) queue: Option<Box<PoolQueue>>,
    /// Boxed: most pools have nothing of it.
    pub(super) rare: Option<Box<Rare>>,
    /// Boxed: few pools get copies.
    pub(super) mirror: Option<Box<MirrorCounts>>,
}

/// What became of requests that came to a pool without room.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolQueue {
    /// How long those waited that had their turn.
    pub(super) waits: Histogram,
    pub(super) outcomes: [u64; QueueOutcome::ALL.len()],
}

/// Attempts at one endpoint, by outcome.
#[derive(Clone, Debug)]
pub(super) struct EndpointCounts {
    pub(super) pool: Arc<str>,
    pub(super) endpoint: Arc<str>,
    pub(super) outcomes: [u64; AttemptOutcome::ALL.len()],
    /// What else they say of it.
    pub(super) sighted: Option<Box<Sighted>>,
}

/// Things that open and close: the difference is how many are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) opened: u64,
    pub(super) closed: u64,
}

/// Counts under a few fixed names.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(pub(super) Vec<(&'static str, u64)>);

impl Delta {
    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
            && self.pools.is_empty()
            && self.endpoints.is_empty()
            && self.listeners.is_empty()
            && self.exchanges == Flow::default()
            && self.answers.0.is_empty()
            && self.rejected.0.is_empty()
            && self.retired.0.is_empty()
            && self.forwarded_faults.0.is_empty()
            && self.debugged.0.is_empty()
            && self.access_refused.0.is_empty()
            && self.authorized.0.is_empty()
            && self.queues.is_empty()
            && self.held_back.is_empty()
            && self.limit_waits.0.is_empty()
            && self.panics == 0
    }

    /// Moves out what was counted; the arrays that find it stay.
    pub(super) fn take(&mut self) -> Self {
        Self {
            tenants: self.tenants.take(),
            requests: std::mem::take(&mut self.requests),
            pools: self.pools.take(),
            endpoints: std::mem::take(&mut self.endpoints),
            listeners: std::mem::take(&mut self.listeners),
            exchanges: std::mem::take(&mut self.exchanges),
            answers: std::mem::take(&mut self.answers),
            rejected: std::mem::take(&mut self.rejected),
            retired: std::mem::take(&mut self.retired),
            forwarded_faults: std::mem::take(&mut self.forwarded_faults),
            debugged: std::mem::take(&mut self.debugged),
            access_refused: std::mem::take(&mut self.access_refused),
            authorized: std::mem::take(&mut self.authorized),
            authorizing: std::mem::take(&mut self.authorizing),
            queues: std::mem::take(&mut self.queues),
            held_back: std::mem::take(&mut self.held_back),
            limit_waits: std::mem::take(&mut self.limit_waits),
            panics: std::mem::take(&mut self.panics),
        }
    }

    /// Counts a request of this tenant to this pool, both of which were heard of.
    pub(super) fn request(&mut self, tenant: Option<u32>, pool: Option<u32>, one: &One) {
        self.tenants.at(tenant, pool).count(one);
        self.requests.count(one);
        if pool.is_some() {
            self.pools.of(pool).classes[one.class] += 1;
        }
    }

    /// Counts an endpoint of this pool that was ejected.
    pub(super) fn eject(&mut self, pool: &Label, cause: &'static str) {
        let counts = self.pools.at(pool);
        counts.ejections += 1;
        match cause {
            "failures" => {}
            "trial" => counts.trials.add("failed", 1),
            cause => counts.outliers.add(cause, 1),
        }
    }

    pub(super) fn listener(&mut self, index: usize) -> &mut Flow {
        if index >= self.listeners.len() {
            self.listeners.resize(index + 1, Flow::default());
        }
        &mut self.listeners[index]
    }

    pub(super) fn endpoint(&mut self, pool: &Label, endpoint: &Endpoint) -> &mut EndpointCounts {
        self.endpoints.entry(endpoint.id).or_insert_with(|| EndpointCounts {
            pool: Arc::clone(&pool.name),
            endpoint: Arc::clone(&endpoint.label),
            outcomes: [0; AttemptOutcome::ALL.len()],
            sighted: None,
        })
    }
}

impl One {
    /// A request with an answer of this status, so many bytes of the one and the other.
    pub(super) fn of(status: u16, took: Duration, (bytes_in, bytes_out): (u64, u64)) -> Self {
        let class = usize::from(status / 100).min(CLASSES.len() - 1);
        Self { class, took: Took::of(took), bytes_in, bytes_out }
    }
}

impl Requests {
    /// Counts one.
    pub(super) fn count(&mut self, one: &One) {
        self.classes[one.class] += 1;
        self.bytes_in += one.bytes_in;
        self.bytes_out += one.bytes_out;
        self.duration.count_one(one.took);
    }

    /// Takes away some of them.
    pub(super) fn subtract(&mut self, some: &TenantDelta) {
        each_counted(some.classes, |class, less| self.classes[class] -= u64::from(less));
        self.bytes_in -= some.bytes_in;
        self.bytes_out -= some.bytes_out;
        self.duration.subtract(&some.duration);
    }
}

impl PoolCounts {
    /// Adds what another one counted, save requests.
    pub(super) fn merge(&mut self, other: &Self) {
        self.first_byte.merge(&other.first_byte);
        self.retries.merge(&other.retries);
        self.refused.merge(&other.refused);
        self.ejections += other.ejections;
        self.spared += other.spared;
        self.outliers.merge(&other.outliers);
        self.trials.merge(&other.trials);
        self.breakers.merge(&other.breakers);
        self.connections.merge(other.connections);
        self.reused += other.reused;
        if let Some(other) = &other.queue {
            let own = self.queue.get_or_insert_default();
            own.waits.merge(&other.waits);
            add_each(&mut own.outcomes, &other.outcomes);
        }
        if let Some(other) = &other.rare {
            self.rare.get_or_insert_default().merge(other);
        }
        if let Some(other) = &other.mirror {
            self.mirror.get_or_insert_default().merge(other);
        }
    }
}

impl Flow {
    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed += other.closed;
    }

    /// How many are open.
    pub(super) fn open(self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }
}

impl Tally {
    /// Adds `count` under `name`.
    pub(super) fn add(&mut self, name: &'static str, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((name, count)),
        }
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add(name, *count);
        }
    }
}

/// Adds `more` to `counts`, place by place.
pub(super) fn add_each(counts: &mut [u64], more: &[u64]) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count += more;
    }
}

/// Hashes an [`EndpointId`]: a number that nobody outside chooses, so that one multiplication
/// spreads it well enough.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(SPREAD).rotate_left(26);
    }
}

/// 2^64 divided by the golden ratio, as in Fibonacci hashing.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
