//! The limits that are in use, and what is to be asked of the store for each: what is owed, about as
//! many beforehand as have been used since it last looked, and back what nobody uses. No I/O.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::gcra::{Pace, Ticks};
use crate::limits::ledger::Cell;

use super::lease::Lease;
use super::store::{Answer, Ask};
use super::{Arrivals, Fleet};

/// The limits that are in use.
#[derive(Debug)]
pub struct Desk {
    fleet: Arc<Fleet>,
    /// What keys begin with, so that others may use the store, too.
    prefix: String,
    active: Vec<Active>,
}

/// A limit that is in use.
#[derive(Debug)]
struct Active {
    cell: Arc<Cell>,
    pace: Pace,
    key: String,
    /// The balance when it was last looked at: what is missing since has been used.
    expected: i64,
    /// When it was last used.
    used_at: Ticks,
    /// When the store was last asked.
    asked_at: Ticks,
}

/// A question, and of which of the active limits it is.
pub type Question = (usize, Ask);

/// What came of some questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were had beforehand.
    pub granted: u64,
    /// Requests that had passed, and were counted.
    pub counted: u64,
    /// Requests that were given back.
    pub given_back: u64,
}

impl Desk {
    /// Nothing is in use.
    pub fn new(fleet: Arc<Fleet>, prefix: String) -> Self {
        Self { fleet, prefix, active: Vec::new() }
    }

    /// How many limits are in use.
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// A limit has come into use. Where there are too many, it is held by the gateway's own count.
    pub fn arrive(&mut self, cell: Arc<Cell>, now: Ticks) {
        let Some(lease) = cell.known_lease() else { return };
        if self.active.len() >= MOST {
            lease.empty();
            lease.leave();
            return;
        }
        let pace = lease.pace();
        let key = key(&self.prefix, lease, pace);
        let (used_at, asked_at) = (now, Ticks(0));
        self.active.push(Active { cell, pace, key, expected: 0, used_at, asked_at });
    }

    /// Takes in all that have come into use meanwhile.
    pub fn welcome(&mut self, arrivals: &mut Arrivals, now: Ticks) {
        while let Ok(cell) = arrivals.try_recv() {
            self.arrive(cell, now);
        }
    }

    /// Nothing is known any more, and nothing there: the store was lost. It is to hear next what each limit
    /// has used.
    pub fn forget(&mut self) {
        for one in &mut self.active {
            if let Some(lease) = one.cell.known_lease() {
                lease.empty();
                lease.refuse();
            }
            (one.expected, one.asked_at) = (0, Ticks(0));
        }
    }

    /// What is to be asked now. Each question is to be answered by [`Self::learn`], or all of it to be
    /// forgotten.
    pub fn plan(&mut self, now: Ticks) -> Vec<Question> {
        self.active.retain(|one| !one.has_ended(now));
        let (fleet, prefix) = (&self.fleet, &self.prefix);
        let asks = self.active.iter_mut().enumerate();
        asks.filter_map(|(at, one)| Some((at, one.plan(fleet, prefix, now)?))).collect()
    }

    /// What all have beforehand is to be given back: the gateway ends.
    pub fn end(&mut self, now: Ticks) -> Vec<Question> {
        let asks = self.active.iter_mut().enumerate();
        asks.filter_map(|(at, one)| {
            let lease = one.cell.known_lease()?;
            let (back, spent) = (lease.take_away(), owed(lease.balance()));
            (back > 0 || spent > 0).then(|| (at, one.ask(now, (spent, 0, back))))
        })
        .collect()
    }

    /// The store has answered.
    pub fn learn(&mut self, questions: &[Question], answers: &[Answer], now: Ticks) -> Tally {
        let mut tally = Tally::default();
        for ((at, ask), answer) in questions.iter().zip(answers) {
            let Some(one) = self.active.get_mut(*at) else { continue };
            let Some(lease) = one.cell.known_lease() else { continue };
            let granted = answer.granted.min(ask.wanted);
            tally.granted += granted;
            tally.counted += ask.spent;
            tally.given_back += ask.back;
            if lease.pace() != ask.pace {
                continue; // it has become another meanwhile
            }
            let ahead = answer.ahead.min(ask.pace.depth().saturating_mul(2));
            lease.add(ask.spent + granted, now.0.saturating_add(ahead));
            one.expected += i64::try_from(ask.spent + granted).unwrap_or(0);
        }
        tally
    }
}

impl Active {
    fn plan(&mut self, fleet: &Fleet, prefix: &str, now: Ticks) -> Option<Ask> {
        let lease = self.cell.known_lease()?;
        let pace = lease.pace();
        if pace != self.pace {
            (self.pace, self.key) = (pace, key(prefix, lease, pace));
            self.expected = 0;
        }
        if pace.interval() == 0 {
            return None; // it is becoming another right now
        }
        let balance = lease.balance();
        let used = u64::try_from(self.expected - balance).unwrap_or(0);
        let refused = lease.has_refused();
        if used > 0 || refused {
            self.used_at = now;
        }
        self.expected = balance;
        let (there, spent) = (u64::try_from(balance).unwrap_or(0), owed(balance));
        // About what is used until the next answers.
        let target = (used * 2).min(fleet.reserve(pace));
        let idle = now.0.saturating_sub(self.used_at.0) >= IDLE.0;
        let again =
            refused && (now.0.saturating_sub(self.asked_at.0) >= AGAIN.0 || self.asked_at.0 == 0);
        if idle && there > 0 {
            let back = lease.take_away();
            self.expected = lease.balance();
            return Some(self.ask(now, (0, 0, back)));
        }
        if spent > 0 || (used > 0 && there < used) {
            return Some(self.ask(now, (spent, target.saturating_sub(there), 0)));
        }
        // Others may have given back what they had.
        again.then(|| self.ask(now, (0, 1, 0)))
    }

    fn ask(&mut self, now: Ticks, (spent, wanted, back): (u64, u64, u64)) -> Ask {
        self.asked_at = now;
        let (_, own) = self.cell.taken(now);
        let own = own.0.min(self.pace.depth());
        Ask { key: self.key.clone(), pace: self.pace, spent, own, wanted, back }
    }

    /// Whether it is in use no more, and has left.
    fn has_ended(&self, now: Ticks) -> bool {
        let Some(lease) = self.cell.known_lease() else { return true };
        let idle = now.0.saturating_sub(self.used_at.0) >= IDLE.0;
        if !idle || lease.balance() != 0 || lease.balance() != self.expected {
            return false;
        }
        lease.leave();
        // Somebody may have taken one and found it on the list: then it stays there.
        lease.balance() == 0 || !lease.enlist()
    }
}

fn owed(balance: i64) -> u64 {
    if balance < 0 { balance.unsigned_abs() } else { 0 }
}

/// Its name and its pace: gateways with another limit of this name count by themselves.
fn key(prefix: &str, lease: &Lease, pace: Pace) -> String {
    format!("{prefix}:{}:{}:{}", lease.name(), pace.interval(), pace.burst())
}

/// A hundred thousand in use within one second: what is asked for them is 20 MB.
const MOST: usize = 100_000;
/// 1 s without a request.
const IDLE: Ticks = Ticks(Ticks::A_SECOND);
/// 250 ms between two looks for what others have given back.
const AGAIN: Ticks = Ticks(Ticks::A_SECOND / 4);

/// Between two looks at what is in use, on average.
pub(super) const LOOK: Duration = Duration::from_millis(5);
