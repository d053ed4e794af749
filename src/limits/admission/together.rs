//! What a request takes of limits that gateways share, once their own counts have let it pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::config::spec::{LimitScope, Overflow};
use crate::limits::Shared;
use crate::limits::fleet::{Fleet, Held, Place};
use crate::limits::gcra::{Later, Ticks};
use crate::limits::limit::Limit;

use super::{Refused, Rule, Slots, Taken, Waiting};

/// Whether a request has to take something of what gateways share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has not: the limit is this gateway's own.
    Own,
    /// It has to.
    Due,
    /// It has to, and has waited since it has read its table.
    Overdue,
    /// It has.
    Held,
}

/// A request that has a slot here of a limit that gateways share, and has not passed yet.
#[derive(Debug)]
pub(super) struct Undecided<'s>(&'s AtomicU32);

/// A limit that gateways share has no room.
#[derive(Debug)]
pub struct Full<'s> {
    rule: Rule<'s>,
    fleet: &'s Fleet,
    /// What is told where nobody waits for it.
    pub refused: Box<Refused>,
    /// How long until there may be some.
    pub later: Duration,
    /// There may be some already: the next answers tell.
    pub soon: bool,
}

impl<'s> Full<'s> {
    /// Which limit it is.
    pub fn limit(&self) -> Limit {
        self.rule.limit
    }

    /// What becomes of a request beyond it.
    pub fn overflow(&self) -> Overflow {
        self.rule.overflow
    }

    /// How often was told how much room it has.
    pub fn answers(&self) -> u64 {
        self.rule.cell.known_lease().map_or(0, |lease| lease.answers())
    }

    /// Whether it may have some, as was last told.
    pub fn may_have_room(&self, now: Ticks) -> bool {
        self.fleet.room(self.rule.cell, now) > 0
    }

    /// A place among those who wait for it, where there is one. It is free when this is dropped.
    pub fn wait(&self) -> Option<Waiting<'s>> {
        Waiting::enter(self.rule.waiting, self.rule.overflow.most())
    }

    /// The same for one that waits until it is known whether there is room, whatever the limit says of
    /// waiting.
    pub fn wait_briefly(&self) -> Option<Waiting<'s>> {
        self.soon.then(|| Waiting::enter(self.rule.waiting, u32::MAX))?
    }

    /// A place in the line for it.
    pub fn stand(&self) -> Place {
        self.fleet.stand(self.rule.cell, self.rule.whose)
    }

    /// Sees to it that somebody lets those in who stand in the line.
    pub fn look_after(&self) {
        if let Some(lease) = self.rule.cell.known_lease() {
            self.fleet.look_after(self.rule.cell, lease);
        }
    }
}

impl Turn {
    /// Whether something is to be taken.
    fn is_due(self) -> bool {
        matches!(self, Self::Due | Self::Overdue)
    }

    /// It has waited.
    pub(super) fn wait(&mut self) {
        if *self == Self::Due {
            *self = Self::Overdue;
        }
    }
}

impl From<Held> for Turn {
    fn from(held: Held) -> Self {
        match held {
            Held::Shared => Self::Held,
            Held::Own => Self::Own,
        }
    }
}

impl<'s> Slots<'s> {
    /// Whether something is to be taken of what gateways share.
    pub fn are_due(&self) -> bool {
        self.taken.iter().any(|taken| taken.turn.is_due())
    }

    /// Its turn has come in the line for a limit.
    pub fn hold(&mut self, full: &Full<'s>, held: Held) {
        let is_it = |taken: &&mut Taken<'_>| {
            taken.turn.is_due() && Arc::ptr_eq(taken.rule.cell, full.rule.cell)
        };
        if let Some(taken) = self.taken.iter_mut().find(is_it) {
            taken.decide(held);
        }
    }

    /// Takes what gateways share. It may be tried again.
    ///
    /// # Errors
    /// Which limit has no room.
    pub fn settle(&mut self, now: Ticks) -> Result<(), Box<Full<'s>>> {
        let shared = self.shared;
        for taken in self.taken.iter_mut().filter(|taken| taken.turn.is_due()) {
            let rule = taken.rule;
            let Some(fleet) = &shared.fleet else {
                shared.unshared.tell(rule.whose.tenant);
                taken.decide(Held::Own);
                continue;
            };
            let took = match taken.turn {
                Turn::Overdue => fleet.take_late(rule.cell, rule.whose, (rule.pace(), now)),
                _ => fleet.take(rule.cell, rule.whose, (rule.pace(), now)),
            };
            match took {
                Ok(held) => taken.decide(held),
                Err(Later(later)) => {
                    let (refused, later) = (rule.refused(later), Ticks(later).duration());
                    self.taken.iter_mut().for_each(|taken| taken.turn.wait());
                    let soon = fleet.has_more_room(rule.cell, now);
                    return Err(Box::new(Full { rule, fleet, refused, later, soon }));
                }
            }
        }
        Ok(())
    }
}

impl Rule<'_> {
    /// The own count has refused a request, which gateways that share the limit are to know.
    pub(super) fn tell_of_use(&self, shared: &Shared) {
        if self.scope == LimitScope::Shared
            && let Some(fleet) = &shared.fleet
        {
            fleet.hear(self.cell, self.whose, self.pace());
        }
    }
}

impl<'s> Undecided<'s> {
    pub(super) fn enter(count: &'s AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Taken<'_> {
    /// It has what it had to take.
    fn decide(&mut self, held: Held) {
        (self.turn, self.undecided) = (held.into(), None);
    }

    /// The word that tells what is left.
    pub(super) fn word(&self) -> u64 {
        let lease = self.rule.cell.known_lease().filter(|_| self.turn == Turn::Held);
        lease.map_or(0, |lease| lease.view()).max(self.grant.left)
    }

    /// Gives back what was taken of what gateways share.
    pub(super) fn put_back(&self) {
        if self.turn == Turn::Held
            && let Some(lease) = self.rule.cell.known_lease()
        {
            lease.put_back();
        }
    }
}
