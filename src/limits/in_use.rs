//! What is used of limits at this moment, for people. Nothing is taken by looking.

use std::time::{Duration, SystemTime};

use crate::config::spec::{LimitScope, LimitsSpec, QuotaSpec};
use crate::model::caller::Proof;

use super::admission::{Names, subject_hash, subject_key};
use super::clients;
use super::crowds::Member;
use super::fleet::{Fleet, Mode, Whose};
use super::gcra::{Pace, Ticks};
use super::ledger::{Cell, Ledger};
use super::limit::Limit;
use super::quota::Quotas;

/// What is used of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Which one.
    pub limit: Limit,
    /// What it allows, in words.
    pub allows: String,
    /// How many requests it has now.
    pub used: u64,
    /// How many more would pass now.
    pub left: u64,
    /// How many wait for room.
    pub waiting: u64,
    /// Whether gateways share it; `None` = it is this gateway's own.
    pub sharing: Option<Sharing>,
    /// How long until it is whole if nobody comes; `None` = when those that are under way end.
    pub whole_in: Option<Duration>,
}

/// How a limit is held that gateways share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Together.
    Together,
    /// Together, but the store answers late: more may come through at once.
    Late,
    /// By this gateway alone: the store is lost, or there is none.
    Alone,
}

/// What is used of the limits of a tenant, or of a route: those for all of its clients together.
/// `cell` is there once something was counted. Of a limit that gateways share it is what all of them use,
/// as far as this one was told.
pub fn of(
    cell: Option<&Cell>,
    spec: &LimitsSpec,
    names: Names,
    (now, fleet): (Ticks, Option<&Fleet>),
) -> Vec<InUse> {
    let mut all = Vec::new();
    if let Some(rate) = &spec.requests {
        let is_alone = fleet.is_none_or(|fleet| fleet.mode() == Mode::Lost);
        let is_late = fleet.is_some_and(|fleet| fleet.is_late());
        let sharing = (spec.scope == LimitScope::Shared).then_some(match (is_alone, is_late) {
            (true, _) => Sharing::Alone,
            (false, true) => Sharing::Late,
            (false, false) => Sharing::Together,
        });
        let (taken, whole_in) = cell.map_or((0, Ticks(0)), |cell| match sharing {
            Some(Sharing::Together | Sharing::Late) => cell.taken_of_all(Pace::of(rate), now),
            _ => cell.taken(now),
        });
        let burst = u64::from(rate.burst);
        all.push(InUse {
            limit: names.requests,
            allows: format!("{}, {burst} at once", rate.rate),
            used: taken.min(burst),
            left: burst.saturating_sub(taken),
            waiting: cell.map_or(0, Cell::waiting),
            sharing,
            whole_in: Some(whole_in.duration()),
        });
    }
    if let Some(most) = spec.concurrency {
        let (inside, queued) = cell.and_then(Cell::known_gate).map_or((0, 0), |gate| gate.state());
        all.push(at_once(names.concurrency, most, (inside, queued)));
    }
    all
}

/// What one subject has used of the limits for each of them; `None` = whoever shows nothing. Of those that
/// wait for a slot all are told.
pub fn of_subject(
    counted: Option<(&Ledger, &Cell)>,
    spec: &LimitsSpec,
    names: Names,
    (subject, now): (Option<(Proof, &str)>, Ticks),
) -> Vec<InUse> {
    let Some(each) = &spec.subject else { return Vec::new() };
    let mut all = Vec::new();
    if let Some(rate) = &each.requests {
        let (pace, now) = (clients::pace(rate), clients::micros(now));
        let whole = counted.map_or(0, |(ledger, cell)| {
            ledger.shared().subjects.look(subject_key(ledger.shared(), cell, subject), now)
        });
        let (burst, left) = (u64::from(rate.burst), pace.remaining(whole, now));
        all.push(InUse {
            limit: names.subject,
            allows: format!("{}, {burst} at once", rate.rate),
            used: burst.saturating_sub(left),
            left,
            waiting: counted.map_or(0, |(_, cell)| cell.subjects_waiting()),
            sharing: None,
            whole_in: Some(clients::ticks(whole.saturating_sub(now)).duration()),
        });
    }
    if let Some(most) = each.concurrency {
        let (inside, queued) = counted.map_or((0, 0), |(ledger, cell)| {
            let who = subject_hash(ledger.shared(), cell, subject);
            let member = Member { is_subject: true, limit: cell.identity, who };
            ledger.shared().crowds.state(member)
        });
        all.push(at_once(names.subject_concurrency, most, (inside, queued)));
    }
    all
}

/// What is used of a limit of requests under way: so many are inside, and so many wait.
fn at_once(limit: Limit, most: u32, (inside, queued): (u32, u32)) -> InUse {
    InUse {
        limit,
        allows: format!("{most} at once"),
        used: inside.into(),
        left: most.saturating_sub(inside).into(),
        waiting: queued.into(),
        sharing: None,
        whole_in: None,
    }
}

/// What is used of the quota of a tenant or of a route.
pub fn of_quota(
    quotas: &Quotas,
    whose: Whose<'_>,
    (limit, quota): (Limit, &QuotaSpec),
    now: SystemTime,
) -> InUse {
    used_of((limit, quota), quotas.look(whose, quota.period, now))
}

/// The same of a subject.
pub fn of_subject_quota(
    quotas: &Quotas,
    whose: (Whose<'_>, Option<(Proof, &str)>),
    (limit, quota): (Limit, &QuotaSpec),
    now: SystemTime,
) -> InUse {
    used_of((limit, quota), quotas.look_at_subject(whose, quota.period, now))
}

fn used_of((limit, quota): (Limit, &QuotaSpec), (used, rest): (u64, Duration)) -> InUse {
    InUse {
        limit,
        allows: quota.to_string(),
        used,
        left: quota.requests.saturating_sub(used),
        waiting: 0,
        sharing: None,
        whole_in: Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::base::memory::Account;
    use crate::base::units::Rate;
    use crate::config::spec::{EachLimitSpec, Period, RateSpec};
    use crate::model::caller::Caller;

    use super::super::Shared;
    use super::super::admission::{self, Asker, OF_TENANT, Scope};
    use super::*;

    fn spec() -> LimitsSpec {
        let rate = Rate { count: 10, per: Duration::from_secs(1) };
        LimitsSpec {
            requests: Some(RateSpec { rate, burst: 20 }),
            concurrency: Some(3),
            ..LimitsSpec::UNSAID
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_is_told_and_nothing_is_taken_by_looking() {
        let shared = Shared::new(1 << 16, Account::unlimited(), Arc::default());
        let ledger = Ledger::new(&shared, "acme");
        let (spec, now) = (spec(), shared.now());
        let told = |cell: Option<&Cell>| -> Vec<(u64, u64)> {
            of(cell, &spec, OF_TENANT, (shared.now(), None))
                .iter()
                .map(|one| (one.used, one.left))
                .collect()
        };
        assert_eq!(told(None), [(0, 20), (0, 3)]);

        let whose = Whose { tenant: "acme", route: None };
        let scope = Scope { cell: ledger.own(), spec: &spec, names: OF_TENANT, whose };
        for _ in 0..5 {
            admission::take(&shared, &[scope], Asker::default(), (now, Duration::MAX))
                .unwrap()
                .go(now);
        }
        let rooms = admission::rooms(&shared, &[scope], Asker::default());
        let inside = rooms[0].enter();
        for _ in 0..2 {
            assert_eq!(told(Some(ledger.own())), [(5, 15), (1, 2)]);
        }
        drop(inside);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(told(Some(ledger.own())), [(3, 17), (0, 3)], "half of one counts as one");
        let whole =
            of(Some(ledger.own()), &spec, OF_TENANT, (shared.now(), None))[0].whole_in.unwrap();
        assert!(whole.abs_diff(Duration::from_millis(250)) < Duration::from_millis(2), "{whole:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_each_subject_is_told_what_it_has_used() {
        let shared = Shared::new(1 << 16, Account::unlimited(), Arc::default());
        let ledger = Ledger::new(&shared, "acme");
        let requests = RateSpec { rate: Rate { count: 1, per: Duration::from_secs(1) }, burst: 4 };
        let each = EachLimitSpec {
            requests: Some(requests),
            concurrency: Some(2),
            ..EachLimitSpec::UNSAID
        };
        let spec = LimitsSpec { subject: Some(each), ..LimitsSpec::UNSAID };
        let whose = Whose { tenant: "acme", route: None };
        let scope = Scope { cell: ledger.own(), spec: &spec, names: OF_TENANT, whose };
        let told = |subject: Option<(Proof, &str)>| {
            let counted = Some((&*ledger, &**ledger.own()));
            let all = of_subject(counted, &spec, OF_TENANT, (subject, shared.now()));
            let [told, at_once] = all.as_slice() else { panic!("{all:?}") };
            assert_eq!((at_once.limit, at_once.used), (Limit::SubjectConcurrency, 0));
            assert_eq!((told.limit, told.waiting), (Limit::Subject, 0));
            (told.used, told.left, told.whole_in.unwrap().as_secs())
        };
        let key = Some((Proof::ApiKey, "ci"));
        assert_eq!([told(key), told(None)], [(0, 4, 0), (0, 4, 0)]);

        let caller = Caller { subject: "ci".into(), proof: Proof::ApiKey, told: Box::default() };
        let asker = Asker { client: None, caller: Some(&caller) };
        for _ in 0..3 {
            let now = (shared.now(), Duration::MAX);
            admission::take(&shared, &[scope], asker, now).unwrap().go(shared.now());
        }

        assert_eq!([told(key), told(None)], [(3, 1, 3), (0, 4, 0)]);
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(told(key), (2, 2, 1), "half of one counts as one");
        let nothing = of_subject(None, &LimitsSpec::UNSAID, OF_TENANT, (key, shared.now()));
        assert!(nothing.is_empty());
    }

    #[test]
    fn a_quota_is_told_without_making_a_count() {
        let (quotas, now) = (Quotas::default(), SystemTime::now());
        let quota = QuotaSpec { requests: 3, period: Period::Day };
        let whose = Whose { tenant: "acme", route: None };
        let of_quota = |quota| of_quota(&quotas, whose, (Limit::TenantQuota, quota), now);
        assert_eq!(of_quota(&quota).left, 3);
        assert!(quotas.used(now).is_empty());

        quotas.of("acme").spend(quota, now).unwrap().go();
        let told = of_quota(&quota);
        assert_eq!((told.used, told.left, told.allows.as_str()), (1, 2, "3/day"));
        let monthly = QuotaSpec { requests: 5, period: Period::Month };
        assert_eq!(of_quota(&monthly).used, 0, "of another period");
    }
}
