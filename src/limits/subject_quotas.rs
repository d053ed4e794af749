//! Quotas of subjects: a count for each. Those of API keys are as many as the files have keys, and each has its count. Of
//! subjects that tokens and certificates name there may be any number: of these so many have counts of their own, of one
//! tenant a quarter of them at most, and all who come later in the period have one count together, for each limit. That
//! is strict, and nothing is given back: a count goes once its period is over, and no sooner.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::base::tag::tag;
use crate::model::caller::Proof;

use super::fleet::Whose;
use super::quota::{self, Count, Used};

/// What all subjects have used.
#[derive(Debug)]
pub(super) struct Subjects {
    seeds: RandomState,
    parts: Box<[Mutex<Counts>]>,
    /// Taken while a part is held, never the other way round.
    rooms: Mutex<Rooms>,
    most: usize,
}

type Counts = HashMap<Arc<str>, Arc<Count>>;

/// Counts of subjects that are no API keys.
#[derive(Debug, Default)]
struct Rooms {
    all: usize,
    of_tenants: HashMap<Box<str>, usize>,
}

/// A subject of one limit.
pub(super) type Subject<'s> = Option<(Proof, &'s str)>;

impl Default for Subjects {
    fn default() -> Self {
        Self::of_most(MOST)
    }
}

impl Subjects {
    fn of_most(most: usize) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { seeds: RandomState::new(), parts, rooms: Mutex::default(), most }
    }

    /// The count of a subject, or, where there is no more room, of all those who have none of their own.
    pub(super) fn of(&self, whose: Whose<'_>, subject: Subject<'_>) -> Arc<Count> {
        let name = name(whose, subject);
        let mut part = self.part(&name);
        if let Some(count) = part.get(&*name) {
            return Arc::clone(count);
        }
        if is_bounded(&name) && !self.rooms().take(whose.tenant, self.most) {
            drop(part);
            let others = format!("{}/{OTHERS}", quota::name(whose));
            return Arc::clone(self.part(&others).entry(others.into()).or_default());
        }
        Arc::clone(part.entry(name.into()).or_default())
    }

    /// The same, where one is there; nothing is made by looking.
    pub(super) fn known(&self, whose: Whose<'_>, subject: Subject<'_>) -> Option<Arc<Count>> {
        let name = name(whose, subject);
        self.part(&name).get(&*name).map(Arc::clone)
    }

    /// The count of this name, as it was kept.
    pub(super) fn restored(&self, name: &str) -> Arc<Count> {
        let mut part = self.part(name);
        if is_bounded(name) && !part.contains_key(name) {
            self.rooms().add(tenant(name));
        }
        Arc::clone(part.entry(name.into()).or_default())
    }

    /// Forgets what was used in periods that are over, in one of [`PARTS`].
    pub(super) fn forget(&self, part: u64, now: SystemTime) {
        let part = usize::try_from(part).unwrap_or(0) % PARTS;
        let mut part = self.parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        part.retain(|name, count| {
            let stays = count.is_of(now) || Arc::strong_count(count) > 1;
            if !stays && is_bounded(name) {
                self.rooms().give_back(tenant(name));
            }
            stays
        });
    }

    /// What is to be kept.
    pub(super) fn used(&self, now: SystemTime) -> Vec<Used> {
        let mut all = Vec::new();
        for part in &self.parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(part.iter().filter_map(|(name, count)| count.used(name, now)));
        }
        all
    }

    fn part(&self, name: &str) -> MutexGuard<'_, Counts> {
        let hash = usize::try_from(self.seeds.hash_one(name) >> 32).unwrap_or(0);
        self.parts[hash % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms {
    /// Takes one of `most`, of which one tenant has a quarter.
    fn take(&mut self, tenant: &str, most: usize) -> bool {
        let own = self.of_tenants.get(tenant).copied().unwrap_or(0);
        let has_room = self.all < most && own < (most / 4).max(1);
        if has_room {
            self.add(tenant);
        }
        has_room
    }

    fn add(&mut self, tenant: &str) {
        self.all += 1;
        *self.of_tenants.entry(tenant.into()).or_default() += 1;
    }

    fn give_back(&mut self, tenant: &str) {
        self.all = self.all.saturating_sub(1);
        if let Some(own) = self.of_tenants.get_mut(tenant) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.of_tenants.remove(tenant);
            }
        }
    }
}

/// Whether a count of this name is a subject's.
pub(super) fn is_of_subject(name: &str) -> bool {
    name.rsplit_once('/').is_some_and(|(_, last)| !last.starts_with(quota::ROUTE))
}

/// Whether it is one of those that there may be any number of.
fn is_bounded(name: &str) -> bool {
    name.rsplit_once('/').is_some_and(|(_, last)| last.starts_with(PROVEN))
}

fn tenant(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// The name of a count, which is the same after a restart and tells nobody who it is.
fn name(whose: Whose<'_>, subject: Subject<'_>) -> String {
    let limit = quota::name(whose);
    let digest = |text: &str| tag(text.as_bytes()).replace('"', "");
    match subject {
        None => format!("{limit}/{NOBODY}"),
        Some((Proof::ApiKey, subject)) => format!("{limit}/{KEY}{}", digest(subject)),
        Some((proof, subject)) => {
            let issuer = proof.issuer().unwrap_or(0);
            format!("{limit}/{PROVEN}{}", digest(&format!("{} {issuer} {subject}", proof.as_str())))
        }
    }
}

const KEY: char = 'k';
const PROVEN: char = 'p';
/// Whoever shows nothing.
const NOBODY: char = 'n';
/// Those who have no count of their own.
const OTHERS: char = 'o';
/// 64: workers seldom meet at one, and a look through one takes little of their time.
pub(super) const PARTS: usize = 64;
/// 65,536: at most about 16 MB.
const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use crate::config::spec::{Period, QuotaSpec};

    use super::*;

    const DAILY: QuotaSpec = QuotaSpec { requests: 2, period: Period::Day };
    const TOKEN: Proof = Proof::Token { forward: false, issuer: 7 };

    fn whose(tenant: &str) -> Whose<'_> {
        Whose { tenant, route: None }
    }

    fn noon() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(20_000 * 24 * 3600 + 12 * 3600)
    }

    fn forget(subjects: &Subjects, now: SystemTime) {
        (0..PARTS as u64).for_each(|part| subjects.forget(part, now));
    }

    fn spends(subjects: &Subjects, tenant: &str, subject: Subject<'_>) -> bool {
        let spent = subjects.of(whose(tenant), subject).spend(DAILY, noon());
        spent.map(quota::Spent::go).is_ok()
    }

    #[test]
    fn each_subject_has_its_own_and_kinds_and_limits_are_apart() {
        let subjects = Subjects::default();
        let route = Whose { tenant: "acme", route: Some(5) };
        for subject in [None, Some((Proof::ApiKey, "ann")), Some((TOKEN, "ann"))] {
            let tries = [(); 3].map(|()| spends(&subjects, "acme", subject));
            assert_eq!(tries, [true, true, false], "{subject:?}");
        }
        assert!(spends(&subjects, "acme", Some((TOKEN, "bob"))));
        assert!(spends(&subjects, "globex", Some((TOKEN, "ann"))));
        assert!(subjects.of(route, Some((TOKEN, "ann"))).spend(DAILY, noon()).is_ok());
        assert!(subjects.known(whose("acme"), Some((TOKEN, "nobody"))).is_none());
    }

    #[test]
    fn whoever_comes_beyond_the_room_shares_one_count_and_takes_nobody_s() {
        let subjects = Subjects::of_most(8);
        let all = ["a", "b", "c", "d"].map(|name| Some((TOKEN, name)));

        let [a, b, c, d] = all.map(|subject| spends(&subjects, "acme", subject));

        assert!(a && b && c && d, "c and d are the first two of the others");
        assert!(!spends(&subjects, "acme", all[2]) && !spends(&subjects, "acme", all[3]));
        assert!(spends(&subjects, "acme", all[0]), "it has its own");
        assert!(spends(&subjects, "acme", Some((Proof::ApiKey, "ci"))), "a key always has one");
        assert!(spends(&subjects, "globex", all[0]), "a quarter is one tenant's at most");
    }

    #[test]
    fn what_was_used_is_kept_and_goes_with_its_period() {
        let subjects = Subjects::of_most(4);
        let ann = Some((TOKEN, "ann"));
        assert!(spends(&subjects, "acme", ann) && spends(&subjects, "acme", ann));
        let kept = subjects.used(noon());
        assert!(!format!("{kept:?}").contains("ann"), "nobody reads there who it is: {kept:?}");

        forget(&subjects, noon());
        assert!(!spends(&subjects, "acme", ann), "it is not over");
        let quotas = quota::Quotas::default();
        quotas.restore(kept.clone());
        assert!(quotas.of_subject(whose("acme"), ann).spend(DAILY, noon()).is_err());
        assert_eq!(quotas.used(noon()), kept);

        let next = noon() + Duration::from_secs(24 * 3600);
        forget(&subjects, next);
        assert!(subjects.known(whose("acme"), ann).is_none());
        assert_eq!(subjects.rooms().all, 0);
    }
}
