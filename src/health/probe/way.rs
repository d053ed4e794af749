//! How an endpoint is reached for a check: where, and by what besides TCP.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::base::socket::is_out_of_files;
use crate::config::spec::ProxyVersion;
use crate::model::address::Address;
use crate::upstream::dial;
use crate::upstream::proxy_header::{self, Whom};

use super::ProbeError;

/// How endpoints are reached for a check.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// The port that is asked; `None` = each endpoint's own.
    pub port: Option<u16>,
    /// With it, TLS is spoken.
    pub tls: Option<ProbeTls>,
    /// With it, each connection begins with a header that names nobody.
    pub proxy: Option<ProxyVersion>,
}

/// The TLS of a check.
#[derive(Clone, Debug)]
pub struct ProbeTls {
    /// Whom to trust; its ALPN fits what the check speaks.
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must carry; `None` = the endpoint's address.
    pub name: Option<ServerName<'static>>,
}

/// A connection, with TLS or without.
pub(super) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Line for S {}

impl Way {
    /// Where an endpoint is asked.
    pub(super) fn to(&self, endpoint: &Address) -> Result<Address, ProbeError> {
        match (endpoint, self.port) {
            (_, None) => Ok(endpoint.clone()),
            (Address::Net(own), Some(port)) => {
                let mut to = *own; // with the scope that an address of IPv6 may have
                to.set_port(port);
                Ok(to.into())
            }
            // Found where the config is not asked, as in a list.
            (Address::Unix(_), Some(_)) => {
                Err(ProbeError::Request("a Unix socket has no port".to_owned()))
            }
        }
    }

    /// Opens a connection, on the gateway's own behalf.
    pub(super) async fn open(&self, to: &Address) -> Result<Box<dyn Line>, ProbeError> {
        let mut stream = dial::connect(to).await.map_err(|error| failed(&error))?;
        if let Some(version) = self.proxy {
            let header = proxy_header::header(version, Whom::Itself);
            let written = stream.write_all(&header).await;
            written.map_err(|error| ProbeError::Connect(error.to_string()))?;
        }
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let own = || to.ip().map(ServerName::from);
        let name = tls.name.clone().or_else(own).ok_or_else(|| {
            ProbeError::Tls("a Unix socket has no name; tls needs a server-name".to_owned())
        })?;
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| ProbeError::Tls(error.to_string()))?;
        Ok(Box::new(stream))
    }
}

fn failed(error: &io::Error) -> ProbeError {
    match error.kind() {
        ErrorKind::ConnectionRefused => ProbeError::Refused,
        _ if is_out_of_files(error) => ProbeError::OutOfFiles,
        _ => ProbeError::Connect(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_gateway_that_is_out_of_files_says_so_and_blames_nobody() {
        let why = |error: Errno| failed(&io::Error::from_raw_os_error(error.raw_os_error()));
        assert_eq!(why(Errno::MFILE), ProbeError::OutOfFiles);
        assert_eq!(why(Errno::NFILE), ProbeError::OutOfFiles);
        assert_eq!(why(Errno::CONNREFUSED), ProbeError::Refused);
        assert!(matches!(why(Errno::NETUNREACH), ProbeError::Connect(_)));
    }

    #[test]
    fn another_port_is_asked_by_the_same_network_interface() {
        let way = Way { port: Some(80), ..Way::default() };
        let to = |address: &str| way.to(&address.parse().unwrap()).unwrap();
        assert_eq!(to("10.0.0.1:9000"), "10.0.0.1:80".parse().unwrap());

        let own = "[fe80::1%2]:9000".parse::<std::net::SocketAddr>().unwrap();
        let expected = "[fe80::1%2]:80".parse::<std::net::SocketAddr>().unwrap();
        assert_eq!(way.to(&own.into()).unwrap(), expected.into());
    }
}
