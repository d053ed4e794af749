//! What one gateway has of one limit that it shares with others.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::limits::gcra::{Later, Pace, Ticks};

use super::Whose;
use super::line::Line;

/// Requests that a gateway has beforehand, or owes. Workers take; control fills up.
#[derive(Debug)]
pub struct Lease {
    /// The limit, as all gateways write it.
    name: Box<str>,
    /// Above 0: as many are there. Below: as many are owed.
    balance: AtomicI64,
    /// When the limit of all will be whole, as the store last said.
    view: AtomicU64,
    /// The pace that all this is of; 0 = none yet.
    interval: AtomicU64,
    depth: AtomicU64,
    /// Goes up by two with each change of the pace, and is odd meanwhile.
    epoch: AtomicU64,
    /// How often the store has answered.
    answers: AtomicU64,
    /// Somebody found nothing since control has looked.
    refused: AtomicBool,
    /// Control looks after it.
    listed: AtomicBool,
    /// Held while the pace becomes another, and while something is added.
    changing: Mutex<()>,
    /// Those who wait for room.
    line: Line,
}

impl Lease {
    /// Nothing is there, and nothing known.
    pub(in crate::limits) fn new(Whose { tenant, route }: Whose<'_>) -> Self {
        let name = match route {
            None => format!("tenant:{tenant}"),
            Some(key) => format!("route:{tenant}:{key:016x}"),
        };
        Self {
            name: name.into(),
            balance: AtomicI64::new(0),
            view: AtomicU64::new(0),
            interval: AtomicU64::new(0),
            depth: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            changing: Mutex::default(),
            line: Line::default(),
        }
    }

    /// When the limit of all will be whole, as the store last said.
    pub(in crate::limits) fn view(&self) -> u64 {
        self.view.load(Ordering::Relaxed)
    }

    /// Takes one that is there, or that may be owed beside at most so many others.
    pub(super) fn take(&self, owed: u64) -> bool {
        let least = i64::try_from(owed).map_or(i64::MIN, |owed| -owed);
        let less = |balance: i64| (balance > least).then(|| balance.saturating_sub(1));
        // Before or behind the look at `listed`, in an order that control's leaving is in, too.
        let taken = self.balance.fetch_update(Ordering::SeqCst, Ordering::Relaxed, less).is_ok();
        if !taken {
            self.refuse();
        }
        taken
    }

    /// Somebody was refused: control is to ask.
    pub(super) fn refuse(&self) {
        if !self.refused.load(Ordering::Relaxed) {
            self.refused.store(true, Ordering::SeqCst);
        }
    }

    /// A request did not go on after all.
    pub(in crate::limits) fn put_back(&self) {
        self.balance.fetch_add(1, Ordering::SeqCst);
    }

    /// How long until another one may come, where none could be taken: behind those who wait already.
    pub(super) fn later(&self, pace: Pace, now: Ticks) -> Later {
        let (word, line) = (self.word(pace, now), self.line.len());
        let room = self.room(pace, now);
        let first = match room {
            // More has come at once than the reserve is for.
            1.. => SOON,
            0 => pace.reset(word, now.0).max(SOON),
        };
        Later(first.saturating_add(line.saturating_sub(room).saturating_mul(pace.interval())))
    }

    /// How many requests are there, or fit into the store beside those that are owed, as it last said.
    pub(super) fn room(&self, pace: Pace, now: Ticks) -> u64 {
        let there = u64::try_from(self.balance()).unwrap_or(0);
        pace.remaining(self.word(pace, now), now.0).saturating_add(there)
    }

    /// How often the store has answered.
    pub(in crate::limits) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    /// When the limit of all will be whole, once the store has heard of what is owed.
    fn word(&self, pace: Pace, now: Ticks) -> u64 {
        let owed = owed(self.balance()).saturating_mul(pace.interval());
        self.view().max(now.0).saturating_add(owed)
    }

    /// Those who wait for room.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Whether it has no pace yet.
    pub(super) fn is_new(&self) -> bool {
        self.epoch.load(Ordering::SeqCst) == 0
    }

    /// The limit has become another: what was there was of the one before.
    pub(super) fn adopt(&self, pace: Pace) {
        let has_changed = self.interval.load(Ordering::Relaxed) != pace.interval()
            || self.depth.load(Ordering::Relaxed) != pace.depth();
        if has_changed {
            self.change(pace);
        }
    }

    #[cold]
    fn change(&self, pace: Pace) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.interval.store(pace.interval(), Ordering::SeqCst);
        self.depth.store(pace.depth(), Ordering::SeqCst);
        self.balance.store(0, Ordering::SeqCst);
        self.view.store(0, Ordering::SeqCst);
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Forgets what the store has said. What is had beforehand, and what is owed, stays.
    pub(super) fn forget(&self) {
        self.view.store(0, Ordering::Relaxed);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The pace, and a number that is another with each change of it; `None` where there is none yet, and
    /// while it becomes another.
    pub(super) fn pace(&self) -> Option<(Pace, u64)> {
        let number = |part: &AtomicU64| part.load(Ordering::SeqCst);
        let epoch = number(&self.epoch);
        let pace = Pace::of_numbers(number(&self.interval), number(&self.depth));
        let holds = pace.interval() > 0 && epoch % 2 == 0 && number(&self.epoch) == epoch;
        holds.then_some((pace, epoch))
    }

    pub(super) fn balance(&self) -> i64 {
        self.balance.load(Ordering::SeqCst)
    }

    /// The store has given so many, or counted as many that were owed. Tells whether they are of the limit
    /// as it is now.
    pub(super) fn add(&self, requests: u64, view: u64, epoch: u64) -> bool {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.epoch.load(Ordering::SeqCst) != epoch {
            return false; // it has become another since it was asked for
        }
        self.view.store(view, Ordering::Relaxed);
        self.balance.fetch_add(i64::try_from(requests).unwrap_or(0), Ordering::SeqCst);
        self.answers.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Of what is owed, so much is not counted any more.
    pub(super) fn write_off(&self, requests: u64, epoch: u64) -> bool {
        requests > 0 && self.add(requests, 0, epoch)
    }

    /// Takes all that is there away.
    pub(super) fn take_away(&self) -> u64 {
        let none = |balance: i64| (balance > 0).then_some(0);
        let before = self.balance.fetch_update(Ordering::SeqCst, Ordering::SeqCst, none);
        before.map_or(0, |before| u64::try_from(before).unwrap_or(0))
    }

    /// Whether somebody found nothing since this was last asked.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.swap(false, Ordering::SeqCst)
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst)
    }

    /// Whether it was not on the list yet.
    pub(super) fn enlist(&self) -> bool {
        !self.listed.swap(true, Ordering::SeqCst)
    }

    /// It is on no list any more.
    pub(super) fn leave(&self) {
        self.listed.store(false, Ordering::SeqCst);
    }
}

/// How many are owed by a balance.
pub(super) fn owed(balance: i64) -> u64 {
    if balance < 0 { balance.unsigned_abs() } else { 0 }
}

/// 10 ms: as long as an answer takes as a rule.
const SOON: u64 = Ticks::A_SECOND / 100;
