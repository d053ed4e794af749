//! The meaning of a pool: where its endpoints come from, how they are reached, and which failures
//! are tried again.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::base::fair::Class;
use crate::base::units::{ByteSize, Percent};
use crate::model::grpc::GrpcStatus;

use super::adaptive::AdaptiveSpec;
use super::breaker::BreakerSpec;
use super::health::{CheckTlsSpec, HealthSpec};
use super::spread::{EndpointSpec, SpreadSpec};
use super::waiting::WaitSpec;
use super::{HashBy, StickySpec};

/// A pool: where its endpoints come from and how they are used.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSpec {
    /// Where the endpoints come from; at least one.
    pub sources: Vec<SourceSpec>,
    /// The name of a balancer. Default `least-request`.
    pub balance: String,
    /// What a balancer that asks for keys goes by: the first that a request has. Empty for others.
    pub hash: Vec<HashBy>,
    /// A cookie that keeps each client on one endpoint; `None` = there is none.
    pub sticky: Option<Box<StickySpec>>,
    /// What is spoken to the endpoints.
    pub protocol: Protocol,
    /// With it, TLS is spoken to the endpoints.
    pub tls: Option<UpstreamTlsSpec>,
    /// With it, each connection begins with a PROXY protocol header that names the client. Never
    /// beside HTTP/2.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Active checks; `None` = traffic alone judges.
    pub health: Option<HealthSpec>,
    /// Ejection by what traffic sees.
    pub eject: EjectSpec,
    /// When a tenant's requests are refused at once; `None` = never.
    pub breaker: Option<BreakerSpec>,
    /// When fewer than this share are healthy, all are used. Default 50 %.
    pub panic_below: Percent,
    /// How requests wait while no endpoint may be picked; `None` = they do not.
    pub wait: Option<WaitSpec>,
    /// How traffic is spread over the endpoints.
    pub spread: SpreadSpec,
    /// Connections kept to each endpoint.
    pub connections: ConnectionsSpec,
    /// Whether each tenant has connections of its own. Default: no.
    pub per_tenant: bool,
    /// Overrides of the built-in deadlines.
    pub timeouts: TimeoutsSpec,
    /// The field that tells endpoints how many milliseconds a request has left; `None` = calls of gRPC
    /// alone are told.
    pub deadline_header: Option<HeaderName>,
    /// Overrides of the built-in retry rules.
    pub retry: RetrySpec,
    /// How many requests it has at once; `None` = any number.
    pub concurrency: Option<ConcurrencySpec>,
    /// How requests wait while it is overrun, where it may have any number at once; `None` = it is never bounded.
    pub overrun: Option<LineSpec>,
}

impl Default for PoolSpec {
    /// What holds where nothing is written, and no source yet.
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            balance: "least-request".to_owned(),
            hash: Vec::new(),
            sticky: None,
            protocol: Protocol::H1,
            tls: None,
            proxy_protocol: None,
            health: None,
            eject: EjectSpec::USUAL,
            breaker: None,
            panic_below: Percent::new(50.0),
            wait: None,
            spread: SpreadSpec::default(),
            connections: ConnectionsSpec::USUAL,
            per_tenant: false,
            timeouts: TimeoutsSpec::UNSAID,
            deadline_header: None,
            retry: RetrySpec::UNSAID,
            concurrency: None,
            overrun: Some(LineSpec::USUAL),
        }
    }
}

impl PoolSpec {
    /// Whether not every request may go by each of its connections.
    pub fn keeps_apart(&self) -> bool {
        self.per_tenant || self.proxy_protocol.is_some()
    }

    /// How requests wait where it has no room; `None` = it always has.
    pub fn line(&self) -> Option<LineSpec> {
        let of_limit =
            self.concurrency.map(|limit| LineSpec { length: limit.length, wait: limit.wait });
        of_limit.or(self.overrun)
    }

    /// All ways in which TLS is spoken to the endpoints: by requests, and by checks that have one of their own; each
    /// with the key of the pool that says it.
    pub fn all_tls(&self) -> impl Iterator<Item = (&'static [&'static str], &UpstreamTlsSpec)> {
        let of_check = self.health.as_ref().and_then(|health| match &health.tls {
            CheckTlsSpec::Own(own) => Some(&**own),
            CheckTlsSpec::None | CheckTlsSpec::Pools => None,
        });
        let of_requests = self.tls.iter().map(|tls| (&["tls"][..], tls));
        of_requests.chain(of_check.map(|tls| (&["health", "tls"][..], tls)))
    }
}

/// How requests wait for a pool without room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineSpec {
    /// Requests of one tenant that may wait. Default 50.
    pub length: usize,
    /// How long one may wait. Default 1 s.
    pub wait: Duration,
}

impl LineSpec {
    /// What holds where nothing is written. 50, as API servers of Kubernetes have it: with four times as many, who is served had
    /// to wait for longer than people do. 1 s: who waits longer will ask again.
    pub const USUAL: Self = Self { length: 50, wait: Duration::from_secs(1) };
}

/// How many requests a pool has at once, and how others wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcurrencySpec {
    /// Requests at once, over all workers; at least 1. Where that is worked out, what it begins with.
    pub limit: u32,
    /// Requests of one tenant that may wait. Default 50.
    pub length: usize,
    /// How long one may wait. Default 1 s.
    pub wait: Duration,
    /// With it, the limit follows how long requests take.
    pub adaptive: Option<AdaptiveSpec>,
}

/// A tenant's share of pools that have as many requests as they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Beside others of its class; at least 1. Default 1.
    pub weight: u32,
    /// The class of requests whose routes say none, and the most urgent one of those whose routes do; `None` =
    /// [`Class::Normal`], for both.
    pub class: Option<Class>,
    /// Its requests that may wait for one pool; `None` = as the pool says.
    pub length: Option<usize>,
    /// How long one may wait; `None` = as the pool says.
    pub wait: Option<Duration>,
}

impl QueueSpec {
    /// What holds for a tenant that says nothing.
    pub const UNSAID: Self = Self { weight: 1, class: None, length: None, wait: None };

    /// The class of a request whose route says this.
    pub fn class(&self, route: Option<Class>) -> Class {
        let own = self.class.unwrap_or_default();
        route.map_or(own, |route| own.max(route))
    }
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// Written in the routes file.
    Fixed(Vec<EndpointSpec>),
    /// A and AAAA records of a name, with a port.
    Dns {
        /// The name, absolute or not.
        name: String,
        /// The port of every address.
        port: u16,
    },
    /// SRV records of a name.
    Srv {
        /// As in `_http._tcp.billing.internal`.
        name: String,
    },
    /// A watched list: `*.json` in Prometheus `file_sd` form, or `*.toml`.
    File(PathBuf),
}

/// What is spoken to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2, without TLS by prior knowledge (h2c).
    H2,
}

/// How a PROXY protocol header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// As a line of text.
    V1,
    /// In bytes.
    V2,
}

/// TLS to endpoints. Certificates are always verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTlsSpec {
    /// Whom to trust; `None` = whom the system trusts.
    pub ca: Option<AuthoritiesSpec>,
    /// What endpoints are shown that ask for a certificate; `None` = nothing.
    pub identity: Option<IdentitySpec>,
    /// The name that is asked for and that the certificate must carry: the one that is written, else the DNS name that
    /// the endpoints are found by; `None` = each endpoint's address.
    pub server_name: Option<ServerName<'static>>,
}

/// Authorities that endpoints' certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritiesSpec {
    /// The file that they were read from.
    pub path: PathBuf,
    /// What it said.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// The gateway's own certificate towards endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySpec {
    /// The file of the chain.
    pub certificate: PathBuf,
    /// The file of the private key.
    pub key: PathBuf,
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key, which is the leaf's.
    pub secret: Arc<PrivateKeyDer<'static>>,
}

/// Ejection of an endpoint by what traffic sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EjectSpec {
    /// Connect failures, resets and 5xx answers in a row that eject; 0 = never. Default 5.
    pub failures: u32,
    /// Length of the first ejection; the n-th lasts n times as long. Default 10 s.
    pub base: Duration,
    /// Longest ejection. Default 300 s.
    pub max: Duration,
    /// The largest share of the pool that may be ejected at once; one endpoint of a pool of
    /// several always may. Default 30 %.
    pub share: Percent,
    /// Successes, one request at a time, that are asked of an endpoint after an ejection; 0 = none. Default 3.
    pub trials: u32,
    /// How often endpoints are compared with each other. Default 10 s.
    pub interval: Duration,
    /// Ejection of an endpoint that fails more of its requests than the others; `None` = never. Default: as
    /// [`SuccessRateSpec::USUAL`] says, unless `failures` is 0.
    pub success_rate: Option<SuccessRateSpec>,
    /// Ejection of an endpoint that is slower than the others; `None` = never. Default: never.
    pub latency: Option<LatencySpec>,
}

impl EjectSpec {
    /// What holds where nothing is written.
    pub const USUAL: Self = Self {
        failures: 5,
        base: Duration::from_secs(10),
        max: Duration::from_secs(300),
        share: Percent::new(30.0),
        trials: 3,
        // As Envoy has it.
        interval: Duration::from_secs(10),
        success_rate: Some(SuccessRateSpec::USUAL),
        latency: None,
    };
}

/// When an endpoint fails more of its requests than the others of its pool: its share of successes lies
/// 1.9 standard deviations below the mean, and by `gap` below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRateSpec {
    /// How far below the mean it lies at least. Default 5 %.
    pub gap: Percent,
    /// Endpoints that are compared at least. Default 5.
    pub endpoints: usize,
    /// Requests of an interval that an endpoint must have had. Default 100.
    pub requests: u64,
}

impl SuccessRateSpec {
    /// What holds where nothing is written.
    pub const USUAL: Self = Self { gap: Percent::new(5.0), endpoints: 5, requests: 100 };
}

/// When an endpoint is slower than the others of its pool: what it is asked for takes it `factor` times
/// as long as the median of the endpoints, and longer by `floor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencySpec {
    /// How many times as long. Default 3.
    pub factor: u32,
    /// How much longer at least. Default 100 ms.
    pub floor: Duration,
    /// Intervals in a row. Default 3.
    pub rounds: u32,
    /// Endpoints that are compared at least. Default 3.
    pub endpoints: usize,
    /// Requests of an interval that an endpoint must have had. Default 30.
    pub requests: u64,
}

impl LatencySpec {
    /// What holds where it is on and nothing more is written.
    pub const USUAL: Self = Self {
        factor: 3,
        floor: Duration::from_millis(100),
        rounds: 3,
        endpoints: 3,
        requests: 30,
    };
}

/// Connections kept to each endpoint, by each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionsSpec {
    /// Idle connections kept to one endpoint, over all workers. Default 256.
    pub idle: usize,
    /// How long a connection may be idle. Default 30 s.
    pub idle_timeout: Duration,
    /// How old a connection may get. Default 10 min.
    pub max_age: Duration,
}

impl ConnectionsSpec {
    /// What holds where nothing is written.
    pub const USUAL: Self = Self {
        idle: 256,
        idle_timeout: Duration::from_secs(30),
        max_age: Duration::from_secs(600),
    };
}

/// Deadlines; `None` = what the level below says: route, then pool, then built in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutsSpec {
    /// To open a connection. Built in: 1 s.
    pub connect: Option<Duration>,
    /// For the TLS handshake. Built in: 2 s.
    pub tls: Option<Duration>,
    /// For one attempt, up to its answer's head; starts anew with each part of the request's body
    /// that the endpoint takes. Built in: half of `total`.
    pub attempt: Option<Duration>,
    /// From the end of the request to the answer's head. Built in: none but `attempt`.
    pub first_byte: Option<Duration>,
    /// Silence within an answer. Built in: 30 s.
    pub idle: Option<Duration>,
    /// From the request's head to the end of the answer; `Duration::ZERO` = none. Built in: 30 s.
    pub total: Option<Duration>,
}

/// Retry rules; `None` = what the level below says: route, then pool, then built in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetrySpec {
    /// Tries in all, the first included; 1 = no retry. Built in: 3.
    pub attempts: Option<u32>,
    /// What is retried, statuses of gRPC last. Built in: connect, reset, timeout, 502, 503, 504.
    pub on: Option<Vec<RetryOn>>,
    /// Retries as a share of requests, beside `budget_floor`. Built in: 20 %.
    pub budget: Option<Percent>,
    /// Retries a second that are always allowed. Built in: 10.
    pub budget_floor: Option<u32>,
    /// First back-off, doubled each time, with full jitter; the first retry at a sound endpoint has none. Built in: 25 ms.
    pub backoff: Option<Duration>,
    /// Longest back-off. Built in: 250 ms.
    pub max_backoff: Option<Duration>,
    /// The longest `Retry-After` of an endpoint that is waited for. Built in: 2 s.
    pub max_retry_after: Option<Duration>,
    /// The part of a request's body that is kept for a retry. Built in: 64 KiB.
    pub replay: Option<ByteSize>,
    /// When a second attempt goes beside a slow one. Built in: never.
    pub hedge: Option<HedgeSpec>,
}

/// When a second attempt goes beside one that takes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HedgeSpec {
    /// The share of first attempts of late, in per cent, that brought an answer in less time, from 50 to
    /// 99; 0 = never. Built in: 95.
    pub after: Option<u8>,
    /// It never goes earlier than this. Built in: 10 ms.
    pub floor: Option<Duration>,
    /// What is sent twice at once. Built in: GET, HEAD and OPTIONS.
    pub methods: Option<Vec<Method>>,
}

impl HedgeSpec {
    /// No word on anything.
    pub const UNSAID: Self = Self { after: None, floor: None, methods: None };
}

impl TimeoutsSpec {
    /// Says nothing: the level below decides.
    pub const UNSAID: Self =
        Self { connect: None, tls: None, attempt: None, first_byte: None, idle: None, total: None };
}

impl RetrySpec {
    /// Says nothing: the level below decides.
    pub const UNSAID: Self = Self {
        attempts: None,
        on: None,
        budget: None,
        budget_floor: None,
        backoff: None,
        max_backoff: None,
        max_retry_after: None,
        replay: None,
        hedge: None,
    };
}

/// An outcome that may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection.
    Connect,
    /// The connection died before an answer.
    Reset,
    /// The attempt's deadline passed.
    Timeout,
    /// An answer with this status.
    Status(StatusCode),
    /// An answer that says in its head, and before anything else, that the call has failed so.
    Grpc(GrpcStatus),
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(status) => write!(f, "{}", status.as_u16()),
            Self::Grpc(status) => write!(f, "grpc-{status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_says_how_urgent_it_is_and_no_more_than_its_tenant_says() {
        let of = |own, route| QueueSpec { class: own, ..QueueSpec::UNSAID }.class(route);
        let said = Class::ALL.map(Some);
        for (own, route) in said.into_iter().flat_map(|own| said.map(|route| (own, route))) {
            let class = of(own, route);
            assert!(class == own.unwrap() || class == route.unwrap());
            assert!(Some(class) >= own && Some(class) >= route, "{own:?} {route:?}");
        }
        for class in said {
            let normal = Some(Class::Normal);
            assert_eq!(of(None, class), of(normal, class), "the tenant says nothing");
            assert_eq!(of(class, None), class.unwrap(), "the route says nothing");
        }
        assert_eq!(of(None, None), Class::Normal);
        assert_eq!(of(None, Some(Class::Critical)), Class::Normal);
        assert!(Class::Critical < Class::Normal && Class::Normal < Class::Batch);
    }
}
