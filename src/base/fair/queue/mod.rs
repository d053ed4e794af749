//! Who is next of those that wait: self-clocked weighted fair queueing (Golestani 1994), at two
//! levels. Of the classes each has a share that the others cannot take; within a class each flow has
//! one by its weight. Whoever is served moves its own virtual time on by its cost over its weight, and
//! the least virtual finish is next. Pure: no clock, no lock, and it knows nothing of a limit.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// How urgent a flow, or a part of it, is beside others; the more urgent is the lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Class {
    /// Before all others, as long as it leaves them their shares.
    Critical,
    /// The usual one.
    #[default]
    Normal,
    /// What may wait.
    Batch,
}

/// Who asks, and what may be asked of those who wait.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Whose it is.
    pub flow: u32,
    /// Its share beside other flows of its class; 0 counts as 1.
    pub weight: u32,
    /// Its class.
    pub class: Class,
    /// How many of this flow and this class may wait at once.
    pub most: usize,
    /// When it is not waited for any longer.
    pub until: Instant,
    /// What is assumed to be taken, in µs.
    pub cost: u32,
}

/// The place of one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    class: usize,
    flow: u32,
    number: u64,
}

/// What one that was served was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charge {
    class: Class,
    flow: u32,
    cost: u32,
}

/// What is found at the front.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// It is this one's turn.
    Turn(T, Charge),
    /// This one, of this flow, has waited for too long; whose turn it is shows the next look.
    Late(T, u32),
    /// Nobody waits.
    Nobody,
}

/// Those who wait, each with a `T`.
#[derive(Debug)]
pub(super) struct Queue<T> {
    lanes: [Lane<T>; 3],
    /// The virtual finish of what was served last, among classes. Goes back where that had taken less
    /// than it was charged: who comes then would else stand behind all that is owed to who was there.
    now: u128,
    waiting: usize,
    /// The number of the next that comes.
    number: u64,
}

/// One class.
#[derive(Debug)]
struct Lane<T> {
    /// Of hundred.
    share: u32,
    clock: Clock,
    /// The same among its flows.
    now: u128,
    flows: BTreeMap<u32, Flow<T>>,
    /// Flows that have somebody waiting, by the virtual finish of their first.
    turns: BTreeSet<(u128, u32)>,
    /// So many flows are gone through for those that can be forgotten.
    many: usize,
}

/// One flow of a class.
#[derive(Debug)]
struct Flow<T> {
    weight: u32,
    clock: Clock,
    /// The virtual finish of its first, while somebody waits.
    finish: u128,
    waiters: BTreeMap<u64, Waiter<T>>,
}

#[derive(Debug)]
struct Waiter<T> {
    cost: u32,
    until: Instant,
    what: T,
}

/// The virtual time of a class or a flow.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    /// Where what it is given next begins.
    start: u128,
    /// Those who waited have left without a turn: it keeps its place.
    owed: bool,
}

impl Ticket {
    /// Whose it is.
    pub(super) fn flow(self) -> u32 {
        self.flow
    }
}

impl Charge {
    /// Whose it is.
    pub(super) fn flow(self) -> u32 {
        self.flow
    }
}

impl Class {
    /// Every class, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Batch];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Batch => "batch",
        }
    }

    /// What it has of hundred while all classes wait.
    fn share(self) -> u32 {
        match self {
            Self::Critical => 90,
            Self::Normal => 9,
            Self::Batch => 1,
        }
    }
}

impl Clock {
    /// Somebody waits again. Who was away has saved nothing up, save the one turn that it waited for
    /// in vain: else a class with a small share, whose waiters leave before it adds up to a turn,
    /// would never have one.
    fn resume(&mut self, now: u128, step: u128) {
        let from = if self.owed { now.saturating_sub(step) } else { now };
        self.start = self.start.max(from);
        self.owed = false;
    }

    /// What was served took more or less than was charged.
    fn correct(&mut self, charged: u128, took: u128) {
        self.start = self.start.saturating_sub(charged).saturating_add(took);
    }
}

impl<T> Queue<T> {
    /// Nobody waits.
    pub(super) fn new() -> Self {
        Self { lanes: Class::ALL.map(Lane::new), now: 0, waiting: 0, number: 0 }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// How many of this flow wait.
    pub(super) fn waiting_of(&self, flow: u32) -> usize {
        let lanes = self.lanes.iter();
        lanes.filter_map(|lane| lane.flows.get(&flow)).map(|flow| flow.waiters.len()).sum()
    }

    /// Lets one wait.
    ///
    /// # Errors
    /// When too many of its flow wait in its class.
    pub(super) fn push(&mut self, claim: &Claim, what: T) -> Result<Ticket, T> {
        let class = claim.class as usize;
        let lane = &mut self.lanes[class];
        let waiting = lane.flows.get(&claim.flow).map_or(0, |flow| flow.waiters.len());
        if waiting >= claim.most {
            return Err(what);
        }
        if lane.turns.is_empty() {
            lane.clock.resume(self.now, step(claim.cost, lane.share));
        }
        self.number += 1;
        self.waiting += 1;
        let waiter = Waiter { cost: claim.cost, until: claim.until, what };
        lane.push(claim, self.number, waiter);
        Ok(Ticket { class, flow: claim.flow, number: self.number })
    }

    /// Takes one out that waits no longer; `None` where it has had its turn.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let removed = self.lanes[ticket.class].remove(ticket.flow, ticket.number)?;
        self.left();
        Some(removed.what)
    }

    /// Takes out whose turn it is, or one before it that has waited for too long.
    pub(super) fn next(&mut self, now: Instant) -> Next<T> {
        let finish = |lane: &Lane<T>| {
            let cost = lane.first()?.1.cost;
            Some(lane.clock.start + step(cost, lane.share))
        };
        let finishes = Class::ALL.map(|class| (finish(&self.lanes[class as usize]), class));
        let first = finishes.into_iter().filter_map(|(finish, class)| Some((finish?, class)));
        let Some((finish, class)) = first.min_by_key(|(finish, _)| *finish) else {
            return Next::Nobody;
        };
        let lane = &mut self.lanes[class as usize];
        let Some(flow) = lane.first().map(|(flow, _)| flow) else { return Next::Nobody };
        let next = lane.take_first(flow, now);
        if let Some(Ok(_)) = &next {
            lane.clock.start = finish;
            lane.clock.owed = false;
            self.now = finish;
        }
        let next = match next {
            None => return Next::Nobody,
            Some(Ok(waiter)) => Next::Turn(waiter.what, Charge { class, flow, cost: waiter.cost }),
            Some(Err(late)) => Next::Late(late.what, flow),
        };
        self.left();
        next
    }

    /// What was served has taken so long, in µs: its flow and its class are charged for that.
    pub(super) fn settle(&mut self, charge: Charge, took: u32) {
        let lane = &mut self.lanes[charge.class as usize];
        lane.clock.correct(step(charge.cost, lane.share), step(took, lane.share));
        lane.correct(charge, took);
    }

    /// One has left. With the last of them what was is forgotten: nobody has had to stand back.
    fn left(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.lanes = Class::ALL.map(Lane::new);
            self.now = 0;
        }
    }
}

impl<T> Lane<T> {
    fn new(class: Class) -> Self {
        Self {
            share: class.share(),
            clock: Clock::default(),
            now: 0,
            flows: BTreeMap::new(),
            turns: BTreeSet::new(),
            many: 0,
        }
    }

    /// The flow whose turn it is, and who is first there.
    fn first(&self) -> Option<(u32, &Waiter<T>)> {
        let (_, flow) = self.turns.first()?;
        let waiter = self.flows.get(flow)?.waiters.values().next()?;
        Some((*flow, waiter))
    }

    fn push(&mut self, claim: &Claim, number: u64, waiter: Waiter<T>) {
        self.prune();
        let flow = self.flows.entry(claim.flow).or_insert_with(|| Flow {
            weight: 1,
            clock: Clock { start: self.now, owed: false },
            finish: 0,
            waiters: BTreeMap::new(),
        });
        flow.weight = claim.weight.max(1); // of now: it holds from the next turn on
        if flow.waiters.is_empty() {
            flow.clock.resume(self.now, step(waiter.cost, flow.weight));
            flow.finish = flow.clock.start + step(waiter.cost, flow.weight);
            self.turns.insert((flow.finish, claim.flow));
        }
        flow.waiters.insert(number, waiter);
    }

    /// Forgets flows that have nobody waiting and nothing to make good, once they are many.
    fn prune(&mut self) {
        if self.flows.len() > self.many.max(FEW + 2 * self.turns.len()) {
            let now = self.now;
            self.flows.retain(|_, flow| !flow.waiters.is_empty() || flow.clock.start > now);
            // Those that have to be kept are not gone through again until they are twice as many.
            self.many = 2 * self.flows.len();
        }
    }

    fn remove(&mut self, id: u32, number: u64) -> Option<Waiter<T>> {
        let flow = self.flows.get_mut(&id)?;
        let waiter = flow.waiters.remove(&number)?;
        self.arm(id, Served::No);
        Some(waiter)
    }

    /// The first of a flow: whose turn it is, or who has waited for too long.
    fn take_first(&mut self, id: u32, now: Instant) -> Option<Result<Waiter<T>, Waiter<T>>> {
        let flow = self.flows.get_mut(&id)?;
        let (_, waiter) = flow.waiters.pop_first()?;
        if waiter.until <= now {
            self.arm(id, Served::No);
            return Some(Err(waiter));
        }
        flow.clock.start = flow.finish;
        self.now = flow.finish;
        self.arm(id, Served::Yes);
        Some(Ok(waiter))
    }

    fn correct(&mut self, charge: Charge, took: u32) {
        if let Some(flow) = self.flows.get_mut(&charge.flow) {
            flow.clock.correct(step(charge.cost, flow.weight), step(took, flow.weight));
            if !flow.waiters.is_empty() {
                self.arm(charge.flow, Served::No);
            }
        }
    }

    /// Finds a flow's place again: another one is its first, or it begins elsewhere.
    fn arm(&mut self, id: u32, served: Served) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        self.turns.remove(&(flow.finish, id));
        match flow.waiters.values().next() {
            Some(first) => {
                flow.finish = flow.clock.start + step(first.cost, flow.weight);
                self.turns.insert((flow.finish, id));
            }
            None => flow.clock.owed = served == Served::No,
        }
        if self.turns.is_empty() {
            self.clock.owed = served == Served::No;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    Yes,
    No,
}

/// How far a virtual time moves on.
fn step(cost: u32, weight: u32) -> u128 {
    (u128::from(cost.max(1)) << FINE) / u128::from(weight.max(1))
}

/// 2^20 parts of a µs: with a weight of 1,000 a µs is still a thousand of them, and the sum of what a
/// pool can be charged for in a century fits by far.
const FINE: u32 = 20;
/// 64 flows are kept without a look.
const FEW: usize = 64;

#[cfg(test)]
mod tests;
