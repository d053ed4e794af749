//! The limits that are in use, and what is to be asked of the store for each: what is owed, about as
//! many beforehand as have been used since it last looked, and back what nobody uses. No I/O.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::gcra::{Pace, Ticks};
use crate::limits::ledger::Cell;

use super::lease::{Lease, owed};
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
    /// Which of its lease's paces that is.
    epoch: u64,
    key: String,
    /// The balance when it was last looked at: what is missing since has been used.
    expected: i64,
    /// It was used when it was last looked at, too.
    was_used: bool,
    /// When it was last looked at.
    looked_at: Ticks,
    /// When it was last used.
    used_at: Ticks,
    /// When the store was last asked.
    asked_at: Ticks,
    /// The store is to hear next what the gateway's own count has.
    unheard: bool,
    /// What the store was told to count, and has not answered yet.
    sent: u64,
    /// What of that it was told before it was lost, so that it may have counted it.
    doubtful: u64,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of which of the active limits it is.
    at: usize,
    /// Of which of its paces.
    epoch: u64,
    /// When it was asked.
    asked_at: Ticks,
    /// What is asked.
    pub ask: Ask,
}

/// What came of some questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were had beforehand.
    pub granted: u64,
    /// Requests that had passed, and were counted.
    pub counted: u64,
    /// Requests that were given back.
    pub given_back: u64,
    /// Keys that have held something else.
    pub replaced: u64,
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

    /// A limit has come into use.
    pub fn arrive(&mut self, cell: Arc<Cell>, now: Ticks) {
        self.active.push(Active {
            cell,
            pace: Pace::of_numbers(0, 0),
            epoch: 0,
            key: String::new(),
            expected: 0,
            was_used: false,
            looked_at: now,
            used_at: now,
            asked_at: Ticks(0),
            unheard: true,
            sent: 0,
            doubtful: 0,
        });
    }

    /// Takes in all that have come into use meanwhile.
    pub fn welcome(&mut self, arrivals: &mut Arrivals, now: Ticks) {
        while let Ok(cell) = arrivals.try_recv() {
            self.arrive(cell, now);
        }
    }

    /// The store was lost: what it has said holds no more, and it is to hear next what each limit has used.
    /// What is had beforehand and what is owed stays.
    pub fn forget(&mut self, now: Ticks) {
        for one in &mut self.active {
            (one.unheard, one.asked_at, one.looked_at) = (true, Ticks(0), now);
            one.doubt();
            if let Some(lease) = one.cell.known_lease() {
                lease.forget();
            }
        }
    }

    /// Lets those in who wait, as far as there is room.
    pub fn let_in(&self, now: Ticks) {
        let leases = self.active.iter().filter_map(|one| one.cell.known_lease());
        leases.filter(|lease| !lease.line().is_empty()).for_each(|lease| {
            self.fleet.let_in(lease, now);
        });
    }

    /// Lets all in who wait: the store is lost.
    pub fn release(&self) {
        let leases = self.active.iter().filter_map(|one| one.cell.known_lease());
        leases.for_each(|lease| self.fleet.release(lease));
    }

    /// What is to be asked now, first of those that are used most. Each question is to be answered by
    /// [`Self::learn`], or all of it to be forgotten.
    pub fn plan(&mut self, now: Ticks) -> Vec<Question> {
        let (fleet, prefix) = (&self.fleet, &self.prefix);
        self.active.retain(|one| !one.has_ended(fleet, now));
        let asks = self.active.iter_mut().enumerate();
        let mut questions: Vec<_> = asks
            .filter_map(|(at, one)| {
                let ask = one.plan(fleet, prefix, now)?;
                Some(Question { at, epoch: one.epoch, asked_at: now, ask })
            })
            .collect();
        questions.sort_unstable_by_key(|one| Reverse(one.ask.spent.saturating_add(one.ask.wanted)));
        questions
    }

    /// What all have beforehand is to be given back: the gateway ends.
    pub fn end(&mut self, now: Ticks) -> Vec<Question> {
        let asks = self.active.iter_mut().enumerate();
        asks.filter_map(|(at, one)| {
            let own = one.own(now);
            let lease = one.cell.known_lease()?;
            let (back, spent) = (lease.take_away(), owed(lease.balance()));
            let epoch = one.epoch;
            (back > 0 || spent > 0).then(|| {
                let ask = one.ask((now, own), (spent, 0, back));
                Question { at, epoch, asked_at: now, ask }
            })
        })
        .collect()
    }

    /// The store has answered.
    pub fn learn(&mut self, questions: &[Question], answers: &[Answer]) -> Tally {
        let mut tally = Tally::default();
        for (Question { at, epoch, asked_at, ask }, answer) in questions.iter().zip(answers) {
            let Some(one) = self.active.get_mut(*at) else { continue };
            let Some(lease) = one.cell.known_lease() else { continue };
            let granted = answer.granted.min(ask.wanted);
            tally.granted += granted;
            tally.counted += ask.spent;
            tally.given_back += ask.back;
            tally.replaced += u64::from(answer.replaced);
            let ahead = answer.ahead.min(MOST_AHEAD);
            let was_ahead = lease.view().saturating_sub(asked_at.0);
            // As when it was asked, not as now: the limit would seem used up for longer than it is.
            let view = asked_at.0.saturating_add(ahead);
            if lease.add(ask.spent + granted, view, *epoch) {
                one.expected += i64::try_from(ask.spent + granted).unwrap_or(0);
                (one.sent, one.doubtful) = (0, 0);
                // Others may have given back what they had; or the store has lost what it knew.
                one.unheard = ahead.saturating_add(AGAIN.0) < was_ahead && ask.back == 0;
                if !lease.line().is_empty() {
                    self.fleet.let_in(lease, *asked_at);
                }
            }
        }
        tally
    }
}

impl Active {
    fn plan(&mut self, fleet: &Fleet, prefix: &str, now: Ticks) -> Option<Ask> {
        let lease = self.cell.known_lease()?;
        let (pace, epoch) = lease.pace()?;
        if epoch != self.epoch {
            (self.pace, self.epoch, self.key) = (pace, epoch, key(prefix, lease, pace));
            (self.expected, self.was_used, self.unheard) = (0, false, true);
            (self.sent, self.doubtful) = (0, 0);
        }
        let own = self.own(now); // before the balance: what passes meanwhile is told as spent
        let balance = lease.balance();
        let used = u64::try_from(self.expected - balance).unwrap_or(0);
        let (refused, waiting) = (lease.has_refused(), lease.line().len());
        if used > 0 || refused || waiting > 0 {
            self.used_at = now;
        }
        // One that comes now and then is counted when it has passed, by one call.
        let is_steady = used > 1 || (used > 0 && self.was_used);
        (self.expected, self.was_used) = (balance, used > 0);
        let (there, spent) = (u64::try_from(balance).unwrap_or(0), owed(balance));
        // About what is used until the next answers.
        let target = if is_steady { used.saturating_mul(2) } else { 0 };
        let target = target.max(waiting).min(fleet.reserve(pace));
        let wanted = target.saturating_sub(there);
        let idle = now.0.saturating_sub(self.used_at.0) >= IDLE.0;
        let again =
            refused && (now.0.saturating_sub(self.asked_at.0) >= AGAIN.0 || self.asked_at.0 == 0);
        if idle && there > 0 {
            let back = lease.take_away();
            self.expected = lease.balance();
            return Some(self.ask((now, own), (0, 0, back)));
        }
        let ask = if spent > 0 || (wanted > 0 && used > 0 && there < used) || self.unheard {
            Some(self.ask((now, own), (spent, wanted, 0)))
        } else {
            // Others may have given back what they had.
            again.then(|| self.ask((now, own), (0, wanted.max(1), 0)))
        };
        self.looked_at = now;
        ask
    }

    fn ask(&mut self, (now, own): (Ticks, u64), (spent, wanted, back): (u64, u64, u64)) -> Ask {
        (self.asked_at, self.sent) = (now, spent);
        let age = Ticks(now.0.saturating_sub(self.looked_at.0));
        Ask { key: self.key.clone(), pace: self.pace, spent, own, wanted, back, age }
    }

    /// How far the gateway's own word lies ahead, by requests that have passed; 0 where the store has heard of
    /// that.
    fn own(&self, now: Ticks) -> u64 {
        if !self.unheard {
            return 0;
        }
        let (_, own) = self.cell.taken(now);
        let undecided = self.cell.undecided().saturating_mul(self.pace.interval());
        own.0.saturating_sub(undecided).min(self.pace.depth())
    }

    /// No answer has come. What was told to the store twice in vain is not told again: it hears what the
    /// gateway's own count has, and counts nothing more than twice.
    fn doubt(&mut self) {
        let Some(lease) = self.cell.known_lease() else { return };
        let twice = self.sent.min(self.doubtful);
        (self.doubtful, self.sent) = (self.sent - twice, 0);
        if lease.write_off(twice, self.epoch) {
            self.expected += i64::try_from(twice).unwrap_or(0);
        }
    }

    /// Whether it is in use no more, and has left.
    fn has_ended(&self, fleet: &Fleet, now: Ticks) -> bool {
        let Some(lease) = self.cell.known_lease() else { return true };
        let idle = now.0.saturating_sub(self.used_at.0) >= IDLE.0;
        let is_used = || lease.balance() != 0 || !lease.line().is_empty();
        if !idle || is_used() || self.expected != 0 || self.unheard {
            return false;
        }
        lease.leave();
        // Somebody may have taken one, or joined the line, and found it on the list: then it stays there.
        let stays = is_used() && lease.enlist();
        if !stays {
            fleet.left();
        }
        !stays
    }
}

/// Its name and its pace: gateways with another limit of this name count by themselves.
fn key(prefix: &str, lease: &Lease, pace: Pace) -> String {
    format!("{prefix}:{}:{}:{}", lease.name(), pace.interval(), pace.burst())
}

/// 1 s without a request.
const IDLE: Ticks = Ticks(Ticks::A_SECOND);
/// 250 ms between two looks for what others have given back.
const AGAIN: Ticks = Ticks(Ticks::A_SECOND / 4);

/// 6 days, as the script has it.
const MOST_AHEAD: u64 = (1 << 53) - 1;

/// Between two looks at what is in use, on average.
pub(super) const LOOK: Duration = Duration::from_millis(5);
