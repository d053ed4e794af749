//! Works when a connection opens.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::base::socket::is_out_of_files;
use crate::config::spec::ProxyVersion;
use crate::model::address::Address;
use crate::upstream::dial;
use crate::upstream::proxy_header::{self, Whom};

use super::{Probe, ProbeError};

#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) proxy: Option<ProxyVersion>,
}

impl Probe for Tcp {
    fn check(
        &self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + '_>> {
        Box::pin(async move { connect(&address, self.proxy).await.map(drop) })
    }
}

/// Opens a connection, on the gateway's own behalf.
pub(super) async fn connect(
    address: &Address,
    proxy: Option<ProxyVersion>,
) -> Result<TcpStream, ProbeError> {
    let mut stream = dial::connect(address).await.map_err(|error| failed(&error))?;
    if let Some(version) = proxy {
        let header = proxy_header::header(version, Whom::Itself);
        let written = stream.write_all(&header).await;
        written.map_err(|error| ProbeError::Connect(error.to_string()))?;
    }
    Ok(stream)
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
}
