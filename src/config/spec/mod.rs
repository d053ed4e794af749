//! The checked meaning of the files: typed, complete, every reference resolved. No later stage
//! checks again. Two specs that are equal ask for the same, so that what is built from one is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::base::network::Peers;
use crate::base::role::Role;
use crate::base::sorted::{Keyed, Sorted};
use crate::base::units::{ByteSize, Percent};
use crate::model::address::Address;
use crate::model::ids::{PoolId, TenantId};
use crate::model::log_line::Piece;

use crate::config::answers::{ErrorPagesSpec, MaintenanceSpec};
use crate::config::problem::Place;

mod access;
mod adaptive;
mod affinity;
mod authorizer;
mod breaker;
mod canary;
mod cors;
mod domains;
mod health;
mod issuer;
mod limits;
mod mirror;
mod plan;
mod pool;
mod replay;
mod route;
mod shared_limits;
mod spread;
mod tracing;
mod usage;
mod waiting;

pub use access::{AccessSpec, CredentialKind, IdentitiesSpec, KeySpec};
pub use adaptive::AdaptiveSpec;
pub use affinity::{HashBy, SameSite, StickySpec};
pub use authorizer::{AskedPart, AuthorizerSpec, OnError};
pub use breaker::BreakerSpec;
pub use canary::{CanarySpec, RollbackSpec};
pub use cors::{CorsSpec, OriginSpec};
pub use domains::{DomainsSpec, EarlierHosts, TenantCertificateSpec};
pub use health::{CheckTlsSpec, HealthSpec, HttpProbeSpec, ProbeSpec};
pub use issuer::{FetchSpec, IssuerSpec, KeysSpec};
pub use limits::{
    EachLimitSpec, LimitFields, LimitScope, LimitsSpec, Overflow, Period, QuotaSpec, RateSpec,
};
pub use mirror::MirrorSpec;
pub use pool::{
    AuthoritiesSpec, ConcurrencySpec, ConnectionsSpec, EjectSpec, HedgeSpec, IdentitySpec,
    LatencySpec, LineSpec, PoolSpec, Protocol, ProxyVersion, QueueSpec, RetryOn, RetrySpec,
    SourceSpec, SuccessRateSpec, TimeoutsSpec, UpstreamTlsSpec,
};
pub use replay::{MOST_IN_MEMORY, MostKept, ReplaySpec};
pub use route::{
    ActionSpec, HeaderEditsSpec, HostSpec, PathSpec, RedirectSpec, RespondSpec, RewriteSpec,
    RouteSpec, SegmentSpec, SplitBy, SplitSpec, TailSpec, ValueSpec,
};
pub use shared_limits::{PasswordSpec, RedisAt, Secret, SharedLimitsSpec};
pub use spread::{EndpointSpec, EndpointState, SlowStartSpec, SpreadSpec, ZonesSpec};
pub use tracing::{CollectorSpec, ContextFormat, ExporterKind, IncomingTrust, TracingSpec};
pub use usage::UsageSpec;
pub use waiting::WaitSpec;

/// `gateway.toml`: read at the start, and its listeners whenever it changes.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySpec {
    /// Where clients connect; at least one.
    pub listeners: Vec<ListenerSpec>,
    /// Where the admin API listens; `None` = no admin API.
    pub admin: Option<AdminSpec>,
    /// The file that each change leaves a line in; `None` = none.
    pub audit_log: Option<NamedPath>,
    /// The routes file, or a folder of `*.toml` files.
    pub routes: PathBuf,
    /// Folder for what must outlive a restart; `None` = keep nothing.
    pub state: Option<NamedPath>,
    /// Worker threads; at least 1.
    pub workers: usize,
    /// The file with the tokens of those who may ask what became of their requests; `None` = nobody.
    pub debug_tokens: Option<NamedPath>,
    /// The zone that the gateway stands in; `None` = zones do not matter.
    pub zone: Option<Arc<str>>,
    /// How names are resolved.
    pub dns: DnsSpec,
    /// The gateway's own log.
    pub log: LogSpec,
    /// One line a request.
    pub access_log: AccessLogSpec,
    /// What is measured.
    pub metrics: MetricsSpec,
    /// Spans, and where they go; `None` = there are none.
    pub tracing: Option<TracingSpec>,
    /// Files of what tenants have used; `None` = none are written.
    pub usage: Option<UsageSpec>,
    /// Files for bodies that are kept for a retry; `None` = memory alone keeps them.
    pub replay: Option<ReplaySpec>,
    /// Where limits are counted for all gateways together; `None` = each counts by itself.
    pub shared_limits: Option<Box<SharedLimitsSpec>>,
    /// What a client may take.
    pub downstream: DownstreamSpec,
    /// What clients and endpoints may take of the memory.
    pub memory: MemorySpec,
    /// How the process ends.
    pub drain: DrainSpec,
}

/// What clients and endpoints may take of the memory.
#[derive(Clone, Debug, PartialEq)]
pub struct MemorySpec {
    /// All of them together, in bytes; `None` = a quarter of what the process may use. At least 1 MiB.
    pub buffers: Option<ByteSize>,
    /// What one client may hold of that, in bytes; 0 = all, `None` = three eighths. Else at least 256 KiB.
    pub buffers_per_client: Option<ByteSize>,
    /// For what clients have taken of the limits of tenants and routes. Default 8 MiB.
    pub client_limits: ByteSize,
}

/// One address that accepts connections.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSpec {
    /// Address and port, or a Unix socket; port 0 takes a free one.
    pub address: Address,
    /// Where the address is written; the first line where it is the default.
    pub place: Place,
    /// The mode of a Unix socket's file. Default 0660.
    pub mode: FileMode,
    /// With it, the listener speaks TLS.
    pub tls: Option<ListenerTlsSpec>,
    /// Connections at once on this listener; `None` = what `downstream` allows.
    pub max_connections: Option<usize>,
    /// Peers whose connections must begin with a PROXY protocol header, all others being
    /// refused; `None` = no header is read. Never empty.
    pub proxy_protocol: Option<Vec<Peers>>,
    /// Proxies in front that are believed when they say whom a request is for; `None` = nobody is.
    pub trusted_proxies: Option<Arc<TrustedProxiesSpec>>,
}

/// The permissions of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl fmt::Debug for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Proxies in front that are believed when they say whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxiesSpec {
    /// Where they are; never empty.
    pub from: Vec<Peers>,
    /// The field by which they say it.
    pub field: ChainField,
}

impl TrustedProxiesSpec {
    /// Whether a proxy of this address is believed; `None` = one at a Unix socket.
    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        self.from.iter().any(|peers| peers.contain(address))
    }
}

/// A field that names the client and the proxies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainField {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`, `-Host` and `-Port` beside it.
    XForwardedFor,
    /// `Forwarded`, of RFC 7239.
    Forwarded,
}

/// What a listener presents to clients, and what it asks of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTlsSpec {
    /// For clients that ask for no name, or for one that no certificate is for; `None` = they are
    /// refused.
    pub default: Option<CertificateSpec>,
    /// For clients that ask for their names. Not empty where there is no default.
    pub certificates: Vec<CertificateSpec>,
    /// What clients show who ask for the name of a tenant's certificate, which none of these is for; `None` = they
    /// are not asked for certificates. That of the default, where there is one.
    pub clients: Option<ClientCertificatesSpec>,
}

/// One certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSpec {
    /// PEM file of the chain, leaf first.
    pub certificate: NamedPath,
    /// PEM file of the private key.
    pub key: NamedPath,
    /// The names that it is for; empty = the DNS names in it. Always empty for the default.
    pub hosts: Vec<NamedHost>,
    /// What clients show; `None` = they are not asked for certificates.
    pub clients: Option<ClientCertificatesSpec>,
}

/// A name that clients ask for, where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedHost {
    /// The name; `*.x` is for one label before `.x` here, as in certificates.
    pub host: HostSpec,
    /// Where it is written.
    pub place: Place,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificatesSpec {
    /// Whether there must be one.
    pub mode: ClientCertificatesMode,
    /// PEM file of the authorities that they come from.
    pub authorities: NamedPath,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificatesMode {
    /// Who shows one must show a good one.
    Optional,
    /// Nobody comes in without one.
    Required,
}

/// A file or folder that `gateway.toml` names and that the start looks into: what is wrong with it
/// is told where it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// Where it is.
    pub path: PathBuf,
    /// Where it is named; the first line where it is the default.
    pub place: Place,
}

/// The operators' API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSpec {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the address is written; the first line where it is the default.
    pub place: Place,
    /// The file of the tokens that let somebody in; `None` = nobody is asked for one.
    pub token_file: Option<NamedPath>,
    /// With it, it speaks TLS.
    pub tls: Option<ListenerTlsSpec>,
    /// Whether the metrics are there for everybody. Default: no.
    pub public_metrics: bool,
    /// Roles by names of client certificates; empty = who has one may do everything.
    pub certificates: Vec<(String, Role)>,
    /// Keys of a tenant that its own token may change, by their parts.
    pub tenant_keys: Vec<Vec<String>>,
    /// How many changes one of these may ask for. Default 10 a minute, 20 at once.
    pub tenant_changes: RateSpec,
}

impl GatewaySpec {
    /// Whoever presents certificates: the admin API, where it speaks TLS, before the listeners. What
    /// is done for the certificates of listeners is done for its own.
    pub fn presenting(&self) -> Vec<ListenerSpec> {
        self.secured_admin().into_iter().chain(self.listeners.iter().cloned()).collect()
    }

    /// The admin API as a listener; `None` where it speaks no TLS.
    pub fn secured_admin(&self) -> Option<ListenerSpec> {
        let admin = self.admin.as_ref()?;
        Some(ListenerSpec {
            address: admin.address.into(),
            place: admin.place.clone(),
            mode: FileMode(0),
            tls: Some(admin.tls.clone()?),
            max_connections: None,
            proxy_protocol: None,
            trusted_proxies: None,
        })
    }
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSpec {
    /// Servers to ask over UDP and TCP; empty = those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take to answer. Default 2 s.
    pub timeout: Duration,
}

/// The gateway's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// A `tracing` filter: `info`, or `warn,tenantry::control=debug`.
    pub filter: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The access log.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogSpec {
    /// Where the lines go.
    pub output: AccessLogOutput,
    /// How a line looks. Default JSON.
    pub format: AccessLogFormat,
    /// The share of requests that leave a line. Default 100 %.
    pub sample: Percent,
    /// Whether failed requests leave a line in any case. Default: yes.
    pub errors: bool,
    /// What is not shown.
    pub mask: MaskSpec,
    /// Lines that may wait for the writer; more are dropped and counted. Default 8192.
    pub queue: usize,
}

/// How a line of the access log looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One JSON object.
    Json,
    /// As web servers write it.
    Combined,
    /// These pieces.
    Pieces(Vec<Piece>),
}

/// Names whose values are not shown in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskSpec {
    /// Query parameters, in lower case.
    pub query: Vec<String>,
    /// Fields of a head.
    pub headers: Vec<HeaderName>,
}

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogOutput {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(NamedPath),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsSpec {
    /// Tenants that have series of their own. Default 1,000.
    pub tenants: usize,
}

/// What a client may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamSpec {
    /// Longest time from a request's first byte to the end of its head. Default 10 s.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request. Default 75 s.
    pub idle_timeout: Duration,
    /// Longest silence within a request body, and longest time in which a client takes nothing of
    /// its answer. Default 30 s.
    pub body_timeout: Duration,
    /// Longest silence of both sides of an upgraded connection. Default 5 min.
    pub tunnel_timeout: Duration,
    /// Bytes a second of a request's body, over the time in which the client is waited for; 0 =
    /// any. Default 500 B.
    pub min_body_rate: ByteSize,
    /// The time over which that is measured. Default 30 s.
    pub body_rate_window: Duration,
    /// How long a TLS handshake may take. Default 5 s.
    pub handshake_timeout: Duration,
    /// TLS handshakes at once, over all listeners. Default 4,096.
    pub max_handshakes: usize,
    /// How old a connection may get; `None` = any age. Default 1 h.
    pub max_connection_age: Option<Duration>,
    /// Requests served on one connection. Default 10,000.
    pub max_requests: u64,
    /// Size of a request's head. Default 32 KiB.
    pub max_header_size: ByteSize,
    /// Length of a request's path and query. Default half of the head.
    pub max_target_size: ByteSize,
    /// Fields in a request's head. Default 128.
    pub max_headers: usize,
    /// Size of a request's body. Default 10 MiB.
    pub max_body: ByteSize,
    /// Concurrent HTTP/2 streams of one connection. Default 100.
    pub max_streams: u32,
    /// Connections at once, over all listeners. Default 100,000.
    pub max_connections: usize,
    /// Connections at once of one client address, or of one /64 of IPv6. Default 25,000.
    pub max_connections_per_client: usize,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSpec {
    /// How long connections are still accepted after the signal. Default 1 s.
    pub accept: Duration,
    /// How long requests in flight may take to finish. Default 30 s.
    pub timeout: Duration,
}

/// The routes file or folder, merged: everything that can change while the gateway runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutesSpec {
    /// How a request names its tenant.
    pub naming: NamingSpec,
    /// Pages in place of the gateway's own answers, of tenants that have none of their own.
    pub error_pages: Arc<ErrorPagesSpec>,
    /// Sets of endpoints by name.
    pub pools: BTreeMap<PoolId, Arc<PoolSpec>>,
    /// Route sets that tenants use by name.
    pub route_sets: BTreeMap<Arc<str>, Arc<RouteSetSpec>>,
    /// What many tenants say alike, by name. Its tenants' specs hold it already.
    pub plans: BTreeMap<Arc<str>, Arc<TenantSpec>>,
    /// Tenants by id.
    pub tenants: Sorted<NamedTenant>,
}

/// A tenant by its id.
pub type NamedTenant = (TenantId, Arc<TenantSpec>);

impl Keyed for NamedTenant {
    type Key = str;

    fn key(&self) -> &str {
        self.0.as_str()
    }
}

impl RoutesSpec {
    /// The tenant of this id.
    pub fn tenant(&self, id: &str) -> Option<&Arc<TenantSpec>> {
        self.tenants.get(id).map(|(_, tenant)| tenant)
    }

    /// Whether a tenant, pool, route set or plan is gone that these had.
    pub fn lacks_any_of(&self, before: &Self) -> bool {
        self.tenants.differences(&before.tenants, |_, _| true).any(|found| found.now.is_none())
            || lacks(&self.pools, &before.pools)
            || lacks(&self.route_sets, &before.route_sets)
            || lacks(&self.plans, &before.plans)
    }

    /// Whether they differ from these in nothing but what tenants say.
    pub fn differ_in_tenants_alone(&self, before: &Self) -> bool {
        self.naming == before.naming
            && self.error_pages == before.error_pages
            && self.pools == before.pools
            && self.route_sets == before.route_sets
            && self.plans == before.plans
    }
}

fn lacks<K: Ord, V>(now: &BTreeMap<K, V>, before: &BTreeMap<K, V>) -> bool {
    let mut now = now.keys();
    !before.keys().all(|key| now.by_ref().any(|now| now == key))
}

/// How a request names its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamingSpec {
    /// The ways, in order; the first that is present wins. Default: the header `x-tenant-id`.
    pub from: Vec<NameFrom>,
    /// The header that carries the tenant's id to the endpoint: the first `header` way's, or
    /// `x-tenant-id` where there is none.
    pub forward_as: HeaderName,
    /// How clients show who they are, and how endpoints hear of it.
    pub identity: Arc<IdentitiesSpec>,
}

/// One way in which a request names its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// The value of this header.
    Header(HeaderName),
    /// What stands for `{tenant}` in a host such as `{tenant}.example.com` (lower case, without
    /// the port): the text before and after it.
    Host {
        /// Text before `{tenant}`.
        prefix: String,
        /// Text after `{tenant}`.
        suffix: String,
    },
    /// What stands for `{tenant}` in a name of the client's verified certificate: the text before
    /// and after it.
    Certificate {
        /// Which name.
        field: CertificateField,
        /// Text before `{tenant}`.
        prefix: String,
        /// Text after `{tenant}`.
        suffix: String,
    },
    /// The first segment of the path.
    Path(PathTenant),
    /// The tenant whose credential of this kind the client shows.
    Credential(CredentialKind),
    /// The tenant whose domain the host is.
    Domain,
    /// Always this one.
    Default(TenantId),
}

/// A kind of name in a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateField {
    /// The common name of its subject.
    CommonName,
    /// A DNS name; `{tenant}` stands for one label.
    Dns,
    /// A URI; `{tenant}` stands for one segment.
    Uri,
}

/// What becomes of the path segment that named the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathTenant {
    /// Taken off before routing; the endpoint does not see it.
    Strip,
    /// Left in the path.
    Keep,
}

/// One tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantSpec {
    /// The plan that said what it did not say itself.
    pub plan: Option<Arc<str>>,
    /// Whether it is served.
    pub state: TenantState,
    /// There while its state is [`TenantState::Maintenance`]; of a plan, where it says anything of it.
    pub maintenance: Option<Box<MaintenanceSpec>>,
    /// Where requests go that no route matches, and where a route without an action sends them.
    pub pool: Option<PoolId>,
    /// Its own routes.
    pub routes: Vec<RouteSpec>,
    /// Names of the route sets that it uses, in order.
    pub route_sets: Vec<Arc<str>>,
    /// What may be asked of it; `None` = anything.
    pub limits: Option<Box<LimitsSpec>>,
    /// Its pages in place of the gateway's own answers; `None` = it has none.
    pub error_pages: Option<Arc<ErrorPagesSpec>>,
    /// The share of its requests that leave a line; `None` = as the access log says.
    pub sample: Option<Percent>,
    /// The share of its requests whose spans are kept; `None` = as `gateway.toml` says.
    pub trace_sample: Option<Percent>,
    /// Memory that copies of request bodies kept for retries may take at once. Default 16 MiB.
    pub replay_memory: ByteSize,
    /// Who may come to it; `None` = everybody.
    pub access: Option<Arc<AccessSpec>>,
    /// Hosts of its own, which name it; `None` = it has none.
    pub domains: Option<Box<DomainsSpec>>,
    /// Its share of pools that have as many requests as they may; `None` = it says nothing.
    pub queue: Option<Box<QueueSpec>>,
    /// Its keys that its own token may change, by their parts; `None` = as `gateway.toml` says.
    pub tenant_keys: Option<Arc<[Vec<String>]>>,
}

/// Whether a tenant is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantState {
    /// Served.
    Active,
    /// Every request is answered 503, save those of clients that are let in.
    Maintenance,
    /// Every request is answered 403.
    Suspended,
    /// Every request is answered 503: the file that defines it is broken, and was never good. No
    /// file can say so.
    Quarantined,
}

/// Whether a route is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// Served.
    Active,
    /// Every request is answered 503, save those of clients that are let in.
    Maintenance,
}

/// Routes under a name, for many tenants.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSetSpec {
    /// The routes, in the order of the file.
    pub routes: Vec<RouteSpec>,
}
