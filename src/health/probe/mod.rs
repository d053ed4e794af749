//! How one endpoint is asked whether it works. A probe opens a connection of its own each time:
//! that a connection can be opened is a part of the question.

mod asking;
mod grpc;
mod http;
mod tcp;
mod way;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::spec::ProbeSpec;
use crate::model::address::Address;

pub use way::{ProbeTls, Way};

/// A way to ask.
pub trait Probe: Debug + Send + Sync {
    /// Asks once. Whoever calls it bounds its time.
    fn check(
        &self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + '_>>;
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
    /// It says that it does not serve, or not yet.
    #[error("the health service says {0}, expected SERVING")]
    NotServing(String),
    /// It has no such service, or says nothing of the server as a whole where the name is empty.
    #[error("{}", unknown(.0))]
    UnknownService(String),
    /// It has no health service.
    #[error("there is no health service: grpc.health.v1.Health/Check is UNIMPLEMENTED")]
    NoHealthService,
    /// The call failed.
    #[error("the health service fails: gRPC status {code} {name}{}", told(.message))]
    Call {
        /// The status.
        code: u16,
        /// Its name.
        name: &'static str,
        /// What the endpoint says of it.
        message: String,
    },
    /// Too slow.
    #[error("no answer within {limit:?}")]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
}

/// What an endpoint says, behind what is known.
fn told(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn unknown(service: &str) -> String {
    match service {
        "" => "the health service says nothing of the server as a whole: name a service".to_owned(),
        service => format!("the health service does not know {service:?}"),
    }
}

/// The probe that `spec` describes, which reaches endpoints in this way.
pub fn build(spec: &ProbeSpec, way: Way) -> Arc<dyn Probe> {
    match spec {
        ProbeSpec::Tcp => Arc::new(tcp::Tcp { way }),
        ProbeSpec::Http(spec) => Arc::new(self::http::Http { spec: spec.clone(), way }),
        ProbeSpec::Grpc { service, host, headers } => Arc::new(grpc::Grpc {
            service: service.clone(),
            host: host.clone(),
            headers: headers.clone(),
            way,
        }),
    }
}

#[cfg(test)]
mod tests;
