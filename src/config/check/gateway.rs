//! The meaning of `gateway.toml`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::network::Peers;
use crate::base::units::{ByteSize, Rate};
use crate::config::faults::Faults;
use crate::config::files::Files;
use crate::config::key::Key;
use crate::config::problem::Problems;
use crate::config::raw::{
    Admin, At, Dns, Drain, Gateway, Listener, Log, Memory, ProxyProtocol, TrustedProxies,
};
use crate::config::spec::{
    AdminSpec, ChainField, DnsSpec, DrainSpec, FileMode, GatewaySpec, ListenerSpec, LogFormat,
    LogSpec, MemorySpec, MetricsSpec, NamedPath, RateSpec, TrustedProxiesSpec,
};
use crate::config::substitute::{Lookup, substitute};
use crate::config::text::{FilePath, StateFolder, Written};
use crate::config::tree::{parse, read};
use crate::model::address::{Address, overlap};

use super::downstream::downstream;
use super::{above_zero, access_log, beside, roles, tls};

/// Checks `gateway.toml`, the one file of `files`.
pub(in crate::config) fn check(files: &Files, lookup: Lookup<'_>) -> Result<GatewaySpec, Problems> {
    if files.are_blank() {
        // While it runs, listeners would close that somebody is about to write again.
        let what = "the file is empty, as while it is being written".to_owned();
        let hint = "write what differs from the defaults, or a comment to have them all";
        return Err(Problems::of_file(&files.root, what, hint));
    }
    let mut faults = Faults::new(&files.files);
    let key = Key::root(0);
    let text = files.files.nth(0).map_or("", |file| &*file.text);
    let raw = parse(text, 0, &mut faults).and_then(|mut node| {
        substitute(&mut node, &key, lookup, &mut faults);
        read::<Gateway>(node, &key, &mut faults)
    });
    let spec = meaning(raw.unwrap_or_default(), files.root.parent(), &key, &mut faults);
    match faults.is_empty() {
        true => Ok(spec),
        false => Err(faults.into_problems()),
    }
}

fn meaning(
    mut raw: Gateway,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> GatewaySpec {
    let mut taken = BTreeMap::new();
    let trusted = raw
        .trusted_proxies
        .and_then(|raw| trusted_proxies(raw, &key.name("trusted-proxies"), faults));
    let scope = Scope { folder, trusted };
    let listeners = listeners(raw.listeners, &scope, &mut taken, key, faults);
    // It tells of edits of files as well, where there is no API.
    let audit_log = raw.admin.as_mut().and_then(|admin| admin.audit_log.take());
    let audit_key = key.name("admin");
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    GatewaySpec {
        listeners,
        audit_log: audit_log.map(|path| named(path, folder, &audit_key.name("audit-log"), faults)),
        admin: admin(raw.admin, folder, &taken, &key.name("admin"), faults),
        routes: beside(folder, raw.routes.map_or_else(|| "routes.toml".into(), |path| path.0.0)),
        state: state(raw.state, folder, &key.name("state"), faults),
        workers: raw.workers.map_or_else(cores, |workers| workers.size()),
        debug_tokens: raw
            .debug_token_file
            .map(|path| named(path, folder, &key.name("debug-token-file"), faults)),
        zone: raw.zone.map(|zone| zone.0.0.into()),
        dns: dns(raw.dns, &key.name("dns"), faults),
        log: log(raw.log),
        access_log: access_log::check(raw.access_log, folder, &key.name("access-log"), faults),
        metrics: MetricsSpec {
            tenants: raw.metrics.and_then(|raw| raw.tenants).map_or(1000, |tenants| tenants.size()),
        },
        tracing: raw
            .tracing
            .and_then(|raw| super::tracing::check(raw, folder, &key.name("tracing"), faults)),
        usage: raw
            .usage
            .and_then(|raw| super::usage::check(raw, folder, &key.name("usage"), faults)),
        replay: raw
            .replay_files
            .and_then(|raw| super::replay::check(raw, folder, &key.name("replay-files"), faults)),
        shared_limits: raw.shared_limits.and_then(|raw| {
            super::shared_limits::check(raw, folder, &key.name("shared-limits"), faults)
        }),
        downstream: downstream(raw.downstream, &key.name("downstream"), faults),
        memory: memory(raw.memory.unwrap_or_default(), &key.name("memory"), faults),
        drain: drain(raw.drain),
    }
}

/// What holds for all listeners.
struct Scope<'a> {
    /// The folder of the file, which relative paths start at.
    folder: Option<&'a Path>,
    /// The proxies that are believed where a listener does not say.
    trusted: Option<Arc<TrustedProxiesSpec>>,
}

/// Addresses that are in use already, and where they are written.
type Taken = BTreeMap<Address, usize>;

fn listeners(
    raw: Option<At<Vec<At<Listener>>>>,
    scope: &Scope<'_>,
    taken: &mut Taken,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<ListenerSpec> {
    let key = key.name("listeners");
    let Some(raw) = raw else {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080));
        return vec![ListenerSpec {
            address: address.into(),
            place: faults.place_of(&key.index(0).name("address"), 0),
            mode: MODE,
            tls: None,
            max_connections: None,
            proxy_protocol: None,
            trusted_proxies: scope.trusted.clone(),
        }];
    };
    if raw.value.is_empty() {
        let hint = "write [[listeners]] and address = \"0.0.0.0:8080\"";
        faults.add_missing(&key, raw.start, "there is no listener", hint);
    }
    let mut listeners = Vec::with_capacity(raw.value.len());
    for (index, At { value: listener, start }) in raw.value.into_iter().enumerate() {
        let key = key.index(index);
        let tls =
            listener.tls.and_then(|tls| tls::check(tls, scope.folder, &key.name("tls"), faults));
        let at = listener.address.as_ref().map(|address| &address.value.0);
        let is_unix = at.is_some_and(|address| address.net().is_none());
        let proxy_protocol = listener.proxy_protocol.and_then(|proxy| {
            self::proxy_protocol(proxy, is_unix, &key.name("proxy-protocol"), faults)
        });
        let Some(At { value: address, start }) = listener.address else {
            let hint = "write address = \"0.0.0.0:8080\"";
            faults.add_missing(&key, start, "has no address", hint);
            continue;
        };
        let address = address.0;
        if let Some(first) = taken.get(&address) {
            let what = format!("{address} is taken by another listener");
            let hint = format!("the other is at {}", faults.place(0, *first));
            faults.add(&key.name("address"), start, what, Some(hint));
        }
        if address.net().is_none_or(|address| address.port() != 0) {
            taken.entry(address.clone()).or_insert(start);
        }
        let mode = mode(listener.mode, is_unix, &key.name("mode"), faults);
        let max_connections = listener.max_connections.map(|max| max.size());
        let trusted_proxies = match listener.trusted_proxies {
            Some(own) => trusted_proxies(own, &key.name("trusted-proxies"), faults),
            None => scope.trusted.clone(),
        };
        listeners.push(ListenerSpec {
            address,
            place: faults.place_of(&key.name("address"), start),
            mode,
            tls,
            max_connections,
            proxy_protocol,
            trusted_proxies,
        });
    }
    listeners
}

fn mode(
    raw: Option<At<Written<FileMode>>>,
    is_unix: bool,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> FileMode {
    let Some(At { value: Written(mode), start }) = raw else { return MODE };
    if !is_unix {
        let hint = "leave it out, or listen on a Unix socket: address = \"unix:/run/x.sock\"";
        faults.add(key, start, "belongs to a Unix socket, and this is none", Some(hint.into()));
    }
    mode
}

/// `None` where nobody is named: then nobody is believed.
fn trusted_proxies(
    At { value: raw, start }: At<TrustedProxies>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Arc<TrustedProxiesSpec>> {
    let Some(from) = raw.from else {
        let hint = "name the proxies, as in from = [\"10.0.0.0/8\"]";
        faults.add_missing(key, start, "does not say who is trusted", hint);
        return None;
    };
    let from: Vec<Peers> = from.into_iter().map(|peers| peers.0).collect();
    let field = raw.field.map_or(ChainField::XForwardedFor, |field| field.0);
    (!from.is_empty()).then(|| Arc::new(TrustedProxiesSpec { from, field }))
}

fn proxy_protocol(
    At { value: raw, start }: At<ProxyProtocol>,
    is_unix: bool,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Vec<Peers>> {
    let hint = "name the load balancers, as in from = [\"10.0.0.0/8\"]";
    match raw.from {
        None => faults.add_missing(key, start, "does not say from whom", hint),
        Some(from) if from.value.is_empty() => {
            let what = "names nobody, so that every connection would be refused";
            faults.add_missing(&key.name("from"), from.start, what, hint);
        }
        Some(from) => {
            let named: Vec<Peers> = from.value.into_iter().map(|peers| peers.0).collect();
            if is_unix && !named.contains(&Peers::Unix) {
                let what = "names nobody who could connect over a Unix socket";
                let hint = "write from = [\"unix\"]; the mode of the socket says who may connect";
                faults.add(&key.name("from"), from.start, what, Some(hint.to_owned()));
            }
            return Some(named);
        }
    }
    None
}

/// The user and the group that the gateway runs as.
const MODE: FileMode = FileMode(0o660);

fn state(
    raw: Option<At<Written<StateFolder>>>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<NamedPath> {
    let (path, start) = match raw {
        Some(At { value: Written(StateFolder(path)), start }) => (path?, start),
        None => (PathBuf::from("state"), 0),
    };
    Some(NamedPath { path: beside(folder, path), place: faults.place_of(key, start) })
}

/// A path with the place that names it.
pub(super) fn named(
    At { value: Written(FilePath(path)), start }: At<Written<FilePath>>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &Faults<'_>,
) -> NamedPath {
    NamedPath { path: beside(folder, path), place: faults.place_of(key, start) }
}

fn admin(
    raw: Option<Admin>,
    folder: Option<&Path>,
    taken: &Taken,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<AdminSpec> {
    let raw = raw.unwrap_or_default();
    let tls = raw.tls.and_then(|tls| tls::check(tls, folder, &key.name("tls"), faults));
    let token_file =
        raw.token_file.map(|path| named(path, folder, &key.name("token-file"), faults));
    let start = raw.address.as_ref().map(|at| at.start);
    let address = match raw.address {
        Some(written) => written.value.0.0?,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 9900)),
    };
    let mut listeners = taken.iter().filter_map(|(other, start)| Some((other.net()?, *start)));
    if let Some((other, first)) = listeners.find(|(other, _)| overlap(*other, address)) {
        let what = match other == address {
            true => format!("{address} is taken by a listener"),
            false => format!("{address} is taken by the listener on {other}"),
        };
        match start {
            Some(start) => {
                let hint = format!("the listener is at {}", faults.place(0, first));
                faults.add(&key.name("address"), start, what, Some(hint));
            }
            None => {
                let what = format!("the admin API's default {what}");
                let hint = "give it another, as in [admin] address = \"127.0.0.1:9901\"".to_owned();
                faults.add(&key.name("address"), first, what, Some(hint));
            }
        }
    }
    let place = faults.place_of(&key.name("address"), start.unwrap_or_default());
    let public_metrics = raw.public_metrics.unwrap_or(false);
    let certificates = roles::of_certificates(raw.certificates, tls.as_ref(), key, faults);
    let tenant_keys = roles::tenant_keys(raw.tenant_keys.unwrap_or_default(), key, faults);
    let changes = raw.tenant_changes.unwrap_or_default();
    let rate = changes.requests.map_or(TENANT_CHANGES, |rate| rate.0);
    let burst = changes.burst.map_or(TENANT_CHANGES_AT_ONCE, |burst| burst.small());
    Some(AdminSpec {
        address,
        place,
        token_file,
        tls,
        public_metrics,
        certificates,
        tenant_keys,
        tenant_changes: RateSpec { rate, burst },
    })
}

/// 10 a minute: a person who edits, or a program that follows what that one does. Each may take a check of all
/// that the gateway knows, for which all others wait.
const TENANT_CHANGES: Rate = Rate { count: 10, per: Duration::from_secs(60) };

/// 20: what a deployment changes at once.
const TENANT_CHANGES_AT_ONCE: u32 = 20;

fn dns(raw: Option<Dns>, key: &Key<'_>, faults: &mut Faults<'_>) -> DnsSpec {
    let raw = raw.unwrap_or_default();
    let timeout = above_zero(raw.timeout, &key.name("timeout"), faults);
    DnsSpec {
        servers: raw.servers.unwrap_or_default().into_iter().map(|server| server.0.0).collect(),
        timeout: timeout.unwrap_or(Duration::from_secs(2)),
    }
}

fn log(raw: Option<Log>) -> LogSpec {
    let raw = raw.unwrap_or_default();
    LogSpec {
        filter: raw.filter.map_or_else(|| "info".to_owned(), |filter| filter.0.0),
        format: raw.format.map_or(LogFormat::Text, |format| format.0),
    }
}

fn memory(raw: Memory, key: &Key<'_>, faults: &mut Faults<'_>) -> MemorySpec {
    let mut size =
        |name, size: Option<At<Written<ByteSize>>>, fits: fn(u64) -> bool, hint: &str| {
            let size = size?;
            if !fits(size.value.0.0) {
                let what = format!("{} is out of range", size.value.0);
                faults.add(&key.name(name), size.start, what, Some(hint.to_owned()));
            }
            Some(size.value.0)
        };
    let limits = size(
        "client-limits",
        raw.client_limits,
        |size| (64 << 10..=1 << 30).contains(&size),
        "write a size from 64KiB to 1GiB, as in \"8MiB\"",
    );
    MemorySpec {
        client_limits: limits.unwrap_or(ByteSize(8 << 20)),
        buffers_per_client: size(
            "buffers-per-client",
            raw.buffers_per_client,
            |size| size == 0 || size >= 256 << 10,
            "write a size from 256KiB on, as in \"64MiB\", or \"0B\" for no bound",
        ),
        buffers: size(
            "buffers",
            raw.buffers,
            |size| size >= 1 << 20,
            "write a size from 1MiB on, as in \"512MiB\"",
        ),
    }
}

fn drain(raw: Option<Drain>) -> DrainSpec {
    let raw = raw.unwrap_or_default();
    DrainSpec {
        accept: raw.accept.map_or(Duration::from_secs(1), |time| time.0),
        timeout: raw.timeout.map_or(Duration::from_secs(30), |time| time.0),
    }
}
