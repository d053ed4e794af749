//! Works when a request is answered with an expected status and, where one is asked for, a text.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, USER_AGENT};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;

use crate::base::join::driven;
use crate::config::spec::{HttpProbeSpec, Protocol};
use crate::model::address::Address;

use super::asking::{AGENT, broken, fill, full_uri, host, http2};
use super::way::{Line, Way};
use super::{Probe, ProbeError};

#[derive(Debug)]
pub(super) struct Http {
    pub(super) spec: HttpProbeSpec,
    pub(super) way: Way,
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
        let to = self.way.to(&address)?;
        let line = self.way.open(&to).await?;
        match self.spec.protocol {
            Protocol::H1 => self.speak_h1(line, &to).await,
            Protocol::H2 => self.speak_h2(line, &to).await,
        }
    }

    async fn speak_h1(&self, line: Box<dyn Line>, to: &Address) -> Result<(), ProbeError> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::from(self.path()?);
        let host = host(self.spec.host.as_ref(), to)?;
        self.head(&mut request, [(HOST, host), (CONNECTION, HeaderValue::from_static("close"))]);

        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(line)).await.map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            self.judge_status(response.status().as_u16())?;
            let mut body = response.into_body();
            let mut search = Search::new(self.spec.body.as_deref());
            while !search.is_over() {
                let Some(frame) = body.frame().await else { break };
                if let Some(data) = frame.map_err(broken)?.data_ref() {
                    search.take(data);
                }
            }
            search.result()
        };
        driven(exchange, connection).await
    }

    async fn speak_h2(&self, line: Box<dyn Line>, to: &Address) -> Result<(), ProbeError> {
        let mut request = Request::new(());
        *request.version_mut() = http::Version::HTTP_2;
        let host = host(self.spec.host.as_ref(), to)?;
        *request.uri_mut() = full_uri(self.way.tls.is_some(), &host, self.path()?)?;
        self.head(&mut request, []);

        let (sender, connection) = http2(line).await?;
        let exchange = async {
            let mut sender = sender.ready().await.map_err(broken)?;
            let (response, _) = sender.send_request(request, true).map_err(broken)?;
            let response = response.await.map_err(broken)?;
            self.judge_status(response.status().as_u16())?;
            let mut body = response.into_body();
            let mut search = Search::new(self.spec.body.as_deref());
            while !search.is_over() {
                let Some(data) = body.data().await else { break };
                let data = data.map_err(broken)?;
                search.take(&data);
                body.flow_control().release_capacity(data.len()).map_err(broken)?;
            }
            search.result()
        };
        driven(exchange, connection).await
    }

    /// Method and fields, with those of one protocol alone.
    fn head<B, const N: usize>(
        &self,
        request: &mut Request<B>,
        own: [(http::HeaderName, HeaderValue); N],
    ) {
        let method = &self.spec.method;
        *request.method_mut() = method.clone();
        // RFC 9110 §8.6: of these, an empty body is told.
        let tells = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        let length = tells.then(|| (CONTENT_LENGTH, HeaderValue::from_static("0")));
        let own = [(USER_AGENT, AGENT)].into_iter().chain(own).chain(length);
        fill(request.headers_mut(), own, &self.spec.headers);
    }

    fn path(&self) -> Result<PathAndQuery, ProbeError> {
        let path = &self.spec.path;
        path.parse().map_err(|error| ProbeError::Request(format!("{path}: {error}")))
    }

    fn judge_status(&self, status: u16) -> Result<(), ProbeError> {
        let passing = &self.spec.status;
        if passing.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
            return Ok(());
        }
        let ranges = passing.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        Err(ProbeError::Status { status, expected: ranges.collect::<Vec<_>>().join(", ") })
    }
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

/// 64 KiB: a page that says how it does says so near its top.
const SEARCHED: usize = 64 << 10;
