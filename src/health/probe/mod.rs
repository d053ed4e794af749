//! How one endpoint is asked whether it works. A probe opens a connection of its own each time:
//! that a connection can be opened is a part of the question.

mod http;
mod tcp;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::spec::{ProbeSpec, Protocol, ProxyVersion};
use crate::model::address::Address;

/// A way to ask.
pub trait Probe: Debug + Send + Sync {
    /// Asks once. Whoever calls it bounds its time.
    fn check(
        &self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + '_>>;
}

/// The TLS of a pool.
#[derive(Clone, Debug)]
pub struct ProbeTls {
    /// Whom to trust; its ALPN fits the pool's protocol.
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must carry; `None` = the endpoint's address.
    pub name: Option<ServerName<'static>>,
}

/// Why an endpoint does not work. The texts are for people: the log and the admin API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Nobody listens.
    #[error("connect refused")]
    Refused,
    /// No connection for another reason.
    #[error("connect failed: {0}")]
    Connect(String),
    /// The gateway has no file left to open for a connection: this says nothing of the endpoint.
    #[error("the gateway is out of open files")]
    OutOfFiles,
    /// No TLS.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// The request could not be made of what the config says.
    #[error("the check cannot be sent: {0}")]
    Request(String),
    /// No answer, or none that is HTTP.
    #[error("no valid HTTP answer: {0}")]
    Answer(String),
    /// The wrong status.
    #[error("status {status}, expected {expected}")]
    Status {
        /// What was answered.
        status: u16,
        /// What would pass, as in `200-399`.
        expected: String,
    },
    /// The wrong body.
    #[error("body does not contain {0:?}")]
    Body(String),
    /// Too slow.
    #[error("no answer within {limit:?}")]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
}

/// The probe that `spec` describes. A TCP check only opens a connection, also where the pool
/// speaks TLS. With `proxy`, each connection begins with a header that names nobody.
pub fn build(
    spec: &ProbeSpec,
    protocol: Protocol,
    tls: Option<ProbeTls>,
    proxy: Option<ProxyVersion>,
) -> Arc<dyn Probe> {
    match spec {
        ProbeSpec::Tcp => Arc::new(tcp::Tcp { proxy }),
        ProbeSpec::Http { path, host, status, body } => Arc::new(http::Http {
            path: path.clone(),
            host: host.clone(),
            status: status.clone(),
            body: body.clone(),
            protocol,
            tls,
            proxy,
        }),
    }
}

#[cfg(test)]
mod tests;
