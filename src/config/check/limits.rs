//! Limits, of a tenant or of a route.

use std::time::Duration;

use crate::base::units::Rate;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, ClientLimit, Limits};
use crate::config::spec::{ClientLimitSpec, LimitFields, LimitsSpec, Overflow, RateSpec};
use crate::config::text::{Beyond, Written};

/// Checks the limits of a route, which has no quota.
pub(super) fn check_of_route(
    mut raw: Option<At<Limits>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<LimitsSpec>> {
    if let Some(quota) = raw.as_mut().and_then(|raw| raw.value.quota.take()) {
        let hint = "write it in the limits of the tenant".to_owned();
        faults.add(&key.name("quota"), quota.start, "a route has no quota", Some(hint));
        return None;
    }
    check(raw, key, faults)
}

/// Checks the limits of a tenant.
pub(super) fn check(
    raw: Option<At<Limits>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<LimitsSpec>> {
    let At { value: raw, start } = raw?;
    if raw.requests.is_none() && raw.concurrency.is_none() {
        let alone = [
            ("burst", raw.burst.as_ref().map(|burst| burst.start)),
            ("overflow", raw.overflow.as_ref().map(|overflow| overflow.start)),
        ];
        for (name, start) in alone {
            if let Some(start) = start {
                let hint = "write requests or concurrency beside it, or take it out".to_owned();
                faults.add(&key.name(name), start, "has nothing to apply to", Some(hint));
            }
        }
        let bytes = raw.upload.is_some() || raw.download.is_some();
        if raw.client.is_none() && raw.quota.is_none() && !bytes {
            let hint =
                "write requests = \"100/s\", concurrency = 64, or client = { requests = \"10/s\" }";
            faults.add_missing(key, start, "limits nothing", hint);
        }
    } else if let (None, Some(burst)) = (&raw.requests, &raw.burst) {
        let hint = "write requests beside it, or take it out".to_owned();
        faults.add(&key.name("burst"), burst.start, "has nothing to apply to", Some(hint));
    }
    let burst = raw.burst.map(|burst| burst.value.small());
    let requests = raw.requests.map(|rate| self::rate(&rate, burst, A_DAY, key, faults));
    let overflow = overflow((raw.overflow, raw.wait, raw.waiting), key, faults);
    Some(Box::new(LimitsSpec {
        requests,
        concurrency: raw.concurrency.map(|most| most.value.small()),
        overflow,
        client: raw.client.and_then(|client| self::client(client, &key.name("client"), faults)),
        quota: raw.quota.map(|quota| quota.value.0),
        upload: raw.upload.map(|rate| rate.value.0.0),
        download: raw.download.map(|rate| rate.value.0.0),
        fields: raw.fields.map_or(LimitFields::Refused, |fields| fields.0),
    }))
}

fn client(raw: At<ClientLimit>, key: &Key<'_>, faults: &mut Faults<'_>) -> Option<ClientLimitSpec> {
    let At { value: raw, start } = raw;
    let overflow = overflow((raw.overflow, raw.wait, raw.waiting), key, faults);
    let Some(requests) = raw.requests else {
        faults.add_missing(key, start, "limits nothing", "write requests = \"10/s\"");
        return None;
    };
    let burst = raw.burst.map(|burst| burst.value.small());
    Some(ClientLimitSpec { requests: rate(&requests, burst, AN_HOUR, key, faults), overflow })
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
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Overflow {
    if overflow.is_none_or(|overflow| overflow.value.0 == Beyond::Reject) {
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
        return Overflow::Reject;
    }
    let longest = wait.map_or(WAIT, |wait| {
        if wait.value.0.is_zero() || wait.value.0 > LONGEST_WAIT {
            let hint = "write a duration from 1ms to 1m, as in \"500ms\"".to_owned();
            faults.add(&key.name("wait"), wait.start, "is out of range", Some(hint));
        }
        wait.value.0
    });
    Overflow::Wait { longest, waiting: waiting.map_or(WAITING, |waiting| waiting.value.small()) }
}

/// Longer is a quota, and is not kept in the memory of a process.
const A_DAY: Duration = Duration::from_secs(24 * 3600);
/// What the table of clients can tell.
const AN_HOUR: Duration = Duration::from_secs(3600);
/// 1 s: what people bear.
const WAIT: Duration = Duration::from_secs(1);
/// 1 min: who waits holds a connection.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const WAITING: u32 = 100;
