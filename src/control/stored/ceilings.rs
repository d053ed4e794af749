//! How far a tenant's own token may go with numbers that it may change: as far as its plan does.

use std::fmt;
use std::time::Duration;

use crate::base::fair::Class;
use crate::base::units::{ByteSize, Rate};
use crate::config::spec::{
    EachLimitSpec, LimitScope, LimitsSpec, Overflow, Period, QueueSpec, QuotaSpec, RateSpec,
    RoutesSpec, TenantSpec,
};

use super::refusal::Refusal;

/// A number by its key; `None` = it is not limited.
type Number = (&'static str, Option<Amount>);

/// How much, to compare, and as it is told.
#[derive(Clone, Copy)]
struct Amount {
    size: u64,
    said: Said,
}

/// As files have it.
#[derive(Clone, Copy)]
enum Said {
    Count(u64),
    Rate(Rate),
    Quota(QuotaSpec),
    Size(ByteSize),
    Time(Duration),
    Word(&'static str),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Rate(rate) => rate.fmt(f),
            Self::Quota(quota) => quota.fmt(f),
            Self::Size(size) => size.fmt(f),
            Self::Time(time) => write!(f, "{time:?}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl Amount {
    fn count(count: u64) -> Self {
        Self { size: count, said: Said::Count(count) }
    }

    fn bytes(size: ByteSize) -> Self {
        Self { size: size.0, said: Said::Size(size) }
    }

    fn time(time: Duration) -> Self {
        let size = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { size, said: Said::Time(time) }
    }

    fn word(size: u64, word: &'static str) -> Self {
        Self { size, said: Said::Word(word) }
    }
}

/// A number that is above that of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// As in `limits.requests`.
    pub key: &'static str,
    /// What the tenant has.
    pub value: String,
    /// What the plan has.
    pub bound: String,
}

/// Refuses a number beyond that of the tenant's plan, unless the tenant has as much already: somebody has given it
/// more. Where the plan says nothing of it there is no bound. Refuses another period of a quota, too: what was used in
/// the one before would count no more.
///
/// # Errors
/// With the keys that are beyond it.
pub(super) fn check(
    spec: &RoutesSpec,
    (before, now): (Option<&TenantSpec>, Option<&TenantSpec>),
) -> Result<(), Refusal> {
    let Some(now) = now else { return Ok(()) };
    // It is the same as before: its own token does not choose another one.
    let plan = now.plan.as_ref().and_then(|plan| spec.plans.get(plan)).map(|plan| &**plan);
    let beyond = plan.map(|plan| beyond(plan, before, now)).unwrap_or_default();
    let mut beyond: Vec<&str> = beyond.iter().map(|one| one.key).collect();
    let others = other_periods([before, plan], now);
    for key in others {
        if !beyond.contains(&key) {
            beyond.push(key);
        }
    }
    let keys: Vec<String> = beyond.into_iter().map(str::to_owned).collect();
    if keys.is_empty() { Ok(()) } else { Err(Refusal::Beyond(keys)) }
}

/// The numbers that are beyond those of the plan, and of those that the tenant had.
pub(super) fn beyond(
    plan: &TenantSpec,
    before: Option<&TenantSpec>,
    now: &TenantSpec,
) -> Vec<Excess> {
    let had = before.map(numbers).unwrap_or_default();
    let excess = |(at, (_, now)): (usize, &Number), (key, most): Number| {
        let (most, now) = (most?, (*now)?);
        let had = had.get(at).and_then(|(_, had)| *had);
        let is_beyond = now.size > most.size && had.is_none_or(|had| now.size > had.size);
        // Where the plan has nobody wait, it is that anybody does.
        let value = match most.said {
            Said::Word(REJECT) => WAIT.to_owned(),
            _ => now.said.to_string(),
        };
        is_beyond.then(|| Excess { key, value, bound: most.said.to_string() })
    };
    let now = numbers(now);
    // The plan's key: where it has nobody wait, it is by that.
    let each = now.iter().enumerate().zip(numbers(plan));
    let mut beyond: Vec<Excess> = each.filter_map(|(one, most)| excess(one, most)).collect();
    beyond.dedup_by_key(|one| one.key);
    beyond
}

/// The keys of quotas whose period is another one than that in force: that of the first of these that has such a quota.
fn other_periods(
    in_force: [Option<&TenantSpec>; 2],
    now: &TenantSpec,
) -> impl Iterator<Item = &'static str> {
    let in_force = in_force.map(|of| of.map_or([None; 2], periods));
    let keys = ["limits.quota", "limits.subject.quota"].into_iter().zip(periods(now)).enumerate();
    keys.filter_map(move |(at, (key, now))| {
        let before = in_force[0][at].or(in_force[1][at])?;
        (now? != before).then_some(key)
    })
}

/// Those of the quota of the tenant, and of each subject's.
fn periods(tenant: &TenantSpec) -> [Option<Period>; 2] {
    let limits = tenant.limits.as_deref();
    let of_subject = limits.and_then(|limits| limits.subject.as_ref()?.quota);
    [limits.and_then(|limits| limits.quota), of_subject].map(|quota| quota.map(|one| one.period))
}

/// All numbers of limits and of shares, in one order for all tenants; the more of one, the more is granted.
fn numbers(tenant: &TenantSpec) -> Vec<Number> {
    let limits = tenant.limits.as_deref().unwrap_or(&LimitsSpec::UNSAID);
    let mut all = rate(limits.requests.as_ref(), ["limits.requests", "limits.burst"]);
    all.extend(waiting(limits.overflow, WAITING));
    // Shared by gateways it is one limit, else there is one at each of them.
    let scope = match limits.scope {
        LimitScope::Gateway => Amount::word(1, "gateway"),
        _ => Amount::word(0, "shared"),
    };
    let count = |count: u32| Amount::count(count.into());
    all.push(("limits.scope", Some(scope)));
    all.push(("limits.concurrency", limits.concurrency.map(count)));
    all.extend(quota(limits.quota, "limits.quota"));
    all.push(("limits.upload", limits.upload.map(Amount::bytes)));
    all.push(("limits.download", limits.download.map(Amount::bytes)));
    all.push(("limits.max-body", limits.max_body.map(Amount::bytes)));
    all.extend(each(limits.client.as_ref(), OF_CLIENTS));
    all.extend(each(limits.subject.as_ref(), OF_SUBJECTS));
    all.extend(share(tenant.queue.as_deref()));
    all
}

fn each(spec: Option<&EachLimitSpec>, keys: [&'static str; 7]) -> Vec<Number> {
    let [requests, burst, concurrency, overflow, wait, most, quota] = keys;
    let spec = spec.unwrap_or(&EachLimitSpec::UNSAID);
    let mut all = rate(spec.requests.as_ref(), [requests, burst]);
    all.push((concurrency, spec.concurrency.map(|count| Amount::count(count.into()))));
    all.extend(waiting(spec.overflow, [overflow, wait, most]));
    all.extend(self::quota(spec.quota, quota));
    all
}

/// On one day, and in a month: one of a month may all be used on a day, and one of a day on each of its days.
fn quota(spec: Option<QuotaSpec>, key: &'static str) -> [Number; 2] {
    let of = |of_days: u64| {
        spec.map(|quota| {
            let size = match quota.period {
                Period::Day => quota.requests.saturating_mul(of_days),
                Period::Month => quota.requests,
            };
            Amount { size, said: Said::Quota(quota) }
        })
    };
    [(key, of(1)), (key, of(DAYS))]
}

fn rate(spec: Option<&RateSpec>, [requests, burst]: [&'static str; 2]) -> Vec<Number> {
    let in_a_day = |spec: &RateSpec| {
        let size =
            u64::from(spec.rate.count).saturating_mul(A_DAY / spec.rate.per.as_secs().max(1));
        Amount { size, said: Said::Rate(spec.rate) }
    };
    let at_once = |spec: &RateSpec| Amount::count(spec.burst.into());
    vec![(requests, spec.map(in_a_day)), (burst, spec.map(at_once))]
}

/// Where somebody has said that nobody waits, that is for no time and none; where nobody has said anything, it is no
/// bound.
fn waiting(spec: Option<Overflow>, [overflow, wait, most]: [&'static str; 3]) -> [Number; 2] {
    match spec {
        None => [(wait, None), (most, None)],
        Some(Overflow::Reject) => [(overflow, Some(Amount::word(0, REJECT))); 2],
        Some(Overflow::Wait { longest, waiting }) => {
            [(wait, Some(Amount::time(longest))), (most, Some(Amount::count(waiting.into())))]
        }
    }
}

fn share(queue: Option<&QueueSpec>) -> [Number; 4] {
    let urgency = |class: Class| match class {
        Class::Critical => Amount::word(2, "critical"),
        Class::Normal => Amount::word(1, "normal"),
        Class::Batch => Amount::word(0, "batch"),
    };
    let length = |queue: &QueueSpec| queue.length.map(|length| Amount::count(length as u64));
    [
        ("queue.weight", queue.map(|queue| Amount::count(queue.weight.into()))),
        ("queue.priority", queue.map(|queue| urgency(queue.class(None)))),
        ("queue.length", queue.and_then(length)),
        ("queue.wait", queue.and_then(|queue| queue.wait.map(Amount::time))),
    ]
}

/// The words of `overflow`.
const REJECT: &str = "reject";
const WAIT: &str = "wait";
const WAITING: [&str; 3] = ["limits.overflow", "limits.wait", "limits.waiting"];
const OF_CLIENTS: [&str; 7] = [
    "limits.client.requests",
    "limits.client.burst",
    "limits.client.concurrency",
    "limits.client.overflow",
    "limits.client.wait",
    "limits.client.waiting",
    "limits.client.quota",
];
const OF_SUBJECTS: [&str; 7] = [
    "limits.subject.requests",
    "limits.subject.burst",
    "limits.subject.concurrency",
    "limits.subject.overflow",
    "limits.subject.wait",
    "limits.subject.waiting",
    "limits.subject.quota",
];
const A_DAY: u64 = 24 * 3600;
/// Of the longest month.
const DAYS: u64 = 31;

#[cfg(test)]
mod tests {
    use crate::config::{Files, Known, check_routes};

    use super::*;

    const POOL: &str = "[pools.a]\ndns = \"a:1\"\n[plans.p]\npool = \"a\"\n";

    fn spec(plan: &str, tenant: &str) -> RoutesSpec {
        let text = format!("{POOL}{plan}[tenants.t]\nplan = \"p\"\n{tenant}");
        let files = Files::of_text("r.toml", &text);
        check_routes(&files, &Known { balancers: &["least-request"], keyed: &[] })
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn beyond(plan: &str, before: &str, now: &str) -> Vec<String> {
        let (before, now) = (spec(plan, before), spec(plan, now));
        match check(&before, (before.tenant("t").map(|t| &**t), now.tenant("t").map(|t| &**t))) {
            Ok(()) => Vec::new(),
            Err(Refusal::Beyond(keys)) => keys,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_number_goes_no_further_than_that_of_the_plan() {
        let plan = "limits = { requests = \"10/s\", burst = 20, concurrency = 5, quota = \"100/day\", \
                    client.requests = \"60/m\" }\nqueue = { weight = 3, priority = \"batch\" }\n";
        for (now, expected) in [
            ("", vec![]),
            ("limits = { requests = \"600/m\", burst = 20 }", vec![]),
            ("limits = { requests = \"11/s\", burst = 20 }", vec!["limits.requests"]),
            ("limits = { requests = \"1/s\", burst = 21 }", vec!["limits.burst"]),
            ("limits.concurrency = 6", vec!["limits.concurrency"]),
            ("limits.concurrency = 4", vec![]),
            ("limits.quota = \"101/day\"", vec!["limits.quota"]),
            ("limits.quota = \"101/month\"", vec!["limits.quota"]),
            ("limits.quota = \"100/month\"", vec!["limits.quota"]),
            ("limits.quota = \"99/day\"", vec![]),
            ("limits.client.requests = \"2/s\"", vec!["limits.client.requests"]),
            ("limits.subject.requests = \"9/s\"", vec![]),
            ("limits.max-body = \"1GiB\"", vec![]),
            (
                "queue = { weight = 4, priority = \"normal\" }",
                vec!["queue.weight", "queue.priority"],
            ),
        ] {
            assert_eq!(beyond(plan, "", now), expected, "{now}");
        }
        assert_eq!(
            beyond("limits.quota = \"3100/month\"\n", "", "limits.quota = \"101/day\""),
            ["limits.quota"]
        );
    }

    #[test]
    fn a_quota_keeps_its_period_whoever_has_said_it() {
        let (daily, both) = (
            "limits.quota = \"100/day\"\n",
            "limits = { quota = \"100/day\", subject.quota = \"9/day\" }\n",
        );
        for (plan, before, now, expected) in [
            (daily, "", "limits.quota = \"1/month\"", vec!["limits.quota"]),
            (
                daily,
                "limits.quota = \"90/day\"",
                "limits.quota = \"1/month\"",
                vec!["limits.quota"],
            ),
            // The plan's would hold again.
            (daily, "limits.quota = \"1/month\"", "", vec!["limits.quota"]),
            (daily, "limits.quota = \"2/month\"", "limits.quota = \"1/month\"", vec![]),
            (both, "", "limits.subject.quota = \"1/month\"", vec!["limits.subject.quota"]),
            (both, "", "limits.subject.quota = \"8/day\"", vec![]),
            ("", "limits.quota = \"9/day\"", "limits.quota = \"9/month\"", vec!["limits.quota"]),
            ("", "", "limits.quota = \"9/month\"", vec![]),
        ] {
            assert_eq!(beyond(plan, before, now), expected, "{plan} {before} {now}");
        }
    }

    #[test]
    fn a_limit_that_gateways_share_does_not_become_one_at_each_of_them() {
        let (shared, own) = ("scope = \"shared\"", "scope = \"gateway\"");
        let limits = |scope: &str| format!("limits = {{ requests = \"9/s\", {scope} }}\n");

        assert_eq!(beyond(&limits(shared), "", &limits(own)), ["limits.scope"]);
        assert!(beyond(&limits(shared), "", &limits(shared)).is_empty());
        assert!(beyond(&limits(shared), &limits(own), &limits(own)).is_empty());
        assert!(beyond(&limits(own), "", &limits(shared)).is_empty());
    }

    #[test]
    fn nobody_waits_where_the_plan_says_so_and_anybody_may_where_it_says_nothing() {
        let limits = |rest: &str| format!("limits = {{ requests = \"9/s\", {rest} }}\n");
        let (said, unsaid) = (limits("overflow = \"reject\""), limits("burst = 9"));
        let each = limits("subject = { requests = \"1/s\", overflow = \"reject\" }");
        let own = |rest: &str| format!("limits = {{ {rest} }}");
        let (waits, longer) =
            (own("overflow = \"wait\""), own("overflow = \"wait\", wait = \"2s\""));
        let of_subject = own("subject.overflow = \"wait\"");

        assert_eq!(beyond(&said, "", &waits), ["limits.overflow"]);
        assert_eq!(beyond(&said, &waits, &longer), ["limits.overflow"], "it had less");
        assert!(beyond(&said, &longer, &waits).is_empty(), "it had more");
        assert!(beyond(&unsaid, "", &longer).is_empty());
        assert!(beyond(&said, &waits, &own("overflow = \"reject\"")).is_empty());
        assert!(
            beyond(&limits("overflow = \"wait\""), "", &own("overflow = \"reject\"")).is_empty()
        );
        assert_eq!(beyond(&each, "", &of_subject), ["limits.subject.overflow"]);
    }

    #[test]
    fn what_somebody_has_given_to_a_tenant_beyond_its_plan_stays_its_own() {
        let (plan, given) = ("limits.concurrency = 5\n", "limits.concurrency = 50");

        assert!(beyond(plan, given, "limits.concurrency = 50").is_empty());
        assert!(beyond(plan, given, "limits.concurrency = 40").is_empty());
        assert_eq!(beyond(plan, given, "limits.concurrency = 51"), ["limits.concurrency"]);
    }
}
