//! When the requests of a tenant to a pool are refused at once.

use std::time::Duration;

use crate::base::units::Percent;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Breaker};
use crate::config::spec::BreakerSpec;

use super::above_zero;

/// Checks a pool's breaker.
pub(super) fn breaker(raw: Breaker, key: &Key<'_>, faults: &mut Faults<'_>) -> BreakerSpec {
    let max_at = raw.max.as_ref().map_or(0, |max| max.start);
    let open = above_zero(raw.open, &key.name("open"), faults).unwrap_or(OPEN);
    let max = above_zero(raw.max, &key.name("max"), faults);
    if max.is_some_and(|max| !max.is_zero() && max < open) {
        let hint = "make max at least as long as open, which is 5s where none is written";
        faults.add(&key.name("max"), max_at, "is shorter than open", Some(hint.to_owned()));
    }
    let window = raw.window.map_or(WINDOW, |At { value: window, start }| {
        if window.0 < SHORTEST {
            let hint = "write a duration from 1s on, as in \"10s\"".to_owned();
            faults.add(&key.name("window"), start, "is too short", Some(hint));
        }
        window.0
    });
    BreakerSpec {
        failures: raw.failures.map_or(FAILURES, |share| share.0),
        requests: raw.requests.map_or(20, |requests| requests.small()),
        window,
        open,
        max: max.unwrap_or_else(|| MAX.max(open)),
        trials: raw.trials.map_or(3, |trials| trials.small()),
        whole_pool: raw.whole_pool.unwrap_or(false),
    }
}

/// 50 %: what fails now and then is for retries, and half is an outage.
const FAILURES: Percent = Percent::new(50.0);
/// 10 s, as endpoints are compared.
const WINDOW: Duration = Duration::from_secs(10);
/// 1 s: a shorter one would hold few requests of most tenants.
const SHORTEST: Duration = Duration::from_secs(1);
/// 5 s: a pause that most clients wait for.
const OPEN: Duration = Duration::from_secs(5);
/// 60 s: nobody wants to wait longer for a pool that is well again.
const MAX: Duration = Duration::from_secs(60);
