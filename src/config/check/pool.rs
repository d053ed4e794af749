//! Pools: sources, checks, connections.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::base::units::Percent;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::nearest::nearest;
use crate::config::raw::{At, Connections, Health, Pool};
use crate::config::spec::{
    ConnectionsSpec, EndpointSpec, HealthSpec, PoolSpec, ProbeSpec, Protocol, SourceSpec,
};
use crate::model::address::Address;

use super::{Known, above_zero, beside, breaker, outliers, pool_tls, rules, sharing, spread};

/// What a pool is checked with.
pub(super) struct Scope<'a> {
    /// Names that other folders define.
    pub(super) known: &'a Known<'a>,
    /// The folder of the file, which relative paths start at.
    pub(super) folder: Option<&'a Path>,
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
    let sources = sources(&mut raw, scope, key, faults);
    if sources.is_empty() {
        let hint =
            "write endpoints = [\"10.0.0.1:8080\"], dns = \"app.internal:8080\", srv or file";
        faults.add_missing(key, scope.at, "nothing tells where its endpoints are", hint);
    }
    let balance = balance(raw.balance, scope.known, &key.name("balance"), faults);
    let tls_key = key.name("tls");
    let mut tls = pool_tls::check(raw.tls, scope.folder, &tls_key, faults);
    if let Some(tls) = tls.as_mut().filter(|tls| tls.server_name.is_none()) {
        match found_by(&sources) {
            Ok(None) if have_unix(&sources) => faults.add_missing(
                &tls_key,
                scope.at,
                "a Unix socket has no name or address that its certificate could carry",
                "write tls = { server-name = \"app.internal\" }",
            ),
            Ok(name) => tls.server_name = name,
            Err(Mixed) => faults.add_missing(
                &tls_key,
                scope.at,
                "the endpoints are found in several ways, so that no one name is theirs",
                "write tls = { server-name = \"app.internal\" }",
            ),
        }
    }
    let protocol = raw.protocol.map_or(Protocol::H1, |protocol| protocol.0);
    let proxy_protocol = raw.proxy_protocol.map(|At { value: version, start }| {
        if protocol == Protocol::H2 {
            let what = "cannot be used with protocol = \"h2\", where clients share connections";
            let hint = "write protocol = \"h1\", or leave proxy-protocol out".to_owned();
            faults.add(&key.name("proxy-protocol"), start, what, Some(hint));
        }
        version.0
    });
    let words = spread::Words {
        slow_start: raw.slow_start,
        overprovisioning: raw.overprovisioning,
        zones: raw.zones,
        shard: raw.shard,
        balance: &balance,
    };
    let per_tenant = raw.connections.as_ref().and_then(|connections| connections.per_tenant);
    PoolSpec {
        spread: spread::check(words, key, faults),
        sources,
        balance,
        protocol,
        tls,
        proxy_protocol,
        health: raw.health.map(|health| self::health(health, &key.name("health"), faults)),
        eject: outliers::eject(raw.eject, &key.name("eject"), faults),
        breaker: raw.breaker.map(|raw| breaker::breaker(raw, &key.name("breaker"), faults)),
        panic_below: raw.panic_below.map_or(Percent::new(50.0), |share| share.0),
        connections: connections(raw.connections, &key.name("connections"), faults),
        per_tenant: per_tenant.unwrap_or(false),
        timeouts: rules::timeouts(raw.timeouts, &key.name("timeouts"), faults),
        retry: rules::retry(raw.retry, &key.name("retry"), faults),
        concurrency: sharing::concurrency(raw.concurrency, raw.queue, key, faults),
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
    raw: Option<At<String>>,
    known: &Known<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> String {
    let Some(At { value: name, start }) = raw else { return "least-request".to_owned() };
    if !known.balancers.contains(&name.as_str()) {
        let hint = match nearest(&name, known.balancers.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", known.balancers.join(", ")),
        };
        faults.add(key, start, format!("there is no balancer {name:?}"), Some(hint));
    }
    name
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
fn have_unix(sources: &[SourceSpec]) -> bool {
    let is_unix = |one: &EndpointSpec| matches!(one.address, Address::Unix(_));
    sources.iter().any(|source| match source {
        SourceSpec::Fixed(endpoints) => endpoints.iter().any(is_unix),
        _ => false,
    })
}

fn health(raw: At<Health>, key: &Key<'_>, faults: &mut Faults<'_>) -> HealthSpec {
    const PROBES: &str = "write http = \"/healthz\" or tcp = true";
    let At { value: raw, start } = raw;
    let only_http = raw.host.is_some() || raw.status.is_some() || raw.body.is_some();
    let status = raw.status.map_or_else(
        || vec![(200, 399)],
        |ranges| ranges.0.into_iter().map(|range| range.0).collect(),
    );
    let probe = match (raw.http, raw.tcp == Some(true)) {
        (Some(_), true) => {
            let what = "asks by http and by tcp";
            faults.add(key, start, what, Some(PROBES.to_owned()));
            ProbeSpec::Tcp
        }
        (Some(path), false) => {
            let host = raw.host.map(|host| host.0.0);
            ProbeSpec::Http { path: path.0.0, host, status, body: raw.body }
        }
        (None, true) => {
            if only_http {
                let what = "host, status and body belong to a check by http";
                faults.add(key, start, what, Some(PROBES.to_owned()));
            }
            ProbeSpec::Tcp
        }
        (None, false) => {
            faults.add_missing(key, start, "does not say how an endpoint is asked", PROBES);
            ProbeSpec::Tcp
        }
    };
    let timeout_at = raw.timeout.as_ref().map_or(start, |timeout| timeout.start);
    let interval = above_zero(raw.interval, &key.name("interval"), faults);
    let interval = interval.unwrap_or(Duration::from_secs(5));
    let timeout = above_zero(raw.timeout, &key.name("timeout"), faults);
    if timeout.is_some_and(|timeout| timeout > interval) {
        let hint = "make it no longer than the interval, which is 5s where none is written";
        let what = "is longer than the interval";
        faults.add(&key.name("timeout"), timeout_at, what, Some(hint.to_owned()));
    }
    HealthSpec {
        probe,
        interval,
        timeout: timeout.unwrap_or_else(|| Duration::from_secs(1).min(interval)),
        rise: raw.rise.map_or(2, |rise| rise.small()),
        fall: raw.fall.map_or(3, |fall| fall.small()),
    }
}

fn connections(
    raw: Option<Connections>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> ConnectionsSpec {
    let raw = raw.unwrap_or_default();
    let idle_timeout = above_zero(raw.idle_timeout, &key.name("idle-timeout"), faults);
    let max_age = above_zero(raw.max_age, &key.name("max-age"), faults);
    ConnectionsSpec {
        idle: raw.idle.map_or(256, |idle| idle.size()),
        idle_timeout: idle_timeout.unwrap_or(Duration::from_secs(30)),
        max_age: max_age.unwrap_or(Duration::from_secs(600)),
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
