//! Limits, of a tenant or of a route.

use std::time::Duration;

use crate::base::units::{ByteSize, Rate};
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, EachLimit, Limits};
use crate::config::spec::{EachLimitSpec, LimitsSpec, Overflow, RateSpec};
use crate::config::text::{Beyond, Written};

/// Checks the limits of a tenant, or of a route, which has no plan. `plan` is what holds where it says nothing; a burst is one with the
/// `requests` that it is written beside.
pub(super) fn check(
    raw: Option<At<Limits>>,
    plan: Option<&LimitsSpec>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<LimitsSpec>> {
    let Some(At { value: raw, start }) = raw else { return plan.cloned().map(Box::new) };
    let unsaid = plan.unwrap_or(&LimitsSpec::UNSAID);
    let has_requests = raw.requests.is_some() || unsaid.requests.is_some();
    let has_any = has_requests || raw.concurrency.is_some() || unsaid.concurrency.is_some();
    let alone = [
        ("burst", raw.burst.as_ref().filter(|_| raw.requests.is_none()).map(|burst| burst.start)),
        (
            "overflow",
            raw.overflow
                .as_ref()
                .filter(|_| !has_any && !faults.is_partial())
                .map(|overflow| overflow.start),
        ),
    ];
    for (name, start) in alone {
        if let Some(start) = start {
            let hint = match has_any {
                true => "write requests beside it, or take it out",
                false => "write requests or concurrency beside it, or take it out",
            };
            let what = "has nothing to apply to";
            faults.add(&key.name(name), start, what, Some(hint.to_owned()));
        }
    }
    if let Some(scope) = raw.scope.as_ref().filter(|_| !has_requests && !faults.is_partial()) {
        let hint = "write requests beside it, or take it out; nothing else is counted for several \
                    gateways";
        let what = "has nothing to apply to";
        faults.add(&key.name("scope"), scope.start, what, Some(hint.to_owned()));
    }
    let burst = raw.burst.map(|burst| burst.value.small());
    let requests = raw.requests.map(|rate| self::rate(&rate, burst, A_DAY, key, faults));
    let overflow = overflow((raw.overflow, raw.wait, raw.waiting), unsaid.overflow, key, faults);
    let says_each = raw.client.is_some() || raw.subject.is_some();
    let client = of_clients(raw.client, unsaid.client.as_ref(), &key.name("client"), faults);
    let subject = each(raw.subject, unsaid.subject.as_ref(), &key.name("subject"), faults);
    let limits = LimitsSpec {
        requests: requests.or(unsaid.requests),
        concurrency: raw.concurrency.map(|most| most.value.small()).or(unsaid.concurrency),
        overflow,
        scope: raw.scope.map_or(unsaid.scope, |scope| scope.value.0),
        client,
        subject,
        quota: raw.quota.map(|quota| quota.value.0).or(unsaid.quota),
        upload: raw.upload.map(|rate| rate.value.0.0).or(unsaid.upload),
        download: raw.download.map(|rate| rate.value.0.0).or(unsaid.download),
        max_body: max_body(raw.max_body, key, faults).or(unsaid.max_body),
        fields: raw.fields.map_or(unsaid.fields, |fields| fields.0),
    };
    let bytes = limits.upload.is_some() || limits.download.is_some();
    let has_each = says_each || limits.client.is_some() || limits.subject.is_some();
    let has_other = limits.quota.is_some() || limits.max_body.is_some() || bytes;
    if !has_any && !has_each && !has_other && !faults.is_partial() {
        let hint =
            "write requests = \"100/s\", concurrency = 64, or client = { requests = \"10/s\" }";
        faults.add_missing(key, start, "limits nothing", hint);
    }
    Some(Box::new(limits))
}

fn max_body(
    raw: Option<At<Written<ByteSize>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<ByteSize> {
    let At { value: Written(size), start } = raw?;
    if size.0 == 0 {
        let hint = "write a size from 1B on, as in \"10MiB\", or leave it out".to_owned();
        faults.add(&key.name("max-body"), start, "would refuse every body", Some(hint));
    }
    Some(size)
}

/// What each client may ask for, which has no quota.
fn of_clients(
    mut raw: Option<At<EachLimit>>,
    plan: Option<&EachLimitSpec>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<EachLimitSpec> {
    if let Some(quota) = raw.as_mut().and_then(|raw| raw.value.quota.take()) {
        let hint = "write it for each subject, whose number is known, or for the tenant".to_owned();
        faults.add(&key.name("quota"), quota.start, "a client has no quota", Some(hint));
        return None;
    }
    each(raw, plan, key, faults)
}

/// What each client, or each subject, may ask for.
fn each(
    raw: Option<At<EachLimit>>,
    plan: Option<&EachLimitSpec>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<EachLimitSpec> {
    let Some(At { value: raw, start }) = raw else { return plan.cloned() };
    let unsaid = plan.unwrap_or(&EachLimitSpec::UNSAID);
    let overflow_at = raw.overflow.as_ref().map(|overflow| overflow.start);
    let overflow = overflow((raw.overflow, raw.wait, raw.waiting), unsaid.overflow, key, faults);
    let burst = raw.burst.map(|burst| (burst.value.small(), burst.start));
    let said = raw
        .requests
        .map(|requests| rate(&requests, burst.map(|(burst, _)| burst), AN_HOUR, key, faults));
    let requests = said.or(unsaid.requests);
    let concurrency = raw.concurrency.map(|most| most.value.small()).or(unsaid.concurrency);
    let quota = raw.quota.map(|quota| quota.value.0).or(unsaid.quota);
    let has_any = requests.is_some() || concurrency.is_some() || faults.is_partial();
    if !has_any && quota.is_none() {
        let hint = "write requests = \"10/s\", or concurrency = 4";
        faults.add_missing(key, start, "limits nothing", hint);
        return None;
    }
    if let (None, Some((_, start))) = (&said, burst) {
        let hint = "write requests beside it, or take it out".to_owned();
        faults.add(&key.name("burst"), start, "has nothing to apply to", Some(hint));
    }
    if let (false, Some(start)) = (has_any, overflow_at) {
        let hint = "write requests or concurrency beside it, or take it out".to_owned();
        faults.add(&key.name("overflow"), start, "has nothing to apply to", Some(hint));
    }
    Some(EachLimitSpec { requests, concurrency, overflow, quota })
}

fn rate(
    rate: &At<Written<Rate>>,
    burst: Option<u32>,
    longest: Duration,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> RateSpec {
    let spec = RateSpec { rate: rate.value.0, burst: burst.unwrap_or(rate.value.0.count) };
    if spec.refill() > longest {
        let refill = humantime::format_duration(Duration::from_secs(spec.refill().as_secs()));
        let longest = humantime::format_duration(longest);
        let what = format!("a burst of {} takes {refill} to come back", spec.burst);
        let hint = format!("it may take {longest} at most: make burst smaller, or requests more");
        faults.add(&key.name("requests"), rate.start, what, Some(hint));
    }
    spec
}

/// What becomes of a request beyond a limit, how long it waits and beside how many.
type Words<W> = (Option<At<Written<Beyond>>>, Option<At<Written<Duration>>>, Option<At<W>>);

fn overflow<const LEAST: u64, const MOST: u64>(
    (overflow, wait, waiting): Words<crate::config::raw::Whole<LEAST, MOST>>,
    plan: Option<Overflow>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Overflow> {
    let said = overflow.map(|overflow| overflow.value.0);
    let of_plan = plan.unwrap_or(Overflow::Reject);
    let is_refused = match said {
        Some(said) => said == Beyond::Reject,
        None => of_plan == Overflow::Reject && !faults.is_partial(),
    };
    if is_refused {
        let starts = [
            ("wait", wait.map(|wait| wait.start)),
            ("waiting", waiting.map(|waiting| waiting.start)),
        ];
        for (name, start) in starts {
            if let Some(start) = start {
                let hint = "write overflow = \"wait\" beside it, or take it out".to_owned();
                faults.add(&key.name(name), start, "nobody waits here", Some(hint));
            }
        }
        // What nobody has said stays so: it bounds nobody.
        return said.map(|_| Overflow::Reject).or(plan);
    }
    let (longest, most) = match of_plan {
        Overflow::Reject => (WAIT, WAITING),
        Overflow::Wait { longest, waiting } => (longest, waiting),
    };
    let longest = wait.map_or(longest, |wait| {
        if wait.value.0.is_zero() || wait.value.0 > LONGEST_WAIT {
            let hint = "write a duration from 1ms to 1m, as in \"500ms\"".to_owned();
            faults.add(&key.name("wait"), wait.start, "is out of range", Some(hint));
        }
        wait.value.0
    });
    Some(Overflow::Wait { longest, waiting: waiting.map_or(most, |waiting| waiting.value.small()) })
}

/// Longer is a quota, and is not kept in the memory of a process.
const A_DAY: Duration = Duration::from_secs(24 * 3600);
/// What the table of clients and subjects can tell.
const AN_HOUR: Duration = Duration::from_secs(3600);
/// 1 s: what people bear.
const WAIT: Duration = Duration::from_secs(1);
/// 1 min: who waits holds a connection.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const WAITING: u32 = 100;
