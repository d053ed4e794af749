//! Mirroring of a route.

use std::time::Duration;

use crate::base::units::{ByteSize, Percent};
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Mirror, Route};
use crate::config::spec::{ActionSpec, MirrorSpec};

use super::{Scope, above_zero};

/// Checks the key `mirror` of a route that does this.
pub(super) fn check(
    raw: Option<At<Mirror>>,
    action: &ActionSpec,
    scope: &Scope<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<MirrorSpec>> {
    let At { value: raw, start } = raw?;
    if matches!(action, ActionSpec::Redirect(_) | ActionSpec::Respond(_)) {
        let hint = "take it out: the gateway answers by itself here";
        faults.add(key, start, "is never used", Some(hint.to_owned()));
    }
    let timeout = above_zero(raw.timeout, &key.name("timeout"), faults);
    let max_body = raw.max_body.map(|At { value, start }| {
        if value.0 > LARGEST_BODY {
            let hint = "write a size up to \"1MiB\": copies are kept in memory".to_owned();
            faults.add(&key.name("max-body"), start, "is too large", Some(hint));
        }
        value.0
    });
    let Some(At { value: name, start }) = raw.pool else {
        faults.add_missing(key, start, "names no pool", "write mirror = { pool = \"shadow\" }");
        return None;
    };
    let pool_key = key.name("pool");
    let pool = scope.pool(&name, start, &pool_key, faults);
    let is_own = match action {
        ActionSpec::Pool(own) => *own == pool,
        ActionSpec::Split(split) => split.pools.iter().any(|(own, _)| *own == pool),
        ActionSpec::TenantPool | ActionSpec::Redirect(_) | ActionSpec::Respond(_) => false,
    };
    if is_own {
        tell_twice(key, start, faults);
    }
    Some(Box::new(MirrorSpec {
        pool,
        share: raw.share.map_or(Percent::new(100.0), |share| share.0),
        compare: raw.compare.unwrap_or(false),
        concurrency: raw.concurrency.map_or(64, |concurrency| concurrency.small()),
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
        max_body: max_body.unwrap_or(ByteSize(64 << 10)),
    }))
}

/// Where the pool is named that a route is mirrored to.
pub(super) fn named_at(route: &Route) -> Option<usize> {
    Some(route.mirror.as_ref()?.value.pool.as_ref()?.start)
}

/// Tells that a pool, which is named here, would get requests twice. `key` is that of the mirror. Where a tenant
/// or its plan says which one the requests go to, who checks the tenant finds it out.
pub(super) fn tell_twice(key: &Key<'_>, start: usize, faults: &mut Faults<'_>) {
    let what = "is a pool that the requests themselves go to, which would get them twice";
    faults.add(&key.name("pool"), start, what, Some("name another pool".to_owned()));
}

const LARGEST_BODY: ByteSize = ByteSize(1 << 20);
