//! Works when a connection opens.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

use super::{Probe, ProbeError};

#[derive(Debug)]
pub(super) struct Tcp;

impl Probe for Tcp {
    fn check(
        &self,
        address: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + '_>> {
        Box::pin(async move { connect(address).await.map(drop) })
    }
}

pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, ProbeError> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => ProbeError::Refused,
        _ => ProbeError::Connect(error.to_string()),
    })
}
