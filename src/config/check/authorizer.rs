//! Services that are asked whether a request may go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, EXPECT, HOST};
use http::uri::PathAndQuery;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Authorizer, Authorizers};
use crate::config::spec::{AskedPart, AuthorizerSpec, NameFrom, OnError};
use crate::config::text::Written;
use crate::model::fields::{OWN, look_alike};
use crate::model::ids::PoolId;

use super::access::is_taken;
use super::head::OWNED;
use super::{above_zero, undefined};

/// What services are checked beside.
pub(super) struct Beside<'b> {
    /// How requests name their tenant, and how endpoints hear of it.
    pub(super) naming: &'b [NameFrom],
    /// Headers that tell endpoints who a client is, without those that services tell.
    pub(super) told: Vec<HeaderName>,
    /// The header of API keys.
    pub(super) key_header: &'b HeaderName,
    /// Every pool that is defined.
    pub(super) pools: &'b BTreeSet<Arc<str>>,
}

/// Checks all of them; `key` is that of their table.
pub(super) fn check(
    raw: Option<Authorizers>,
    beside: &Beside<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<Arc<AuthorizerSpec>> {
    let raw = raw.map(|raw| raw.0).unwrap_or_default();
    let tell = raw.iter().flat_map(|(_, raw)| raw.value.tell.iter().flatten());
    let tell = tell.map(|name| name.value.0.clone());
    let told: Vec<HeaderName> = tell.chain(beside.told.iter().cloned()).collect();
    let mut authorizers = Vec::new();
    for (At { value: name, .. }, raw) in raw {
        let one = one((&name, raw), (beside, &told), &key.name(&name), faults);
        authorizers.extend(one.map(Arc::new));
    }
    authorizers
}

fn one(
    (name, At { value: raw, start }): (&str, At<Authorizer>),
    (beside, told): (&Beside<'_>, &[HeaderName]),
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
    let cache_key = raw.cache_key.map(|At { value: parts, start }| {
        let key = key.name("cache-key");
        let parts = once(parts, &key, faults, |_| None);
        if cache.is_none_or(|time| time.is_zero()) && !faults.touches(&key) {
            let hint = "write cache = \"30s\" beside it, or take it out".to_owned();
            faults.add(&key, start, "says nothing where no answer is used again", Some(hint));
        }
        parts
    });
    let headers = once(raw.headers.unwrap_or_default(), &key.name("headers"), faults, |name| {
        why_not_shown(name, beside, told)
    });
    let tell = once(raw.tell.unwrap_or_default(), &key.name("tell"), faults, |name| {
        let mut own = beside.told.iter().chain([beside.key_header]);
        let is_own = own.any(|own| look_alike(own.as_str(), name.as_str()));
        let is_taken = is_own || is_taken(name, beside.naming);
        is_taken.then_some("take a header that nothing else uses, as in \"X-User\"")
    });
    let Some(At { value: pool, start }) = raw.pool else {
        let hint = "write pool = \"…\", and define it as any other";
        faults.add_missing(key, start, "does not say which pool is asked", hint);
        return None;
    };
    if !beside.pools.contains(&*pool) {
        let key = key.name("pool");
        faults.add_undefined(&key, start, || undefined("pool", &pool, beside.pools.iter()));
    }
    Some(AuthorizerSpec {
        name: name.into(),
        pool: PoolId(pool.into()),
        path: raw.path.map_or(PathAndQuery::from_static("/"), |path| path.0),
        host: raw.host.map(|host| host.0.0),
        timeout: timeout.unwrap_or(Duration::from_millis(500)),
        cache: cache.unwrap_or(Duration::ZERO),
        cache_key: cache_key.unwrap_or_else(|| AskedPart::ALL.to_vec()),
        on_error: raw.on_error.map_or(OnError::Deny, |what| what.0),
        headers,
        tell,
        subject: raw.subject.map(|name| name.0),
        tenant: raw.tenant.map(|name| name.0),
    })
}

/// Why a service cannot be told this header of a request: what the gateway says must not be a client's word, nor look
/// like one.
fn why_not_shown(
    name: &HeaderName,
    beside: &Beside<'_>,
    told: &[HeaderName],
) -> Option<&'static str> {
    let naming = beside.naming.iter().filter_map(|way| match way {
        NameFrom::Header(name) => Some(name),
        _ => None,
    });
    let parts = AskedPart::ALL.map(AskedPart::field);
    let own = [HOST, AUTHORIZATION, EXPECT];
    let is_own = naming
        .chain(&OWN)
        .chain(&OWNED)
        .chain(&parts)
        .chain(&own)
        .chain(told)
        .any(|own| look_alike(own.as_str(), name.as_str()));
    is_own.then_some("take it out: the gateway says it itself, where it is to be said")
}

/// A list in which nothing is twice; `taken` says why something cannot be in it.
fn once<T: PartialEq>(
    raw: Vec<At<Written<T>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
    taken: impl Fn(&T) -> Option<&'static str>,
) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for (place, At { value: Written(one), start }) in raw.into_iter().enumerate() {
        let key = key.index(place);
        if all.contains(&one) {
            faults.add(&key, start, "is there twice", Some("keep one".to_owned()));
        } else if let Some(hint) = taken(&one) {
            faults.add(&key, start, "has a meaning of its own", Some(hint.to_owned()));
        }
        all.push(one);
    }
    all
}

/// 1 h: whoever is locked out is so within that.
const LONGEST: Duration = Duration::from_secs(3600);
