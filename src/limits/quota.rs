//! Requests in a day or a month of the calendar, in UTC. What was used is one word for each tenant, route of a tenant
//! or subject, the number of the period and the requests in it, so that no request falls between two periods; it
//! outlives the tenant's count of everything else, since it is kept over restarts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::spec::{Period, QuotaSpec};
use crate::model::caller::Proof;

use super::fleet::Whose;
use super::subject_quotas::{self, PARTS, Subjects};

/// What all have used of their quotas.
#[derive(Debug, Default)]
pub struct Quotas {
    /// Of tenants and of their routes, by name.
    counts: Mutex<HashMap<Arc<str>, Arc<Count>>>,
    subjects: Subjects,
}

/// What one of them has used.
#[derive(Debug, Default)]
pub struct Count {
    /// The period above, the requests below.
    word: AtomicU64,
}

/// One request that was counted. Where it does not go on it is given back.
#[derive(Debug)]
pub struct Spent {
    count: Arc<Count>,
    period: u64,
    went: bool,
    /// How many are left, and for how long.
    pub left: (u64, Duration),
}

/// What one has used, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Used {
    /// Whose it is: the tenant's id, behind which a route or a subject has more.
    #[serde(rename = "tenant")]
    pub whose: String,
    /// The number of the period.
    pub period: u64,
    /// How many requests.
    pub requests: u64,
}

impl Quotas {
    /// The count of a tenant or of a route, by its name.
    pub fn of(&self, name: &str) -> Arc<Count> {
        let mut counts = self.counts();
        match counts.get(name) {
            Some(count) => Arc::clone(count),
            None => Arc::clone(counts.entry(name.into()).or_default()),
        }
    }

    /// The count of a subject of these limits; `None` = of whoever shows nothing.
    pub fn of_subject(&self, whose: Whose<'_>, subject: Option<(Proof, &str)>) -> Arc<Count> {
        self.subjects.of(whose, subject)
    }

    /// Takes what was kept. What is counted already stays.
    pub fn restore(&self, used: Vec<Used>) {
        for Used { whose, period, requests } in used {
            let count = match subject_quotas::is_of_subject(&whose) {
                true => self.subjects.restored(&whose),
                false => self.of(&whose),
            };
            count.word.fetch_max(word(period, requests), Ordering::Relaxed);
        }
    }

    /// What is to be kept: what was used in periods that are not over. The others are forgotten where
    /// nobody counts on them.
    pub fn used(&self, now: SystemTime) -> Vec<Used> {
        let mut counts = self.counts();
        forget(&mut counts, now);
        let known = counts.iter().map(|(name, count)| (Arc::clone(name), Arc::clone(count)));
        let known: Vec<_> = known.collect();
        drop(counts); // a worker may wait for it, and the rest takes long
        let own = known.iter().filter_map(|(name, count)| count.used(name, now));
        let mut used: Vec<Used> = own.chain(self.subjects.used(now)).collect();
        used.sort_unstable();
        used
    }

    /// Forgets what was used in periods that are over, where nobody counts on it: a part of the subjects with each call,
    /// and tenants and routes with the first part. To be called every few minutes at least, with the next number each
    /// time; [`Quotas::used`] is called only where something is kept.
    pub fn tidy(&self, part: u64, now: SystemTime) {
        if part.is_multiple_of(PARTS as u64) {
            forget(&mut self.counts(), now);
        }
        self.subjects.forget(part, now);
    }

    /// What a tenant or a route has used in the period of now, and how long that lasts.
    pub fn look(&self, whose: Whose<'_>, period: Period, now: SystemTime) -> (u64, Duration) {
        let count = self.counts().get(&*name(whose)).map(Arc::clone);
        of_now(count, period, now)
    }

    /// The same of a subject.
    pub fn look_at_subject(
        &self,
        (whose, subject): (Whose<'_>, Option<(Proof, &str)>),
        period: Period,
        now: SystemTime,
    ) -> (u64, Duration) {
        of_now(self.subjects.known(whose, subject), period, now)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Count>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(counts: &mut HashMap<Arc<str>, Arc<Count>>, now: SystemTime) {
    counts.retain(|_, count| count.is_of(now) || Arc::strong_count(count) > 1);
}

fn of_now(count: Option<Arc<Count>>, period: Period, now: SystemTime) -> (u64, Duration) {
    let known = count.map(|count| count.now()).filter(|(known, _)| *known == number(period, now));
    (known.map_or(0, |(_, used)| used), rest(period, now))
}

/// The name of the count of a tenant, or of one of its routes. Ids have no slash in them.
pub(super) fn name(whose: Whose<'_>) -> Cow<'_, str> {
    match whose.route {
        None => whose.tenant.into(),
        Some(route) => format!("{}/{ROUTE}{route:016x}", whose.tenant).into(),
    }
}

impl Count {
    /// Counts one request.
    ///
    /// # Errors
    /// How long it takes until the next period, where there is none left in this one.
    pub fn spend(self: &Arc<Self>, quota: QuotaSpec, now: SystemTime) -> Result<Spent, Duration> {
        let one_more = |before| one_more(before, quota, now);
        let rest = rest(quota.period, now);
        let relaxed = Ordering::Relaxed;
        match self.word.fetch_update(relaxed, relaxed, one_more) {
            Err(_) => Err(rest),
            Ok(before) => {
                let after = one_more(before).unwrap_or(0);
                let (period, used) = (after >> USED_BITS, after & MOST);
                let left = (quota.requests.saturating_sub(used), rest);
                Ok(Spent { count: Arc::clone(self), period, went: false, left })
            }
        }
    }

    /// Looks whether there is one left, and takes none.
    ///
    /// # Errors
    /// As [`Count::spend`].
    pub fn look(&self, quota: QuotaSpec, now: SystemTime) -> Result<(), Duration> {
        let more = one_more(self.word.load(Ordering::Relaxed), quota, now);
        more.map(drop).ok_or_else(|| rest(quota.period, now))
    }

    /// Whether the period that it counts in is not over.
    pub(super) fn is_of(&self, now: SystemTime) -> bool {
        let period = self.now().0;
        [Period::Day, Period::Month].into_iter().any(|of_now| number(of_now, now) == period)
    }

    /// What is to be kept of it; `None` = nothing.
    pub(super) fn used(&self, name: &str, now: SystemTime) -> Option<Used> {
        let (period, requests) = self.now();
        let is_kept = requests > 0 && self.is_of(now);
        is_kept.then(|| Used { whose: name.to_owned(), period, requests })
    }

    /// The period, and the requests in it.
    fn now(&self) -> (u64, u64) {
        let word = self.word.load(Ordering::Relaxed);
        (word >> USED_BITS, word & MOST)
    }
}

impl Spent {
    /// The request goes on.
    pub fn go(mut self) {
        self.went = true;
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        if !self.went {
            let less = |word: u64| {
                let is_there = word >> USED_BITS == self.period && word & MOST > 0;
                is_there.then(|| word - 1)
            };
            self.count.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
        }
    }
}

/// A count with one request more, where there is one left.
fn one_more(before: u64, quota: QuotaSpec, now: SystemTime) -> Option<u64> {
    let (known, period) = (before >> USED_BITS, number(quota.period, now));
    // A clock that is set back brings no period back.
    let alike = (known > DAYS) == (period > DAYS) && known >= period;
    let (period, used) = if alike { (known, before & MOST) } else { (period, 0) };
    (used < quota.requests).then(|| word(period, used + 1))
}

fn word(period: u64, requests: u64) -> u64 {
    period << USED_BITS | requests.min(MOST)
}

/// Which day it is since 1970, or, above all of those, which month.
fn number(period: Period, now: SystemTime) -> u64 {
    let day = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / A_DAY;
    match period {
        Period::Day => day & DAYS,
        Period::Month => DAYS + 1 + month(day).0,
    }
}

/// Until the next day, or the next month.
fn rest(period: Period, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let day = now.as_secs() / A_DAY;
    let next = match period {
        Period::Day => day + 1,
        Period::Month => month(day).1,
    };
    Duration::from_secs(next * A_DAY).saturating_sub(now)
}

/// The number of the month that a day is in, since the year 0, and the first day of the next one.
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March.)
fn month(day: u64) -> (u64, u64) {
    let since = day + 719_468; // since March of the year 0
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let first = |month: u64| (153 * month + 2) / 5;
    // February, the last one, ends with the year.
    let days = match month {
        11 => {
            let next = year + 1;
            let leaps =
                next.is_multiple_of(4) && (!next.is_multiple_of(100) || next.is_multiple_of(400));
            365 + u64::from(leaps)
        }
        _ => first(month + 1),
    };
    // The sum first: the March that January 1970 counts from is before 1970.
    ((era * 400 + year) * 12 + month, day + days - of_year)
}

/// Before the key of a route, in names of counts.
pub(super) const ROUTE: char = 'r';
const A_DAY: u64 = 24 * 3600;
/// 40 bits: a million million requests in a month.
const USED_BITS: u32 = 40;
const MOST: u64 = (1 << USED_BITS) - 1;
/// Numbers of days; those of months are above.
const DAYS: u64 = (1 << 20) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    fn quota(requests: u64, period: Period) -> QuotaSpec {
        QuotaSpec { requests, period }
    }

    fn spends(count: &Arc<Count>, quota: QuotaSpec, now: SystemTime) -> Result<u64, u64> {
        let spent = count.spend(quota, now).map_err(|rest| rest.as_secs())?;
        let left = spent.left.0;
        spent.go();
        Ok(left)
    }

    #[test]
    fn a_quota_is_whole_again_with_the_next_day_or_month() {
        let (daily, monthly) = (quota(2, Period::Day), quota(2, Period::Month));
        let count = Arc::<Count>::default();
        let evening = at("2024-02-28T23:59:50Z");
        assert_eq!(spends(&count, daily, evening), Ok(1));
        assert_eq!(spends(&count, daily, evening), Ok(0));
        assert_eq!(spends(&count, daily, evening), Err(10));
        assert_eq!(spends(&count, daily, at("2024-02-29T00:00:00Z")), Ok(1));

        let count = Arc::<Count>::default();
        assert_eq!(spends(&count, monthly, evening), Ok(1));
        assert_eq!(spends(&count, monthly, at("2024-02-29T23:59:59Z")), Ok(0));
        assert_eq!(spends(&count, monthly, at("2024-02-29T23:59:59Z")), Err(1));
        assert_eq!(spends(&count, monthly, at("2024-03-01T00:00:00Z")), Ok(1));
    }

    #[test]
    fn who_only_looks_whether_there_is_one_left_takes_none() {
        let (once, count) = (quota(1, Period::Day), Arc::<Count>::default());
        let evening = at("2024-02-28T23:59:50Z");
        let look = |now| count.look(once, now).map_err(|rest| rest.as_secs());

        assert_eq!((look(evening), look(evening)), (Ok(()), Ok(())));
        assert_eq!(spends(&count, once, evening), Ok(0));
        assert_eq!(look(evening), Err(10));
        assert_eq!(look(at("2024-02-29T00:00:00Z")), Ok(()));
    }

    #[test]
    fn a_clock_that_was_never_set_counts_in_january_1970() {
        let count = Arc::<Count>::default();
        assert_eq!(spends(&count, quota(1, Period::Month), UNIX_EPOCH), Ok(0));
        assert_eq!(spends(&count, quota(1, Period::Month), UNIX_EPOCH), Err(31 * A_DAY));
    }

    #[test]
    fn what_does_not_go_on_is_given_back() {
        let (count, now) = (Arc::<Count>::default(), at("2024-02-28T12:00:00Z"));
        let daily = quota(1, Period::Day);
        drop(count.spend(daily, now).unwrap());
        assert_eq!(spends(&count, daily, now), Ok(0));
        assert!(spends(&count, daily, now).is_err());
        assert_eq!(spends(&count, quota(3, Period::Day), now), Ok(1), "a larger one counts on");
    }

    #[test]
    fn what_was_used_is_found_again_and_old_periods_are_forgotten() {
        let (quotas, now) = (Quotas::default(), at("2024-02-28T12:00:00Z"));
        spends(&quotas.of("daily"), quota(5, Period::Day), now).unwrap();
        for _ in 0..3 {
            spends(&quotas.of("monthly"), quota(5, Period::Month), now).unwrap();
        }
        let used = quotas.used(now);
        assert_eq!(used.len(), 2);

        let later = Quotas::default();
        later.restore(used);
        assert_eq!(spends(&later.of("monthly"), quota(5, Period::Month), now), Ok(1));
        assert_eq!(spends(&later.of("daily"), quota(1, Period::Day), now), Err(12 * 3600));
        let next_day = now + Duration::from_secs(A_DAY);
        let tenants: Vec<String> = later.used(next_day).into_iter().map(|one| one.whose).collect();
        assert_eq!(tenants, ["monthly"]);
        assert_eq!(later.counts().len(), 1);
    }

    #[test]
    fn tenants_of_periods_that_are_over_are_forgotten_where_nothing_is_kept() {
        let (quotas, now) = (Quotas::default(), at("2024-02-28T12:00:00Z"));
        for (tenant, period) in [("daily", Period::Day), ("monthly", Period::Month)] {
            spends(&quotas.of(tenant), quota(5, period), now).unwrap();
        }
        let counted_on = quotas.of("counted-on");
        let tidied = |now| {
            (0..PARTS as u64).for_each(|part| quotas.tidy(part, now));
            quotas.counts().len()
        };

        assert_eq!(tidied(now), 3);
        assert_eq!(tidied(now + Duration::from_secs(A_DAY)), 2);
        drop(counted_on);
        assert_eq!(tidied(now + Duration::from_secs(A_DAY)), 1);
    }

    #[test]
    fn over_all_threads_not_one_more_is_spent() {
        let (count, now) = (Arc::<Count>::default(), at("2024-02-28T12:00:00Z"));
        let spent: usize = std::thread::scope(|scope| {
            let spend = || {
                let one = |_: &u32| spends(&count, quota(500, Period::Day), now).is_ok();
                (0..300).filter(one).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(spend)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(spent, 500);
    }

    proptest! {
        #[test]
        fn months_are_those_of_the_calendar(seconds in 0_u64..10_000_000_000) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let of = |time: SystemTime| humantime::format_rfc3339(time).to_string()[..7].to_owned();
            let rest = rest(Period::Month, time);

            let (last, next) = (time + rest - Duration::from_secs(1), time + rest);
            prop_assert_eq!(of(last), of(time));
            prop_assert_eq!(humantime::format_rfc3339(next).to_string()[8..10].to_owned(), "01");
            prop_assert_ne!(of(next), of(time));
            prop_assert_eq!(number(Period::Month, next), number(Period::Month, time) + 1);
        }
    }
}
