//! How long keys are good that were fetched, and when they are asked for again.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

use crate::config::spec::FetchSpec;

/// How long an answer says that it is fresh (RFC 9111 §4.2), less the time that it has lain in a cache
/// on the way; `None` where it does not say.
pub fn of(headers: &HeaderMap) -> Option<Duration> {
    let directives = || {
        let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim)
    };
    let forbids = |directive: &str| {
        ["no-store", "no-cache"].iter().any(|no| directive.eq_ignore_ascii_case(no))
    };
    if directives().any(forbids) {
        return Some(Duration::ZERO); // wherever it stands: the order says nothing
    }
    let fresh = directives().find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("max-age").then_some(Duration::from_secs(seconds))
    })?;
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    Some(fresh.saturating_sub(Duration::from_secs(age)))
}

/// How long until keys are fetched again that have come, less up to a tenth: several gateways must not ask
/// at one time.
pub(super) fn until_next(spec: &FetchSpec, fresh: Option<Duration>, random: f64) -> Duration {
    let wished = fresh.unwrap_or(USUAL).min(spec.max_refresh).max(spec.min_refresh);
    wished.mul_f64(1.0 - random.clamp(0.0, 1.0) / 10.0)
}

/// How long until it is tried again after so many failures in a row: 1 s, 2 s, 4 s … a minute, less up to a
/// half.
pub(super) fn until_retry(failures: u32, random: f64) -> Duration {
    let doubled = FIRST * 2_u32.saturating_pow(failures.saturating_sub(1).min(10));
    doubled.min(LAST).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

/// 15 minutes, where the issuer says nothing: large ones say from five minutes to a day.
const USUAL: Duration = Duration::from_secs(15 * 60);
const FIRST: Duration = Duration::from_secs(1);
/// 1 minute: an issuer that is up again is heard of soon.
const LAST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(fields: &[(&'static str, &str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        of(&headers).map(|time| time.as_secs())
    }

    #[test]
    fn freshness_is_what_cache_control_says_of_it() {
        let control = |value| said(&[("cache-control", value)]);

        assert_eq!(control("public, max-age=300, must-revalidate"), Some(300));
        assert_eq!((control("Max-Age = \"60\""), control("no-store")), (Some(60), Some(0)));
        assert_eq!((control("public"), said(&[])), (None, None));
        assert_eq!(
            (control("max-age=-1"), control("max-age=1e9"), control("max-age")),
            (None, None, None)
        );
        assert_eq!(control("max-age=soon, max-age=5"), Some(5));
        assert_eq!(said(&[("cache-control", "public"), ("cache-control", "max-age=5")]), Some(5));
        assert_eq!(said(&[("cache-control", "max-age=300"), ("age", "100")]), Some(200));
        assert_eq!(said(&[("cache-control", "max-age=300"), ("age", "900")]), Some(0));
        assert_eq!(said(&[("cache-control", "max-age=300"), ("age", "old")]), Some(300));
    }

    #[test]
    fn what_forbids_to_keep_an_answer_holds_before_and_after_a_max_age() {
        for no in ["no-store", "No-Cache"] {
            for control in [
                format!("{no}, max-age=300"),
                format!("max-age=300, {no}"),
                format!("max-age=300,public , {no}"),
            ] {
                assert_eq!(said(&[("cache-control", &control)]), Some(0), "{control}");
            }
            let apart = [("cache-control", "max-age=300"), ("cache-control", no)];
            assert_eq!(said(&apart), Some(0), "{no} in a field of its own");
        }
        assert_eq!(said(&[("cache-control", "max-age=300, no-stores")]), Some(300));
    }

    fn spec(min_refresh: u64, max_refresh: u64) -> FetchSpec {
        let seconds = Duration::from_secs;
        FetchSpec {
            host: "issuer".into(),
            port: 443,
            authority: "issuer".into(),
            path: "/".into(),
            tls: None,
            timeout: seconds(5),
            min_refresh: seconds(min_refresh),
            max_refresh: seconds(max_refresh),
            stale: seconds(max_refresh),
        }
    }

    proptest! {
        #[test]
        fn whatever_the_issuer_says_it_is_asked_between_the_bounds(
            fresh in proptest::option::of(any::<u64>()), least in 1_u64..600_000,
            more in 0_u64..600_000, random in 0.0..1.0_f64,
        ) {
            let spec = spec(least, least + more);

            let next = until_next(&spec, fresh.map(Duration::from_secs), random);

            prop_assert!(next >= spec.min_refresh.mul_f64(0.89) && next <= spec.max_refresh);
        }

        #[test]
        fn it_is_tried_again_within_a_minute_however_often_it_failed(
            failures in any::<u32>(), random in 0.0..1.0_f64,
        ) {
            let next = until_retry(failures, random);

            prop_assert!(next >= Duration::from_millis(500) && next <= LAST);
        }
    }
}
