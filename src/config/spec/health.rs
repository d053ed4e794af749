//! The meaning of an active check.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::pool::{Protocol, UpstreamTlsSpec};

/// An active check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthSpec {
    /// How an endpoint is asked.
    pub probe: ProbeSpec,
    /// The port that is asked; `None` = each endpoint's own.
    pub port: Option<u16>,
    /// Whether TLS is spoken, and how.
    pub tls: CheckTlsSpec,
    /// Time between two checks of an endpoint, spread by ± 20 %. Default 5 s.
    pub interval: Duration,
    /// Time from one check to the next while traffic sees the endpoint fail. Default: a tenth of the
    /// interval, at least 100 ms.
    pub fast_interval: Duration,
    /// How long a check may take. Default 1 s.
    pub timeout: Duration,
    /// Passes in a row that bring an endpoint up. Default 2.
    pub rise: u32,
    /// Failures in a row that take an endpoint down. Default 3.
    pub fall: u32,
}

/// How an endpoint is asked for its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeSpec {
    /// A request for a path.
    Http(HttpProbeSpec),
    /// A call of `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service that is asked for; empty = the server as a whole.
        service: String,
        /// The `:authority` that is sent; `None` = the address that is asked.
        host: Option<HeaderValue>,
        /// Fields that are sent.
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// A connection opens.
    Tcp,
}

/// A request that asks an endpoint for its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbeSpec {
    /// Its method. Default `GET`.
    pub method: Method,
    /// The path with its query, as in `/healthz`.
    pub path: String,
    /// The `Host` that is sent; `None` = the address that is asked.
    pub host: Option<HeaderValue>,
    /// Fields that are sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Statuses that pass, as inclusive ranges. Default 200 to 399.
    pub status: Vec<(u16, u16)>,
    /// Text that the first 64 KiB of the body must contain.
    pub body: Option<String>,
    /// What is spoken. Default: what the pool speaks.
    pub protocol: Protocol,
}

impl ProbeSpec {
    /// What is spoken to ask, or would be, in a pool that speaks this.
    pub fn protocol(&self, pool: Protocol) -> Protocol {
        match self {
            Self::Http(http) => http.protocol,
            Self::Grpc { .. } => Protocol::H2,
            Self::Tcp => pool,
        }
    }
}

/// Whether a check speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckTlsSpec {
    /// It does not.
    None,
    /// As requests do; only in a pool that speaks TLS.
    Pools,
    /// In its own way.
    Own(Box<UpstreamTlsSpec>),
}
