//! What each client has taken of the limits of tenants and routes: a table of fixed
//! size for all limits of all tenants, one word for each client of a limit. Subjects are clients of
//! a table of their own. A client has its place in one set of
//! eight, which is one line of the caches; its word says for which limit it is, which client it is,
//! and when the limit will be whole again.
//!
//! **Where a set is full**, a word that is whole goes: it says nothing. Where none is, one must go
//! that still says something, and what it says must not be forgotten, or who is limited would only
//! have to bring in others. So it is remembered in the floor of its limit: whoever is new to the limit
//! begins there, as if it had taken what the one has taken that had to go. It is the strictest word
//! that can be true of a client whose word is not there. Which one goes is settled so that nobody
//! pays for another's crowd: of the limits in the set the one that has most words there gives one up,
//! the one that is nearest to being whole. Where limits are so many that two share a floor, both
//! keep to the higher one.
//!
//! Two clients of a limit are taken for one where 18 bits of their hashes are the same, and their
//! sets: about one in thirty thousand, in a table that is full. That is strict as well.

use std::array;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::base::memory::{Account, Held};
use crate::config::spec::RateSpec;

use super::gcra::{Grant, Later, Pace, Ticks};

/// What each client has taken.
#[derive(Debug)]
pub struct Clients {
    /// Made when a client has its place there for the first time: a table that nobody needs takes
    /// nothing, and none is made so large that a request would wait for it.
    segments: Box<[OnceLock<Segment>]>,
    sets: u64,
    sets_in_segment: usize,
    /// By class: when those are whole again whose words had to go.
    floors: Box<[AtomicU64]>,
    /// Held to put in a client that is new, by set.
    entrances: [Mutex<()>; ENTRANCES],
    account: Mutex<Arc<Account>>,
}

#[derive(Debug)]
struct Segment {
    sets: Box<[Set]>,
    _held: Held,
}

/// Words that one client's may be among.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// A client of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Chooses the set.
    place: u64,
    /// The upper bits of the word: the class of the limit, and the client.
    name: u64,
}

impl Key {
    /// A client of a limit, by the hashes of the limit and of both.
    pub fn of(limit: u64, client: u64) -> Self {
        // A word is never 0, which says that there is none.
        let tag = client & TAG | 1;
        Self { place: client >> 32, name: limit >> (64 - CLASS_BITS) << TAG_BITS | tag }
    }
}

/// A pace in the table's own unit.
pub fn pace(rate: &RateSpec) -> Pace {
    Pace::by(rate, 1_000_000)
}

/// A time in the table's own unit, rounded down.
pub fn micros(time: Ticks) -> u64 {
    time.0 / TICKS
}

/// A time of the table's unit.
pub fn ticks(micros: u64) -> Ticks {
    Ticks(micros.saturating_mul(TICKS))
}

impl Clients {
    /// A table of about so many bytes, which count in `account` as they are needed.
    pub fn new(bytes: u64, account: Arc<Account>) -> Self {
        let sets = (bytes / size_of::<Set>() as u64).clamp(1, u64::from(u32::MAX));
        let sets_in_segment = usize::try_from(sets.div_ceil(SEGMENTS)).unwrap_or(usize::MAX);
        Self {
            segments: (0..SEGMENTS).map(|_| OnceLock::new()).collect(),
            sets,
            sets_in_segment,
            floors: (0..1_u32 << CLASS_BITS).map(|_| AtomicU64::new(0)).collect(),
            entrances: array::from_fn(|_| Mutex::new(())),
            account: Mutex::new(account),
        }
    }

    /// Takes one request of a client's. All times are in the table's unit.
    ///
    /// # Errors
    /// When it would have to wait longer than it may; then nothing is taken.
    pub fn take(&self, key: Key, pace: Pace, now: u64, longest: u64) -> Result<Grant, Later> {
        let (number, set) = self.set(key);
        if let Some(taken) = set.take(key, pace, now, longest) {
            return taken;
        }
        let _one =
            self.entrances[number % ENTRANCES].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = set.take(key, pace, now, longest) {
            return taken; // it came by another worker meanwhile
        }
        let floor = self.floor(key).load(Ordering::Relaxed);
        let grant = pace.judge(floor, now, longest)?;
        while !self.put_in(set, key, now, grant.left) {}
        Ok(grant)
    }

    /// When the limit is whole again for a client, as [`Clients::take`] would find it. Nothing is made or
    /// taken by looking.
    pub fn look(&self, key: Key, now: u64) -> u64 {
        let (segment, at) = self.place(key);
        let set = self.segments[segment].get().map(|segment| &segment.sets[at]);
        let words = set.into_iter().flat_map(|set| &set.0).map(|word| word.load(Ordering::Relaxed));
        let own =
            words.filter(|word| name(*word) == key.name).map(|word| whole_at(word, now)).max();
        own.unwrap_or_else(|| self.floor(key).load(Ordering::Relaxed))
    }

    /// Gives back what was taken for a request that was not served after all.
    pub fn give_back(&self, key: Key, pace: Pace, grant: Grant, now: u64) {
        for word in &self.set(key).1.0 {
            let undo = |before| {
                let own = name(before) == key.name;
                let less = own.then(|| pace.undo(whole_at(before, now), grant, now)).flatten();
                less.map(|less| written(key, less))
            };
            if word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, undo).is_ok() {
                return;
            }
        }
    }

    /// Forgets the clients of one of [`SEGMENTS`] for whom the limit is whole. To be called for each
    /// of them every few hours at least: what is written of a time is not enough to tell it from one
    /// nineteen hours later.
    pub fn sweep(&self, segment: u64, now: u64) {
        let segment = usize::try_from(segment % SEGMENTS).unwrap_or(0);
        let sets = self.segments[segment].get().into_iter().flat_map(|segment| &segment.sets);
        for word in sets.flat_map(|set| &set.0) {
            let before = word.load(Ordering::Relaxed);
            if before != 0 && whole_at(before, now) <= now {
                // Where it is another by now, it is in use.
                word.compare_exchange(before, 0, Ordering::Relaxed, Ordering::Relaxed).ok();
            }
        }
    }

    /// Puts in a client that is not there, or tells that somebody was quicker. Called by one at a time.
    fn put_in(&self, set: &Set, key: Key, now: u64, whole: u64) -> bool {
        let words = set.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        let way = way_out(&words, now);
        let gone = words[way];
        if gone != 0 && whole_at(gone, now) > now {
            // Before it goes: whoever does not find it finds this.
            let class = usize::try_from(name(gone) >> TAG_BITS).unwrap_or(0);
            self.floors[class].fetch_max(whole_at(gone, now), Ordering::SeqCst);
        }
        let put = set.0[way].compare_exchange(
            gone,
            written(key, whole),
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
        put.is_ok()
    }

    fn floor(&self, key: Key) -> &AtomicU64 {
        &self.floors[usize::try_from(key.name >> TAG_BITS).unwrap_or(0)]
    }

    fn set(&self, key: Key) -> (usize, &Set) {
        let (segment, at) = self.place(key);
        let number = segment * self.sets_in_segment + at;
        let segment = self.segments[segment].get_or_init(|| self.segment());
        (number, &segment.sets[at])
    }

    /// The segment of a client's set, and its place there: 32 bits of a hash, spread over all sets.
    fn place(&self, key: Key) -> (usize, usize) {
        let number = usize::try_from((key.place * self.sets) >> 32).unwrap_or(0);
        (number / self.sets_in_segment, number % self.sets_in_segment)
    }

    #[cold]
    fn segment(&self) -> Segment {
        let sets: Box<[Set]> = (0..self.sets_in_segment).map(|_| Set::default()).collect();
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        Segment { _held: account.take(size_of_val(&*sets) as u64), sets }
    }
}

impl Set {
    /// Takes a request of a client that is there.
    fn take(&self, key: Key, pace: Pace, now: u64, longest: u64) -> Option<Result<Grant, Later>> {
        for word in &self.0 {
            let mut before = word.load(Ordering::Relaxed);
            while name(before) == key.name {
                let grant = match pace.judge(whole_at(before, now), now, longest) {
                    Ok(grant) => grant,
                    Err(later) => return Some(Err(later)),
                };
                let after = written(key, grant.left);
                let relaxed = Ordering::Relaxed;
                match word.compare_exchange_weak(before, after, relaxed, relaxed) {
                    Ok(_) => return Some(Ok(grant)),
                    Err(other) => before = other,
                }
            }
        }
        None
    }
}

/// Whose word goes where one more has to come in.
fn way_out(words: &[u64; WAYS], now: u64) -> usize {
    let spare = |word: &u64| *word == 0 || whole_at(*word, now) <= now;
    if let Some(way) = words.iter().position(spare) {
        return way;
    }
    let class = |word: u64| name(word) >> TAG_BITS;
    let weight = |way: usize| {
        let alike = words.iter().filter(|other| class(**other) == class(words[way])).count();
        (alike, Reverse(whole_at(words[way], now)))
    };
    (0..WAYS).max_by_key(|way| weight(*way)).unwrap_or(0)
}

fn name(word: u64) -> u64 {
    word >> TIME_BITS
}

fn written(key: Key, whole: u64) -> u64 {
    key.name << TIME_BITS | whole & TIME
}

/// When a word is whole again: the time nearest to now that is written so.
fn whole_at(word: u64, now: u64) -> u64 {
    let ahead = (word.wrapping_sub(now) << (64 - TIME_BITS)).cast_signed() >> (64 - TIME_BITS);
    now.saturating_add_signed(ahead)
}

/// 16 ticks a nanosecond.
const TICKS: u64 = 16_000;
/// Nine and a half hours to either side, in microseconds: no limit is longer than one of them.
const TIME_BITS: u32 = 36;
const TIME: u64 = (1 << TIME_BITS) - 1;
const TAG_BITS: u32 = 18;
const TAG: u64 = (1 << TAG_BITS) - 1;
const CLASS_BITS: u32 = 10;
const WAYS: usize = 8;
/// In how many parts the table is made, and swept.
pub const SEGMENTS: u64 = 256;
const ENTRANCES: usize = 64;

#[cfg(test)]
mod tests;
