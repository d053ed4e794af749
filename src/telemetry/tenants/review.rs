//! Who has a name: the busiest, with some patience, so that names do not go back and forth.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::model::ids::Label;

use super::{FOLDED, TenantSums, is_reserved};

impl TenantSums {
    /// Looks at who is busy. Due each minute: a name that is lost at one review ends at the next one,
    /// so that whoever scrapes once a minute has its last value.
    pub(in crate::telemetry) fn review(&mut self) {
        let mut contenders = self.contenders();
        self.hand_over(&mut contenders);
        self.fill(&mut contenders);
        self.warn(contenders);
        for slot in &mut self.slots {
            slot.traffic /= 2;
        }
    }

    /// Those among the others that may have names, the busiest last. No more than could have one.
    fn contenders(&self) -> Vec<(u32, u32)> {
        let folded = (0..).zip(&self.slots).filter(|(_, slot)| slot.place == FOLDED);
        let busy = folded.filter(|(_, slot)| slot.traffic > 0);
        let mut all: Vec<_> = busy
            .filter(|(number, _)| {
                let label = self.labels.get(*number as usize).and_then(Option::as_ref);
                label.is_some_and(|name| !is_reserved(name) && !self.names.contains_key(name))
            })
            .map(|(number, slot)| (slot.traffic, number))
            .collect();
        // Of equals, the one that was there first.
        let key = |of: &(u32, u32)| (Reverse(of.0), of.1);
        if all.len() > self.most && self.most > 0 {
            all.select_nth_unstable_by_key(self.most - 1, key);
        }
        all.truncate(self.most);
        all.sort_unstable_by_key(key);
        all.reverse();
        all
    }

    /// Ends the names that were lost at the review before, save those of tenants that have become
    /// busy again meanwhile.
    fn hand_over(&mut self, contenders: &mut [(u32, u32)]) {
        let mut leaving: Vec<(u32, usize)> = (0..)
            .zip(&self.named)
            .filter(|(_, named)| named.leaves)
            .map(|(at, named)| (self.traffic(named.label.slot), at))
            .collect();
        leaving.sort_unstable();
        let mut best = contenders.iter().rev();
        for (traffic, at) in leaving {
            let beaten = best.next().is_some_and(|(other, _)| is_busier(*other, traffic));
            if !beaten && let Some(named) = self.named.get_mut(at) {
                named.leaves = false;
                let slot = named.label.slot as usize;
                if let Some(slot) = self.slots.get_mut(slot)
                    && slot.place == FOLDED
                {
                    slot.place = u32::try_from(at + 1).unwrap_or(FOLDED);
                    self.folded -= 1;
                }
            }
        }
        let count = self.named.iter().filter(|named| named.leaves).count();
        if count > 0 {
            self.handed_over += count as u64;
            self.end(|named| named.leaves);
        }
    }

    /// Gives names to the busiest, as far as there is room: they begin at 0.
    fn fill(&mut self, contenders: &mut Vec<(u32, u32)>) {
        while self.named.len() < self.most
            && let Some((_, number)) = contenders.pop()
        {
            let at = number as usize;
            let Some(name) = self.labels.get(at).and_then(Option::as_ref).map(Arc::clone) else {
                continue;
            };
            if let Some(place) = self.enter(Label { name, slot: number })
                && let Some(slot) = self.slots.get_mut(at)
            {
                slot.place = place;
                self.folded -= 1;
            }
        }
    }

    /// Takes the names from those who are beaten by far: a few at a time, so that not all series are
    /// others after a strange minute.
    fn warn(&mut self, mut contenders: Vec<(u32, u32)>) {
        let mut least: Vec<(u32, usize)> = (0..)
            .zip(&self.named)
            .map(|(at, named)| (self.traffic(named.label.slot), at))
            .collect();
        least.sort_unstable();
        for (traffic, at) in least.into_iter().take(self.most.div_ceil(SHARE)) {
            let beaten = contenders.pop().is_some_and(|(other, _)| is_busier(other, traffic));
            if !beaten {
                return;
            }
            if let Some(named) = self.named.get_mut(at) {
                named.leaves = true;
                if let Some(slot) = self.slots.get_mut(named.label.slot as usize) {
                    slot.place = FOLDED;
                    self.folded += 1;
                }
            }
        }
    }

    fn traffic(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(0, |slot| slot.traffic)
    }
}

/// By far, so that two that are alike do not take turns.
fn is_busier(one: u32, other: u32) -> bool {
    one / FACTOR > other
}

const FACTOR: u32 = 2;

/// A tenth of the names goes at one review, so that the busiest have them all in ten minutes.
const SHARE: usize = 10;
