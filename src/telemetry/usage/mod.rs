//! What each tenant has used: in the hour and the day of now, in UTC, and since the start. Kept for
//! every tenant that has sent a request, from the deltas that the metrics are summed from, so that
//! whom the metrics show by name does not matter here.
//!
//! **Invariants:** no request that a worker tells of is left out: what comes of a tenant that nobody
//! knows any more is counted under [`REMOVED`]. What it holds is bounded: 400 bytes for each tenant
//! of the table that has sent something, as much for those that have left it lately or that the files
//! of the day have told, and hours that wait to be written.

mod counts;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;

use crate::model::ids::Label;

use super::delta::Delta;
use super::tenants::Slots;

pub use counts::Counts;

/// An hour in UTC: how many of them have passed since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub u64);

/// What tenants have used in an hour, by their ids and in their order.
pub type Lines = BTreeMap<Arc<str>, Counts>;

/// The same in no order, as it is taken under the lock that deltas wait for: who writes it sorts it without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(Vec<(Arc<str>, Counts)>);

impl Rows {
    /// In order.
    pub fn sorted(&self) -> Lines {
        let mut lines = Lines::new();
        for (name, counts) in &self.0 {
            lines.entry(Arc::clone(name)).or_default().merge(counts);
        }
        lines
    }

    fn requests(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, counts)| sum.saturating_add(counts.requests()))
    }
}

/// What all tenants have used.
#[derive(Debug)]
pub struct Usage {
    hour: Hour,
    tenants: Vec<Tenant>,
    /// By slot: the place in `tenants` + 1; 0 = nobody has told of it.
    places: Vec<u32>,
    names: HashMap<Arc<str>, u32, RandomState>,
    /// Who is live; `None` where nobody has told.
    live: Option<Slots>,
    /// Hours that are over and wait to be written; `None` = nobody writes them.
    closed: Option<VecDeque<Closed>>,
    /// Counts up with each change.
    changes: u64,
    /// Nobody would ever ask.
    off: bool,
}

/// One tenant that has sent something.
#[derive(Debug)]
struct Tenant {
    name: Arc<str>,
    /// The last number that it was told by; `None` where files alone have told of it.
    slot: Option<u32>,
    /// Hours since it has sent something.
    idle: u32,
    /// Of this hour, since the start.
    hour: Counts,
    /// Of this hour, before the start.
    kept: Option<Box<Counts>>,
    /// Of this day, before this hour.
    day: Counts,
    /// Since the start, before this hour.
    before: Counts,
}

/// What one tenant has used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// In the hour of now so far.
    pub hour: Counts,
    /// In the day of now so far.
    pub day: Counts,
    /// Since the process began.
    pub since_start: Counts,
}

/// An hour that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which one.
    pub hour: Hour,
    /// What was used in it.
    pub rows: Rows,
    /// Earlier ones that could not be written for long: what was used in them is in the rows, too.
    pub with: Vec<Hour>,
}

/// What is to be written next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// An hour that is over.
    Closed(Closed),
    /// The hour of now so far, and which change it is.
    Open(Hour, Rows, u64),
    /// All of it was told.
    Nothing,
}

impl Hour {
    /// The hour of this time.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs() / SECONDS)
    }

    /// That of now.
    pub fn now() -> Self {
        Self::of(SystemTime::now())
    }

    /// When it begins.
    pub fn begins(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.saturating_mul(SECONDS))
    }

    /// The first hour of its day.
    pub fn midnight(self) -> Self {
        Self(self.0 - self.0 % 24)
    }
}

impl Usage {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            hour: Hour::now(),
            tenants: Vec::new(),
            places: Vec::new(),
            names: HashMap::default(),
            live: None,
            closed: None,
            changes: 0,
            off: false,
        }
    }

    /// Counts no more, since nobody would ever ask.
    pub fn off(&mut self) {
        self.off = true;
    }

    /// Keeps hours that are over from now on, until they are written.
    pub fn keep_hours(&mut self) {
        self.closed.get_or_insert_default();
    }

    /// Sets who is live.
    pub(super) fn keep(&mut self, live: Slots) {
        self.live = Some(live);
    }

    /// Adds what a worker counted, in the hour of now.
    pub(super) fn add(&mut self, delta: &Delta, now: Hour) {
        if self.off {
            return;
        }
        self.turn(now);
        delta.tenants.fresh().iter().for_each(|label| self.learn(label));
        for requests in delta.tenants.iter() {
            if let Some(slot) = requests.tenant.checked_sub(1) {
                self.at(slot).add(requests);
            }
        }
        for (slot, queue) in &delta.queues {
            self.at(*slot).add_queue(queue);
        }
        for (slot, held_back) in &delta.held_back {
            self.at(*slot).add_held_back(held_back);
        }
        self.changes += 1;
    }

    /// Closes the hour where it is another by now: an earlier one where the clock was set back.
    pub fn turn(&mut self, now: Hour) {
        if now == self.hour {
            return;
        }
        let (keeps, is_new_day) = (self.closed.is_some(), now.midnight() != self.hour.midnight());
        let mut rows = Vec::with_capacity(if keeps { self.tenants.len() } else { 0 });
        for tenant in &mut self.tenants {
            let used = tenant.turn(is_new_day);
            if keeps && !used.is_empty() {
                rows.push((Arc::clone(&tenant.name), used));
            }
        }
        self.close(Rows(rows));
        self.hour = now;
        self.changes += 1;
        self.forget();
    }

    /// The hour of now.
    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// What is to be written next: hours that are over first. `saved` is what was told last of the
    /// hour of now.
    pub fn next(&mut self, saved: Option<(Hour, u64)>) -> Next {
        if let Some(closed) = self.closed.as_mut().and_then(VecDeque::pop_front) {
            return Next::Closed(closed);
        }
        if saved == Some((self.hour, self.changes)) || self.tenants.is_empty() {
            return Next::Nothing;
        }
        Next::Open(self.hour, self.rows(), self.changes)
    }

    /// Takes back an hour that could not be written.
    pub fn give_back(&mut self, hour: Closed) {
        if let Some(closed) = &mut self.closed {
            closed.push_front(hour);
        }
    }

    /// How many hours are over and not written.
    pub fn waiting(&self) -> usize {
        self.closed.as_ref().map_or(0, VecDeque::len)
    }

    /// In how many hours there is something that is not written, and how many requests they have.
    /// `saved` is what was told last of the hour of now.
    pub fn unwritten(&self, saved: Option<(Hour, u64)>) -> (usize, u64) {
        let closed = self.closed.iter().flatten().map(|one| one.rows.requests());
        let is_saved = saved == Some((self.hour, self.changes));
        let of_now = self.rows().requests();
        let of_now = if is_saved { 0 } else { of_now };
        closed
            .chain([of_now])
            .filter(|requests| *requests > 0)
            .fold((0, 0_u64), |(hours, all), requests| (hours + 1, all.saturating_add(requests)))
    }

    /// Adds what was written of this hour before the start. Whether it is the hour of now: if not
    /// nothing was added.
    pub fn restore(&mut self, hour: Hour, lines: &Lines) -> bool {
        if hour != self.hour {
            return false;
        }
        for (name, counts) in lines {
            self.named(name).kept.get_or_insert_default().merge(counts);
        }
        self.changes += 1;
        true
    }

    /// Adds what was written of earlier hours of this day, before the start.
    pub fn restore_day(&mut self, day: Hour, lines: &Lines) {
        if day.midnight() == self.hour.midnight() {
            for (name, counts) in lines {
                self.named(name).day.merge(counts);
            }
        }
    }

    /// What a tenant has used; `None` where it has sent nothing.
    pub fn of(&self, tenant: &str) -> Option<Used> {
        let tenant = self.tenants.get(*self.names.get(tenant)? as usize)?;
        let hour = tenant.of_hour();
        let mut used = Used { day: tenant.day.clone(), since_start: tenant.before.clone(), hour };
        used.day.merge(&used.hour);
        used.since_start.merge(&tenant.hour);
        Some(used)
    }

    fn rows(&self) -> Rows {
        let used = self.tenants.iter().map(|tenant| (Arc::clone(&tenant.name), tenant.of_hour()));
        Rows(used.filter(|(_, counts)| !counts.is_empty()).collect())
    }

    /// Keeps an hour until it is written. Where that takes too long, hours are added up: nothing is
    /// lost but which hour it was.
    fn close(&mut self, rows: Rows) {
        let of_now = Closed { hour: self.hour, rows, with: Vec::new() };
        let Some(closed) = &mut self.closed else { return };
        closed.push_back(of_now);
        while closed.len() > WAITING
            && let Some(first) = closed.pop_front()
            && let Some(second) = closed.front_mut()
        {
            second.take_in(first);
        }
    }

    fn learn(&mut self, label: &Label) {
        let place = self.place(&label.name);
        let at = label.slot as usize;
        if at >= self.places.len() {
            self.places.resize(at + 1, 0);
        }
        self.places[at] = place + 1;
        if let Some(tenant) = self.tenants.get_mut(place as usize) {
            tenant.slot = tenant.slot.max(Some(label.slot));
        }
    }

    /// What is counted of the tenant with this number in this hour.
    fn at(&mut self, slot: u32) -> &mut Counts {
        let known = self.places.get(slot as usize).and_then(|place| place.checked_sub(1));
        match known {
            Some(place) => &mut self.tenants[place as usize].hour,
            None => &mut self.named(REMOVED).hour,
        }
    }

    fn named(&mut self, name: &str) -> &mut Tenant {
        let place = match self.names.get(name) {
            Some(place) => *place,
            None => self.place(&Arc::from(name)),
        };
        &mut self.tenants[place as usize]
    }

    fn place(&mut self, name: &Arc<str>) -> u32 {
        if let Some(place) = self.names.get(name) {
            return *place;
        }
        // Numbers of tenants are as large.
        let place = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX - 1);
        self.names.insert(Arc::clone(name), place);
        self.tenants.push(Tenant::new(Arc::clone(name)));
        place
    }

    /// Forgets those that are gone and have sent nothing for longest, where they are many.
    fn forget(&mut self) {
        let Some(live) = &self.live else { return };
        // Of those that files alone have told nobody knows whether they are there: they stay as long
        // as the day that they were told for.
        let is_gone = |tenant: &Tenant| match tenant.slot {
            _ if tenant.idle == 0 => false,
            Some(slot) => !live.contains(slot),
            None => tenant.day.is_empty(),
        };
        let mut gone: Vec<u32> =
            self.tenants.iter().filter(|one| is_gone(one)).map(|one| one.idle).collect();
        if gone.len() <= GONE {
            return;
        }
        // Who has been idle for longer than the last one that there is room for, and of those that
        // were idle as long as that one as many as there is no room for.
        gone.sort_unstable();
        let longest = gone[GONE];
        let mut room = GONE - gone.partition_point(|idle| *idle < longest);
        let mut places = Vec::with_capacity(self.tenants.len());
        let mut place = 0;
        self.tenants.retain(|tenant| {
            let mut stays = !is_gone(tenant) || tenant.idle < longest;
            if !stays && tenant.idle == longest && room > 0 {
                room -= 1;
                stays = true;
            }
            place += u32::from(stays);
            places.push(if stays { place } else { 0 });
            stays
        });
        for known in &mut self.places {
            let before = known.checked_sub(1).and_then(|place| places.get(place as usize));
            *known = before.copied().unwrap_or(0);
        }
        let names = self.tenants.iter().map(|tenant| Arc::clone(&tenant.name));
        self.names = names.zip(0..).collect();
    }
}

impl Closed {
    fn take_in(&mut self, earlier: Self) {
        self.rows.0.extend(earlier.rows.0);
        // One for each tenant: it may go on like this for long.
        self.rows = Rows(self.rows.sorted().into_iter().collect());
        self.with.extend(earlier.with);
        self.with.push(earlier.hour);
    }
}

impl Tenant {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            slot: None,
            idle: 0,
            hour: Counts::default(),
            kept: None,
            day: Counts::default(),
            before: Counts::default(),
        }
    }

    fn of_hour(&self) -> Counts {
        let mut hour = self.hour.clone();
        if let Some(kept) = &self.kept {
            hour.merge(kept);
        }
        hour
    }

    /// Ends the hour; gives what was used in it.
    fn turn(&mut self, is_new_day: bool) -> Counts {
        let all = self.of_hour();
        self.kept = None;
        let hour = std::mem::take(&mut self.hour);
        self.idle = if hour.is_empty() { self.idle.saturating_add(1) } else { 0 };
        self.before.merge(&hour);
        match is_new_day {
            true => self.day = Counts::default(),
            false => self.day.merge(&all),
        }
        all
    }
}

/// Under which name it is counted what comes of tenants that nobody knows any more. No tenant may be
/// called so: ids have no such characters.
pub const REMOVED: &str = "(removed)";

const SECONDS: u64 = 3600;

/// A day: who cannot write for longer has the hours before added up.
const WAITING: usize = 24;

/// 10,000 tenants that have left the table, 4 MB: requests that were under way when their tenant left
/// are still counted for it. A list that does nothing but grow would be a leak.
const GONE: usize = 10_000;
