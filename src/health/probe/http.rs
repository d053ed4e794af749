//! Works when a `GET` is answered with an expected status and, where one is asked for, a text.

use std::fmt::Display;
use std::future::Future;
use std::pin::{Pin, pin};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::config::spec::{Protocol, ProxyVersion};
use crate::model::address::Address;

use super::{Probe, ProbeError, ProbeTls, tcp};

#[derive(Debug)]
pub(super) struct Http {
    pub(super) path: String,
    pub(super) host: Option<HeaderValue>,
    pub(super) status: Vec<(u16, u16)>,
    pub(super) body: Option<String>,
    pub(super) protocol: Protocol,
    pub(super) tls: Option<ProbeTls>,
    pub(super) proxy: Option<ProxyVersion>,
}

impl Probe for Http {
    fn check(
        &self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + '_>> {
        Box::pin(self.ask(address))
    }
}

impl Http {
    async fn ask(&self, address: Address) -> Result<(), ProbeError> {
        let address = &address;
        let stream = tcp::connect(address, self.proxy).await?;
        let Some(tls) = &self.tls else { return self.speak(stream, address).await };
        let own = || address.ip().map(ServerName::from);
        let name = tls.name.clone().or_else(own).ok_or_else(|| {
            ProbeError::Tls("a Unix socket has no name; tls needs a server-name".to_owned())
        })?;
        let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| ProbeError::Tls(error.to_string()))?;
        self.speak(stream, address).await
    }

    async fn speak<S>(&self, stream: S, address: &Address) -> Result<(), ProbeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match self.protocol {
            Protocol::H1 => self.speak_h1(stream, address).await,
            Protocol::H2 => self.speak_h2(stream, address).await,
        }
    }

    async fn speak_h1<S>(&self, stream: S, address: &Address) -> Result<(), ProbeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::from(self.path()?);
        let headers = request.headers_mut();
        headers.insert(HOST, self.host(address)?);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));

        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            self.judge_status(response.status().as_u16())?;
            let mut body = response.into_body();
            let mut search = Search::new(self.body.as_deref());
            while !search.is_over() {
                let Some(frame) = body.frame().await else { break };
                if let Some(data) = frame.map_err(broken)?.data_ref() {
                    search.take(data);
                }
            }
            search.result()
        };
        drive(exchange, connection).await
    }

    async fn speak_h2<S>(&self, stream: S, address: &Address) -> Result<(), ProbeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut request = Request::new(());
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = self.full_uri(address)?;
        request.headers_mut().insert(USER_AGENT, AGENT);

        let (sender, connection) = h2::client::handshake(stream).await.map_err(broken)?;
        let exchange = async {
            let mut sender = sender.ready().await.map_err(broken)?;
            let (response, _) = sender.send_request(request, true).map_err(broken)?;
            let response = response.await.map_err(broken)?;
            self.judge_status(response.status().as_u16())?;
            let mut body = response.into_body();
            let mut search = Search::new(self.body.as_deref());
            while !search.is_over() {
                let Some(data) = body.data().await else { break };
                let data = data.map_err(broken)?;
                search.take(&data);
                body.flow_control().release_capacity(data.len()).map_err(broken)?;
            }
            search.result()
        };
        drive(exchange, connection).await
    }

    fn path(&self) -> Result<PathAndQuery, ProbeError> {
        self.path.parse().map_err(|error| ProbeError::Request(format!("{}: {error}", self.path)))
    }

    fn host(&self, address: &Address) -> Result<HeaderValue, ProbeError> {
        match &self.host {
            Some(host) => Ok(host.clone()),
            None => match address {
                Address::Net(address) => HeaderValue::try_from(address.to_string())
                    .map_err(|error| ProbeError::Request(error.to_string())),
                Address::Unix(_) => Ok(HeaderValue::from_static("localhost")), // a path is no host
            },
        }
    }

    fn full_uri(&self, address: &Address) -> Result<Uri, ProbeError> {
        let scheme = if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        Uri::builder()
            .scheme(scheme)
            .authority(self.host(address)?.as_bytes())
            .path_and_query(self.path()?)
            .build()
            .map_err(|error| ProbeError::Request(error.to_string()))
    }

    fn judge_status(&self, status: u16) -> Result<(), ProbeError> {
        if self.status.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
            return Ok(());
        }
        let ranges = self.status.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        Err(ProbeError::Status { status, expected: ranges.collect::<Vec<_>>().join(", ") })
    }
}

/// Runs an exchange and the connection under it in this one task. The connection may end before
/// the exchange has read what came over it.
async fn drive(
    exchange: impl Future<Output = Result<(), ProbeError>>,
    connection: impl Future,
) -> Result<(), ProbeError> {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => return result,
        _ = connection => {}
    }
    exchange.await
}

fn broken(error: impl Display) -> ProbeError {
    ProbeError::Answer(error.to_string())
}

/// Looks for a text in the first part of a body.
struct Search<'a> {
    text: Option<&'a str>,
    read: Vec<u8>,
}

impl<'a> Search<'a> {
    fn new(text: Option<&'a str>) -> Self {
        Self { text: text.filter(|text| !text.is_empty()), read: Vec::new() }
    }

    fn take(&mut self, data: &[u8]) {
        let room = SEARCHED - self.read.len();
        self.read.extend_from_slice(&data[..data.len().min(room)]);
    }

    fn is_over(&self) -> bool {
        self.result().is_ok() || self.read.len() == SEARCHED
    }

    fn result(&self) -> Result<(), ProbeError> {
        let Some(text) = self.text else { return Ok(()) };
        if self.read.windows(text.len()).any(|part| part == text.as_bytes()) {
            return Ok(());
        }
        Err(ProbeError::Body(text.to_owned()))
    }
}

const AGENT: HeaderValue = HeaderValue::from_static("tenantry-health");

/// 64 KiB: a page that says how it does says so near its top.
const SEARCHED: usize = 64 << 10;
