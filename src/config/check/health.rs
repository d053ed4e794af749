//! Active checks of a pool.

use std::path::Path;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method};

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Grpc, Health, Pairs, UpstreamTls, Whole};
use crate::config::spec::{
    CheckTlsSpec, HealthSpec, HttpProbeSpec, ProbeSpec, Protocol, SourceSpec, UpstreamTlsSpec,
};
use crate::config::text::Written;

use super::head::OWNED;
use super::{above_zero, pool, pool_tls};

/// The pool that is checked.
pub(super) struct Checked<'a> {
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// Its TLS, with the name that was found.
    pub(super) tls: Option<&'a UpstreamTlsSpec>,
    /// Where its endpoints come from.
    pub(super) sources: &'a [SourceSpec],
    /// The folder of the file, which relative paths start at.
    pub(super) folder: Option<&'a Path>,
}

impl Checked<'_> {
    /// Checks the key `health` of the pool.
    pub(super) fn check(
        &self,
        raw: At<Health>,
        key: &Key<'_>,
        faults: &mut Faults<'_>,
    ) -> HealthSpec {
        let At { value: mut raw, start } = raw;
        let probe = self.probe(&mut raw, (key, start), faults);
        let port = raw.port.and_then(|port| self.port(port, &key.name("port"), faults));
        let tls = self.tls(raw.tls, (&probe, start), &key.name("tls"), faults);
        let interval = above_zero(raw.interval, &key.name("interval"), faults);
        let interval = interval.unwrap_or(Duration::from_secs(5));
        let mut within = |written: Option<At<Written<Duration>>>, key: &Key<'_>| {
            let start = written.as_ref().map_or(start, |written| written.start);
            let time = above_zero(written, key, faults)?;
            if time > interval {
                let hint = "make it no longer than the interval, which is 5s where none is written";
                faults.add(key, start, "is longer than the interval", Some(hint.to_owned()));
            }
            Some(time)
        };
        let timeout = within(raw.timeout, &key.name("timeout"));
        let fast = within(raw.fast_interval, &key.name("fast-interval"));
        HealthSpec {
            probe,
            port,
            tls,
            interval,
            fast_interval: fast.unwrap_or_else(|| (interval / 10).max(FASTEST).min(interval)),
            timeout: timeout.unwrap_or_else(|| Duration::from_secs(1).min(interval)),
            rise: raw.rise.map_or(2, |rise| rise.small()),
            fall: raw.fall.map_or(3, |fall| fall.small()),
        }
    }

    fn probe(
        &self,
        raw: &mut Health,
        (key, start): (&Key<'_>, usize),
        faults: &mut Faults<'_>,
    ) -> ProbeSpec {
        let grpc = raw.grpc.take().filter(|grpc| *grpc != Grpc::No);
        let ways = [
            ("http", raw.http.is_some()),
            ("grpc", grpc.is_some()),
            ("tcp", raw.tcp == Some(true)),
        ];
        let ways = names(&ways);
        if ways.len() > 1 {
            let what = format!("asks by {}", ways.join(" and by "));
            faults.add(key, start, what, Some(PROBES.to_owned()));
            return ProbeSpec::Tcp;
        }
        if !ways.is_empty() {
            tell_misplaced(raw, grpc.is_some(), (key, start), faults);
        }
        let host = raw.host.take().map(|host| host.0.0);
        let headers = headers(raw.headers.take(), grpc.is_some(), &key.name("headers"), faults);
        if let Some(path) = raw.http.take() {
            let status = raw.status.take().map_or_else(
                || vec![(200, 399)],
                |ranges| ranges.0.into_iter().map(|range| range.0).collect(),
            );
            let method = method(raw, &key.name("method"), faults);
            return ProbeSpec::Http(HttpProbeSpec {
                method,
                path: path.0.0,
                host,
                headers,
                status,
                body: raw.body.take(),
                protocol: raw.protocol.take().map_or(self.protocol, |protocol| protocol.0),
            });
        }
        if let Some(Grpc::Service(service)) = grpc {
            return ProbeSpec::Grpc { service, host, headers };
        }
        if ways.is_empty() {
            faults.add_missing(key, start, "does not say how an endpoint is asked", PROBES);
        }
        ProbeSpec::Tcp
    }

    fn port(
        &self,
        raw: At<Whole<1, 65_535>>,
        key: &Key<'_>,
        faults: &mut Faults<'_>,
    ) -> Option<u16> {
        if pool::have_unix(self.sources) {
            let what = "a Unix socket has no port, and an endpoint of the pool is one";
            let hint = "take port out: the socket itself is asked then; or make a pool of those with \
                        addresses";
            faults.add(key, raw.start, what, Some(hint.to_owned()));
        }
        u16::try_from(raw.value.0).ok()
    }

    fn tls(
        &self,
        raw: Option<At<UpstreamTls>>,
        (probe, start): (&ProbeSpec, usize),
        key: &Key<'_>,
        faults: &mut Faults<'_>,
    ) -> CheckTlsSpec {
        let pools = if self.tls.is_some() { CheckTlsSpec::Pools } else { CheckTlsSpec::None };
        let Some(At { value: raw, .. }) = raw else {
            return if *probe == ProbeSpec::Tcp { CheckTlsSpec::None } else { pools };
        };
        if raw.on && raw.says_nothing() && self.tls.is_some() {
            return CheckTlsSpec::Pools;
        }
        let Some(mut own) = pool_tls::check(Some(raw), self.folder, key, faults) else {
            return CheckTlsSpec::None;
        };
        match self.tls {
            // The endpoints are the same, and so are their names.
            Some(pools) if own.server_name.is_none() => own.server_name = pools.server_name.clone(),
            _ => pool::name(&mut own, self.sources, (key, start), faults),
        }
        CheckTlsSpec::Own(Box::new(own))
    }
}

/// Tells keys that belong to another way of asking than the one that is written.
fn tell_misplaced(
    raw: &Health,
    by_grpc: bool,
    (key, start): (&Key<'_>, usize),
    faults: &mut Faults<'_>,
) {
    let of_both = names(&[("host", raw.host.is_some()), ("headers", raw.headers.is_some())]);
    let of_http = names(&[
        ("method", raw.method.is_some()),
        ("status", raw.status.is_some()),
        ("body", raw.body.is_some()),
        ("protocol", raw.protocol.is_some()),
    ]);
    let whose = if of_http.is_empty() { "http or grpc" } else { "http" };
    let misplaced = match (raw.http.is_some(), by_grpc) {
        (true, _) => Vec::new(),
        (false, true) => of_http,
        (false, false) => [of_both, of_http].concat(),
    };
    if !misplaced.is_empty() {
        let verb = if misplaced.len() == 1 { "belongs" } else { "belong" };
        let what = format!("{} {verb} to a check by {whose}", misplaced.join(", "));
        let hint = "take it out, or write http = \"/healthz\"".to_owned();
        faults.add(key, start, what, Some(hint));
    }
}

/// The names of what is there.
fn names(of: &[(&'static str, bool)]) -> Vec<&'static str> {
    of.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect()
}

fn method(raw: &mut Health, key: &Key<'_>, faults: &mut Faults<'_>) -> Method {
    let Some(At { value: Written(method), start }) = raw.method.take() else { return Method::GET };
    if matches!(method, Method::CONNECT | Method::TRACE) {
        let what = format!("{method} asks for no page");
        faults.add(key, start, what, Some("write \"GET\", \"HEAD\" or \"OPTIONS\"".to_owned()));
    }
    if method == Method::HEAD && raw.body.is_some() {
        let what = "an answer to HEAD has no body that could contain a text";
        faults.add(key, start, what, Some("write \"GET\", or take body out".to_owned()));
    }
    method
}

fn headers(
    raw: Option<Pairs<HeaderName, Written<HeaderValue>>>,
    by_grpc: bool,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (At { value: name, start }, value) in raw.map(|raw| raw.0).unwrap_or_default() {
        let hint = match name == HOST {
            true => Some("write health = { host = \"…\" }"),
            false => {
                let is_owned = OWNED.contains(&name) || (by_grpc && name == CONTENT_TYPE);
                is_owned.then_some("take it out: each check writes it itself")
            }
        };
        if let Some(hint) = hint {
            let what = format!("the header {name} belongs to the gateway");
            faults.add(&key.name(name.as_str()), start, what, Some(hint.to_owned()));
        }
        if headers.iter().any(|(before, _)| *before == name) {
            let what = format!("the header {name} is there twice");
            let hint = "keep one: the case of a name makes no difference".to_owned();
            faults.add(&key.name(name.as_str()), start, what, Some(hint));
        }
        let mut value = value.0;
        value.set_sensitive(true); // it may be a credential: no debug output tells it
        headers.push((name, value));
    }
    headers
}

/// 100 ms: whoever has not recovered by then is asked again soon enough.
const FASTEST: Duration = Duration::from_millis(100);

const PROBES: &str = "write http = \"/healthz\", grpc = true or tcp = true";
