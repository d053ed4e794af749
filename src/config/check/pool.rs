//! Pools: sources, checks, connections.

use std::path::Path;

use rustls::pki_types::ServerName;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::nearest::nearest;
use crate::config::raw::{At, Connections, Pool};
use crate::config::spec::{
    ConnectionsSpec, EndpointSpec, MostKept, NamingSpec, PoolSpec, Protocol, SourceSpec,
    UpstreamTlsSpec,
};
use crate::config::text::Written;
use crate::model::address::Address;

use super::head::{self, Whose};
use super::health::Checked;
use super::{
    Known, above_zero, affinity, beside, breaker, outliers, pool_tls, rules, sharing, spread,
    waiting,
};

/// What a pool is checked with.
pub(super) struct Scope<'a> {
    /// Names that other folders define.
    pub(super) known: &'a Known<'a>,
    /// The fields that name tenants.
    pub(super) naming: &'a NamingSpec,
    /// The folder of the file, which relative paths start at.
    pub(super) folder: Option<&'a Path>,
    /// What can be kept of a body, where that is known.
    pub(super) most_kept: Option<MostKept>,
    /// First byte of the pool's name.
    pub(super) at: usize,
}

/// Checks one pool.
pub(super) fn check(
    mut raw: Pool,
    scope: &Scope<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> PoolSpec {
    let usual = PoolSpec::default();
    let sources = sources(&mut raw, scope, key, faults);
    if sources.is_empty() {
        let hint =
            "write endpoints = [\"10.0.0.1:8080\"], dns = \"app.internal:8080\", srv or file";
        faults.add_missing(key, scope.at, "nothing tells where its endpoints are", hint);
    }
    let balance = balance((raw.balance, usual.balance), scope.known, &key.name("balance"), faults);
    let hash = affinity::hash(raw.hash, (&balance, scope.at, scope.known), key, faults);
    let sticky =
        raw.sticky.and_then(|raw| affinity::sticky(raw, scope.folder, &key.name("sticky"), faults));
    let tls_key = key.name("tls");
    let mut tls = pool_tls::check(raw.tls, scope.folder, &tls_key, faults);
    tls.iter_mut().for_each(|tls| name(tls, &sources, (&tls_key, scope.at), faults));
    let protocol = raw.protocol.map_or(usual.protocol, |protocol| protocol.0);
    let proxy_protocol = raw.proxy_protocol.map(|At { value: version, start }| {
        if protocol == Protocol::H2 {
            let what = "cannot be used with protocol = \"h2\", where clients share connections";
            let hint = "write protocol = \"h1\", or leave proxy-protocol out".to_owned();
            faults.add(&key.name("proxy-protocol"), start, what, Some(hint));
        }
        version.0
    });
    let deadline_header = raw.deadline_header.map(|At { value: Written(name), start }| {
        let whose = Whose::Request(scope.naming);
        head::refuse(&name, start, whose, &key.name("deadline-header"), faults);
        name
    });
    let words = spread::Words {
        slow_start: raw.slow_start,
        overprovisioning: raw.overprovisioning,
        zones: raw.zones,
        shard: raw.shard,
        balance: &balance,
        keyed: scope.known.keyed,
    };
    let per_tenant = raw.connections.as_ref().and_then(|connections| connections.per_tenant);
    let checked = Checked { protocol, tls: tls.as_ref(), sources: &sources, folder: scope.folder };
    let health = raw.health.map(|health| checked.check(health, &key.name("health"), faults));
    PoolSpec {
        spread: spread::check(words, key, faults),
        sources,
        balance,
        hash,
        sticky,
        protocol,
        tls,
        proxy_protocol,
        health,
        eject: outliers::eject(raw.eject, &key.name("eject"), faults),
        breaker: raw.breaker.map(|raw| breaker::breaker(raw, &key.name("breaker"), faults)),
        panic_below: raw.panic_below.map_or(usual.panic_below, |share| share.0),
        wait: raw.wait.map(|raw| waiting::wait(raw, &key.name("wait"), faults)),
        connections: connections(raw.connections, &key.name("connections"), faults),
        per_tenant: per_tenant.unwrap_or(usual.per_tenant),
        timeouts: rules::timeouts(raw.timeouts, &key.name("timeouts"), faults),
        deadline_header,
        retry: rules::retry(raw.retry, scope.most_kept, &key.name("retry"), faults),
        ..sharing::concurrency(raw.concurrency, raw.queue, key, faults)
    }
}

fn sources(
    raw: &mut Pool,
    scope: &Scope<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<SourceSpec> {
    let mut sources = Vec::new();
    if let Some(endpoints) = raw.endpoints.take() {
        let alone = raw.dns.is_none() && raw.srv.is_none() && raw.file.is_none();
        let fixed = spread::endpoints(endpoints, alone, &key.name("endpoints"), faults);
        if !fixed.is_empty() {
            sources.push(SourceSpec::Fixed(fixed));
        }
    }
    for name in raw.dns.take().map(|dns| dns.0).unwrap_or_default() {
        sources.push(SourceSpec::Dns { name: name.0.name, port: name.0.port });
    }
    for name in raw.srv.take().map(|srv| srv.0).unwrap_or_default() {
        sources.push(SourceSpec::Srv { name: name.0.0 });
    }
    for file in raw.file.take().map(|file| file.0).unwrap_or_default() {
        sources.push(SourceSpec::File(beside(scope.folder, file.0.0)));
    }
    sources
}

fn balance(
    (raw, usual): (Option<At<String>>, String),
    known: &Known<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> String {
    let Some(At { value: name, start }) = raw else { return usual };
    if !known.balancers.contains(&name.as_str()) {
        let hint = match nearest(&name, known.balancers.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", known.balancers.join(", ")),
        };
        faults.add(key, start, format!("there is no balancer {name:?}"), Some(hint));
    }
    name
}

/// Finds the name that certificates must carry, where none is written.
pub(super) fn name(
    tls: &mut UpstreamTlsSpec,
    sources: &[SourceSpec],
    (key, at): (&Key<'_>, usize),
    faults: &mut Faults<'_>,
) {
    const HINT: &str = "write tls = { server-name = \"app.internal\" }";
    if tls.server_name.is_some() {
        return;
    }
    match found_by(sources) {
        Ok(None) if have_unix(sources) => {
            let what = "a Unix socket has no name or address that its certificate could carry";
            faults.add_missing(key, at, what, HINT);
        }
        Ok(name) => tls.server_name = name,
        Err(Mixed) => {
            let what = "the endpoints are found in several ways, so that no one name is theirs";
            faults.add_missing(key, at, what, HINT);
        }
    }
}

/// Endpoints that no one name stands for.
struct Mixed;

/// The DNS name that all endpoints are found by, which their certificates must carry; `None` where
/// they are listed by address. For SRV records it is the domain (RFC 6125 §6.2.1), not the target
/// that an answer names: an answer is not to be trusted with whom to trust.
fn found_by(sources: &[SourceSpec]) -> Result<Option<ServerName<'static>>, Mixed> {
    let name = |source: &SourceSpec| match source {
        SourceSpec::Dns { name, .. } => Some(name.clone()),
        SourceSpec::Srv { name } => {
            let labels = name.split('.').skip_while(|label| label.starts_with('_'));
            Some(labels.collect::<Vec<_>>().join("."))
        }
        SourceSpec::Fixed(_) | SourceSpec::File(_) => None,
    };
    let mut names = sources.iter().map(name);
    let first = names.next().flatten();
    if names.any(|name| name != first) {
        return Err(Mixed);
    }
    let name = first.map(|name| name.trim_end_matches('.').to_owned());
    name.map(|name| ServerName::try_from(name).map_err(|_| Mixed)).transpose()
}

/// Whether an endpoint that is written is a Unix socket.
pub(super) fn have_unix(sources: &[SourceSpec]) -> bool {
    let is_unix = |one: &EndpointSpec| matches!(one.address, Address::Unix(_));
    sources.iter().any(|source| match source {
        SourceSpec::Fixed(endpoints) => endpoints.iter().any(is_unix),
        _ => false,
    })
}

fn connections(
    raw: Option<Connections>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> ConnectionsSpec {
    let (raw, usual) = (raw.unwrap_or_default(), ConnectionsSpec::USUAL);
    let idle_timeout = above_zero(raw.idle_timeout, &key.name("idle-timeout"), faults);
    let max_age = above_zero(raw.max_age, &key.name("max-age"), faults);
    ConnectionsSpec {
        idle: raw.idle.map_or(usual.idle, |idle| idle.size()),
        idle_timeout: idle_timeout.unwrap_or(usual.idle_timeout),
        max_age: max_age.unwrap_or(usual.max_age),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> SourceSpec {
        SourceSpec::Dns { name: name.into(), port: 443 }
    }

    #[test]
    fn endpoints_found_by_one_name_must_carry_it() {
        let name = |sources: &[SourceSpec]| found_by(sources).ok().flatten();
        let expected = ServerName::try_from("app.internal").ok();
        assert_eq!(name(&[dns("app.internal.")]), expected);
        assert_eq!(name(&[SourceSpec::Srv { name: "_https._tcp.app.internal".into() }]), expected);
        assert_eq!(name(&[SourceSpec::Fixed(Vec::new())]), None);
    }

    #[test]
    fn endpoints_found_in_several_ways_need_a_name_that_is_written() {
        assert!(found_by(&[dns("a.internal"), dns("b.internal")]).is_err());
        assert!(found_by(&[SourceSpec::Fixed(Vec::new()), dns("a.internal")]).is_err());
    }
}
