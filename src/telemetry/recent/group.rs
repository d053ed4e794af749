//! The windows and histories of many: all tenants, or all pools.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::counts::{Counts, Sort};
use super::track::{Chart, KEEP, Track};
use super::windows::Windows;
use super::{POINTS_A_WINDOW, TRACKS};

/// The windows and histories of many, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Group {
    now: Windows,
    before: Windows,
    tracks: HashMap<u32, Track, RandomState>,
}

impl Group {
    /// What is counted of one in this window. Histories look here when a point is closed: whoever
    /// counts looks for none.
    pub(super) fn at(&mut self, slot: u32) -> &mut Counts {
        self.now.at(slot)
    }

    /// Closes a point of all histories.
    pub(super) fn close(&mut self) {
        let none = Counts::default();
        for (slot, track) in &mut self.tracks {
            track.close(self.now.find(*slot).unwrap_or(&none));
        }
    }

    /// Turns the windows. Those who led in the one that ended have their histories kept.
    pub(super) fn turn(&mut self, now: Instant) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        self.tracks.values_mut().for_each(Track::turn);
        for sort in [Sort::Requests, Sort::Errors] {
            for slot in self.leaders(sort) {
                self.want(slot, now);
            }
        }
        self.tracks.retain(|_, track| now.saturating_duration_since(track.wanted) < KEEP);
    }

    /// What one has counted in both windows.
    pub(super) fn counts(&self, slot: u32) -> Counts {
        let mut counts = self.now.find(slot).cloned().unwrap_or_default();
        if let Some(before) = self.before.find(slot) {
            counts.merge(before);
        }
        counts
    }

    /// Where one stands in an order.
    pub(super) fn key(&self, slot: u32, sort: Sort) -> u64 {
        match (self.now.find(slot), self.before.find(slot)) {
            (None, None) => 0,
            (Some(one), None) | (None, Some(one)) => one.key(sort),
            (Some(_), Some(_)) => self.counts(slot).key(sort),
        }
    }

    /// The history of one. Where it was not kept it is from now on.
    pub(super) fn chart(&mut self, slot: u32) -> Chart {
        self.want(slot, Instant::now());
        self.tracks.get(&slot).map(Track::chart).unwrap_or_default()
    }

    /// The first of the window that ended, those with nothing left out.
    fn leaders(&self, sort: Sort) -> Vec<u32> {
        let all = self.before.iter();
        let mut keys: Vec<(u64, u32)> = all
            .map(|(slot, counts)| (counts.key(sort), slot))
            .filter(|(key, _)| *key > 0)
            .collect();
        if keys.len() > LEADERS {
            keys.select_nth_unstable_by(LEADERS - 1, |left, right| right.cmp(left));
            keys.truncate(LEADERS);
        }
        keys.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Keeps the history of one. Where there is no room the one goes that nobody has wanted for
    /// longest.
    fn want(&mut self, slot: u32, now: Instant) {
        if let Some(track) = self.tracks.get_mut(&slot) {
            track.wanted = now;
            return;
        }
        if self.tracks.len() >= TRACKS {
            let oldest = self.tracks.iter().min_by_key(|(_, track)| track.wanted);
            if let Some(oldest) = oldest.map(|(slot, _)| *slot) {
                self.tracks.remove(&oldest);
            }
        }
        let mut track = Track::new(now, self.now.find(slot).cloned().unwrap_or_default());
        // The window that has ended is the only past that is known: spread over its points.
        if let Some(before) = self.before.find(slot) {
            track.begin_with(before, POINTS_A_WINDOW);
        }
        self.tracks.insert(slot, track);
    }
}

#[cfg(test)]
impl Group {
    /// How many histories are kept.
    pub(super) fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// How many windows are held.
    pub(super) fn touched(&self) -> usize {
        self.now.iter().count() + self.before.iter().count()
    }
}

/// Of each order: what fits a screen.
const LEADERS: usize = 32;
