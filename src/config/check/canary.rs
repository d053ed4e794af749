//! The canary of a split.

use std::time::Duration;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Canary, Rollback};
use crate::config::spec::{CanarySpec, RollbackSpec};
use crate::model::ids::{PoolId, TenantId};

use super::{above_zero, route};

/// Checks the key `canary` of a split over these pools.
pub(super) fn check(
    raw: Option<At<Canary>>,
    pools: &[(PoolId, u32)],
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<CanarySpec>> {
    let At { value: raw, start } = raw?;
    let headers = route::headers(raw.headers, &key.name("headers"), faults);
    let tenants = tenants(raw.tenants.unwrap_or_default(), &key.name("tenants"), faults);
    let rollback = raw.rollback.map(|raw| rollback(raw, &key.name("rollback"), faults));
    let Some(At { value: name, start }) = raw.pool else {
        faults.add_missing(key, start, "names no pool", "write canary = { pool = \"canary\" }");
        return None;
    };
    let key = key.name("pool");
    let own = pools.iter().map(|(id, _)| id).find(|id| *id.0 == *name);
    if own.is_none() && !pools.is_empty() {
        let names: Vec<String> = pools.iter().map(|(id, _)| format!("{:?}", id.0)).collect();
        let hint = format!("write one of {}", names.join(", "));
        faults.add(&key, start, format!("the split has no pool {name:?}"), Some(hint));
    } else if pools.len() == 1 {
        let hint = "name the other pool in the split, as in pools = { stable = 95, canary = 5 }";
        faults.add(&key, start, "is the only pool of the split", Some(hint.to_owned()));
    }
    let pool = own.cloned().unwrap_or_else(|| PoolId(name.into()));
    Some(Box::new(CanarySpec { pool, headers, tenants, rollback }))
}

/// Ids of tenants, in order and each once. One may be there before its tenant is.
fn tenants(raw: Vec<At<String>>, key: &Key<'_>, faults: &mut Faults<'_>) -> Vec<TenantId> {
    let mut tenants = Vec::with_capacity(raw.len());
    for (index, At { value: id, start }) in raw.into_iter().enumerate() {
        match TenantId::new(&id) {
            Ok(id) => tenants.push(id),
            Err(error) => {
                let hint = "an id is 1 to 128 of letters, digits, '.', '_' and '-'".to_owned();
                faults.add(&key.index(index), start, format!("the id {error}"), Some(hint));
            }
        }
    }
    tenants.sort_unstable();
    tenants.dedup();
    tenants
}

fn rollback(raw: At<Rollback>, key: &Key<'_>, faults: &mut Faults<'_>) -> RollbackSpec {
    let At { value: raw, start } = raw;
    let spec = RollbackSpec {
        errors: raw.errors.map(|share| share.0),
        errors_factor: raw.errors_factor.map(|factor| factor.small()),
        latency: above_zero(raw.latency, &key.name("latency"), faults),
        latency_factor: raw.latency_factor.map(|factor| factor.small()),
        percentile: raw
            .percentile
            .and_then(|percentile| u8::try_from(percentile.0).ok())
            .unwrap_or(PERCENTILE),
        requests: raw.requests.map_or(REQUESTS, |requests| requests.0),
        window: raw.window.map_or(WINDOW, |At { value: window, start }| {
            if window.0 < SHORTEST {
                let hint = "write a duration from 1s on, as in \"1m\"".to_owned();
                faults.add(&key.name("window"), start, "is too short", Some(hint));
            }
            window.0
        }),
    };
    let RollbackSpec { errors, errors_factor, latency, latency_factor, .. } = spec;
    let has_rule = errors.is_some()
        || errors_factor.is_some()
        || latency.is_some()
        || latency_factor.is_some();
    if !has_rule && !faults.touches(key) {
        let hint = "write errors = \"5%\", or errors-factor, latency or latency-factor";
        faults.add_missing(key, start, "has no rule", hint);
    }
    spec
}

/// As most speak of.
const PERCENTILE: u8 = 95;
/// 100: of fewer, one that failed is more than a per cent.
const REQUESTS: u64 = 100;
/// 1 min: a canary of few requests comes to a hundred, and a bad one has not hurt for long.
const WINDOW: Duration = Duration::from_secs(60);
/// 1 s: it is looked at once a second.
const SHORTEST: Duration = Duration::from_secs(1);
