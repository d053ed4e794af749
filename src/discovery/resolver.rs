//! Asks the name servers. Keeps nothing: how long an answer holds is the asking source's business.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use crate::config::spec::DnsSpec;

/// The name servers of one config. Clones share them.
#[derive(Clone)]
pub struct Resolver {
    /// Where there are none, a pool that needs no names works all the same.
    inner: Result<TokioResolver, String>,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) found: Vec<IpAddr>,
    /// The shortest of all records on the way, aliases too.
    pub(super) ttl: Duration,
    /// The name under which they were found, search domains applied.
    full_name: String,
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// The server knows the name not at all, or not with such records.
    #[error("{0}")]
    Empty(&'static str),
    /// No server gave an answer.
    #[error("{0}")]
    Failed(String),
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("usable", &self.inner.is_ok()).finish_non_exhaustive()
    }
}

impl Resolver {
    /// The servers that `spec` names, else those of the system; search domains and `/etc/hosts`
    /// are the system's either way. Where the system has no name servers, each look-up says so.
    pub fn new(spec: &DnsSpec) -> Self {
        Self { inner: build(spec) }
    }

    /// A and AAAA records together.
    pub(super) async fn addresses(&self, name: &str) -> Result<Addresses, LookupError> {
        let lookup = self.inner()?.lookup_ip(name).await.map_err(explain)?;
        let records = lookup.as_lookup().answers();
        let found: Vec<IpAddr> = lookup.iter().collect();
        if found.is_empty() {
            return Err(LookupError::Empty(NO_RECORDS));
        }
        let full_name = lookup.query().name().to_utf8();
        Ok(Addresses { found, ttl: shortest(records), full_name })
    }

    /// The records of the family that an answer is missing, where that family's server failed
    /// while the other answered: an error then, and `Ok` of none where there are none.
    pub(super) async fn missing_family(&self, known: &Addresses) -> Result<(), LookupError> {
        let family = match (
            known.found.iter().any(IpAddr::is_ipv4),
            known.found.iter().any(IpAddr::is_ipv6),
        ) {
            (true, false) => RecordType::AAAA,
            (false, true) => RecordType::A,
            _ => return Ok(()),
        };
        match self.inner()?.lookup(known.full_name.as_str(), family).await.map_err(explain) {
            Ok(_) | Err(LookupError::Empty(_)) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    /// SRV records and their time to live.
    pub(super) async fn services(
        &self,
        name: &str,
    ) -> Result<(Vec<Service>, Duration), LookupError> {
        let lookup = self.inner()?.lookup(name, RecordType::SRV).await.map_err(explain)?;
        let services: Vec<Service> = lookup.answers().iter().filter_map(service).collect();
        if services.is_empty() {
            return Err(LookupError::Empty(NO_RECORDS));
        }
        Ok((services, shortest(lookup.answers())))
    }

    fn inner(&self) -> Result<&TokioResolver, LookupError> {
        self.inner.as_ref().map_err(|reason| LookupError::Failed(reason.clone()))
    }
}

fn service(record: &Record) -> Option<Service> {
    match &record.data {
        RData::SRV(srv) => Some(Service {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_utf8(),
        }),
        _ => None,
    }
}

fn shortest(records: &[Record]) -> Duration {
    let seconds = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    Duration::from_secs(u64::from(seconds))
}

fn build(spec: &DnsSpec) -> Result<TokioResolver, String> {
    let (config, mut options) = match (read_system_conf(), spec.servers.is_empty()) {
        (Ok((system, options)), true) => (system, options),
        (Ok((system, options)), false) => {
            let (domain, search, _) = system.into_parts();
            (ResolverConfig::from_parts(domain, search, servers(&spec.servers)), options)
        }
        (Err(error), true) => {
            return Err(format!("no name servers: the system's cannot be read ({error})"));
        }
        (Err(_), false) => {
            let config = ResolverConfig::from_name_servers(servers(&spec.servers));
            (config, ResolverOpts::default())
        }
    };
    options.timeout = spec.timeout;
    options.attempts = ATTEMPTS;
    options.cache_size = 0; // a source asks when its answer has run out, and then wants a new one
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(|error| format!("the name servers cannot be used: {error}"))
}

fn servers(addresses: &[SocketAddr]) -> Vec<NameServerConfig> {
    addresses
        .iter()
        .map(|address| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = address.port();
            }
            NameServerConfig::new(address.ip(), true, connections)
        })
        .collect()
}

fn explain(error: NetError) -> LookupError {
    if error.is_nx_domain() {
        return LookupError::Empty("the name does not exist (NXDOMAIN)");
    }
    if error.is_no_records_found() {
        return LookupError::Empty(NO_RECORDS);
    }
    LookupError::Failed(match error {
        NetError::Timeout => "no answer from the name servers in time".to_owned(),
        NetError::NoConnections => "no name server can be reached".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name servers say: {code}"),
        other => other.to_string(),
    })
}

const NO_RECORDS: &str = "the name has no such records";

/// 1 more try: a lost datagram is common, and a second loss is repaired by the next look-up.
const ATTEMPTS: usize = 1;
