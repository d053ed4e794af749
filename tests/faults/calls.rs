//! A client of gRPC: one connection for all its calls, as its libraries have it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderName, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::spawn_local;
use tokio::time::timeout;

pub(crate) struct Caller {
    address: SocketAddr,
    /// It leaves when an answer takes longer.
    patience: Duration,
    connection: OnceCell<SendRequest<Bytes>>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, patience: Duration) -> Self {
        Self { address, patience, connection: OnceCell::new() }
    }

    /// Whether a call was served by a sound endpoint. One that may be repeated says so.
    pub(crate) async fn call(&self, repeatable: bool) -> bool {
        let served = timeout(self.patience, self.exchange(repeatable)).await;
        matches!(served, Ok(Ok(true)))
    }

    async fn exchange(&self, repeatable: bool) -> Result<bool, h2::Error> {
        let connection = self.connection.get_or_try_init(|| self.connect()).await?;
        let mut call = Request::post("http://shop.test/shop.Items/Get")
            .header("content-type", CONTENT_TYPE)
            .header("te", "trailers")
            .header("x-tenant-id", "acme");
        if repeatable {
            call = call.header("idempotency-key", "\"1\"");
        }
        let call = call.body(()).expect("a call");
        let (answer, mut sending) = connection.clone().ready().await?.send_request(call, false)?;
        sending.send_data(Bytes::from_static(MESSAGE), true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        let is_ok = trailers.get(GRPC_STATUS).is_some_and(|status| status == OK);
        Ok(head.status == StatusCode::OK && is_ok && bytes == SOUND_MESSAGE)
    }

    async fn connect(&self) -> Result<SendRequest<Bytes>, h2::Error> {
        let stream = TcpStream::connect(self.address).await.map_err(gone)?;
        stream.set_nodelay(true).map_err(gone)?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        spawn_local(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// Nobody asks why a call was not served.
fn gone(_: io::Error) -> h2::Error {
    h2::Reason::CONNECT_ERROR.into()
}

pub(crate) const CONTENT_TYPE: &str = "application/grpc";
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const OK: &str = "0";
pub(crate) const UNAVAILABLE: &str = "14";
/// A message without a field.
const MESSAGE: &[u8] = &[0; 5];
/// One of five bytes.
pub(crate) const SOUND_MESSAGE: &[u8] = b"\0\0\0\0\x05sound";
