//! Services that are asked whether a request may go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Authorizer, Authorizers};
use crate::config::spec::{AuthorizerSpec, NameFrom, OnError};
use crate::config::text::Written;
use crate::model::fields::OWN;
use crate::model::ids::PoolId;

use super::access::is_taken;
use super::head::OWNED;
use super::{above_zero, undefined};

/// Checks all of them; `key` is that of their table, `pools` are all that are defined.
pub(super) fn check(
    raw: Option<Authorizers>,
    naming: &[NameFrom],
    pools: &BTreeSet<Arc<str>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<Arc<AuthorizerSpec>> {
    let mut authorizers = Vec::new();
    for (At { value: name, .. }, raw) in raw.map(|raw| raw.0).unwrap_or_default() {
        let one = one((&name, raw), naming, pools, &key.name(&name), faults);
        authorizers.extend(one.map(Arc::new));
    }
    authorizers
}

fn one(
    (name, At { value: raw, start }): (&str, At<Authorizer>),
    naming: &[NameFrom],
    pools: &BTreeSet<Arc<str>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<AuthorizerSpec> {
    let timeout = above_zero(raw.timeout, &key.name("timeout"), faults);
    let cache = raw.cache.map(|At { value: Written(time), start }| {
        if time > LONGEST {
            let hint = "write a duration up to 1h, as in \"30s\"".to_owned();
            faults.add(&key.name("cache"), start, "is longer than an hour", Some(hint));
        }
        time
    });
    let headers = names(raw.headers, &key.name("headers"), faults, |name| {
        let is_own = OWN.contains(name) || OWNED.contains(name);
        (is_own || [HOST, AUTHORIZATION, CONTENT_LENGTH].contains(name)).then_some(OF_THE_GATEWAY)
    });
    let tell = names(raw.tell, &key.name("tell"), faults, |name| {
        is_taken(name, naming).then_some("take a header that nothing else uses, as in \"X-User\"")
    });
    let Some(At { value: pool, start }) = raw.pool else {
        let hint = "write pool = \"…\", and define it as any other";
        faults.add_missing(key, start, "does not say which pool is asked", hint);
        return None;
    };
    if !pools.contains(&*pool) {
        let key = key.name("pool");
        faults.add_undefined(&key, start, || undefined("pool", &pool, pools.iter()));
    }
    Some(AuthorizerSpec {
        name: name.into(),
        pool: PoolId(pool.into()),
        path: raw.path.map_or(PathAndQuery::from_static("/"), |path| path.0),
        timeout: timeout.unwrap_or(Duration::from_millis(500)),
        cache: cache.unwrap_or(Duration::ZERO),
        on_error: raw.on_error.map_or(OnError::Deny, |what| what.0),
        headers,
        tell,
        subject: raw.subject.map(|name| name.0),
        tenant: raw.tenant.map(|name| name.0),
    })
}

/// Names of fields; `taken` says why one cannot be among them.
fn names(
    raw: Option<Vec<At<Written<HeaderName>>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
    taken: impl Fn(&HeaderName) -> Option<&'static str>,
) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = Vec::new();
    for (place, At { value: Written(name), start }) in raw.into_iter().flatten().enumerate() {
        let key = key.index(place);
        if names.contains(&name) {
            faults.add(&key, start, "is there twice", Some("keep one".to_owned()));
        } else if let Some(hint) = taken(&name) {
            let what = format!("the header {name} has a meaning of its own");
            faults.add(&key, start, what, Some(hint.to_owned()));
        }
        names.push(name);
    }
    names
}

const OF_THE_GATEWAY: &str = "take it out: the gateway says it itself";
/// 1 h: whoever is locked out is so within that.
const LONGEST: Duration = Duration::from_secs(3600);
