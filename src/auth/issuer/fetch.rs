//! Fetches the keys of an issuer, over a connection of its own each time: that happens a few times an hour.
//! Never follows a redirect: where keys come from is the operator's word alone.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::base::join::driven;
use crate::config::spec::{FetchSpec, Protocol};
use crate::model::jwk::{JwkError, KeySet};
use crate::tls::client::{self, SystemRoots};

use super::lifetime;

/// Keys as an issuer has just given them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The keys.
    pub set: KeySet,
    /// The places of those that cannot be used.
    pub unusable: Vec<usize>,
    /// How long it says that they are fresh.
    pub fresh: Option<Duration>,
}

/// Why no keys have come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchFault {
    /// There is no connection.
    #[error("no connection: {0}")]
    Unreachable(#[source] io::Error),
    /// There is no TLS, or the certificate is nobody's who is trusted.
    #[error("no TLS: {0}")]
    Tls(String),
    /// It broke off, or is no HTTP.
    #[error("no valid HTTP answer: {0}")]
    Broken(String),
    /// Not in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("status {0}")]
    Status(StatusCode),
    /// More than any set of keys.
    #[error("the answer is larger than {} KiB", LARGEST >> 10)]
    TooLarge,
    /// It is no set of keys that could be used.
    #[error("the answer {0}")]
    Invalid(#[from] JwkError),
}

impl FetchFault {
    /// The value of the `result` label. Never rename one.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Broken(_) => "broken",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Invalid(_) => "invalid",
        }
    }

    /// What to look at.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Status(status) if status.is_redirection() => {
                "redirects are not followed: write the address that it leads to into jwks-url"
            }
            Self::Status(_) | Self::Invalid(_) | Self::TooLarge => {
                "look at jwks-url: the issuer's /.well-known/openid-configuration has it as jwks_uri"
            }
            Self::Tls(_) => "look at what certificate is shown there, and at fetch.tls.ca",
            Self::Unreachable(_) | Self::Broken(_) | Self::Timeout(_) => {
                "look at jwks-url, and whether the issuer is up"
            }
        }
    }
}

/// Whom keys are fetched from.
#[derive(Clone, Debug)]
pub struct Fetcher {
    spec: Arc<FetchSpec>,
    /// How TLS is spoken, or why it cannot be.
    tls: Result<Option<Arc<ClientConfig>>, String>,
}

impl Fetcher {
    /// Reads the system's authorities where those are trusted, which takes milliseconds.
    pub fn new(spec: Arc<FetchSpec>) -> Self {
        let tls = spec.tls.as_ref();
        let tls = tls.map(|tls| client::build(tls, Protocol::H1, &SystemRoots::default()));
        Self { tls: tls.transpose().map_err(|error| error.to_string()), spec }
    }

    /// Fetches the keys of now.
    ///
    /// # Errors
    /// When they do not come in time, or are none.
    pub async fn fetch(&self) -> Result<Fetched, FetchFault> {
        self.in_time(self.ask()).await
    }

    async fn in_time(
        &self,
        asking: impl Future<Output = Result<Fetched, FetchFault>>,
    ) -> Result<Fetched, FetchFault> {
        let limit = self.spec.timeout;
        timeout(limit, asking).await.unwrap_or(Err(FetchFault::Timeout(limit)))
    }

    async fn ask(&self) -> Result<Fetched, FetchFault> {
        let FetchSpec { host, port, tls, .. } = &*self.spec;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(FetchFault::Unreachable)?;
        let config = self.tls.as_ref().map_err(|error| FetchFault::Tls(error.clone()))?;
        let Some(config) = config else { return self.speak(stream).await };
        let stream = client::secure(stream, config, (tls.as_ref(), host)).await;
        self.speak(stream.map_err(|error| FetchFault::Tls(error.to_string()))?).await
    }

    async fn speak<S>(&self, stream: S) -> Result<Fetched, FetchFault>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let request = Request::get(self.spec.path.as_str())
            .header(HOST, self.spec.authority.as_str())
            .header(ACCEPT, HeaderValue::from_static("application/json, application/jwk-set+json"))
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, HeaderValue::from_static("close"))
            .body(Empty::<Bytes>::new())
            .map_err(|error| FetchFault::Broken(error.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async { read(sender.send_request(request).await.map_err(broken)?).await };
        driven(exchange, connection).await
    }
}

async fn read(answer: Response<Incoming>) -> Result<Fetched, FetchFault> {
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK {
        return Err(FetchFault::Status(head.status));
    }
    let body = Limited::new(body, LARGEST).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => FetchFault::TooLarge,
        false => FetchFault::Broken(error.to_string()),
    })?;
    let (set, unusable) = KeySet::read_usable(&body.to_bytes())?;
    Ok(Fetched { set, unusable, fresh: lifetime::of(&head.headers) })
}

fn broken(error: hyper::Error) -> FetchFault {
    FetchFault::Broken(error.to_string())
}

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tenantry/", env!("CARGO_PKG_VERSION")));

/// 256 KiB: as many keys as a set may have, of the largest size and with their certificates.
const LARGEST: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, sleep};

    use super::*;

    const KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn fetcher() -> Fetcher {
        let seconds = Duration::from_secs;
        Fetcher::new(Arc::new(FetchSpec {
            host: "login.example".into(),
            port: 80,
            authority: "login.example".into(),
            path: "/keys?all=1".into(),
            tls: None,
            timeout: seconds(5),
            min_refresh: seconds(60),
            max_refresh: seconds(3600),
            stale: seconds(3600),
        }))
    }

    /// Reads a head, and answers it with these bytes.
    async fn answer(mut stream: DuplexStream, bytes: Vec<u8>) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        drop(stream.write_all(&bytes).await); // who has had enough hangs up
        String::from_utf8(head).unwrap()
    }

    async fn fetched(bytes: Vec<u8>) -> (Result<Fetched, FetchFault>, String) {
        let (ours, theirs) = duplex(64 << 10);
        let fetcher = fetcher();
        tokio::join!(fetcher.speak(ours), answer(theirs, bytes))
    }

    fn http(head: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {head}Content-Length: {}\r\n\r\n{body}", body.len()).into()
    }

    #[tokio::test]
    async fn a_set_of_keys_comes_with_its_time() {
        let body = format!("{{\"keys\":[{KEY}]}}");

        let (result, asked) = fetched(http("200 OK\r\nCache-Control: max-age=90\r\n", &body)).await;

        let Fetched { set, unusable, fresh } = result.unwrap();
        assert_eq!((set.keys().len(), unusable, fresh), (1, vec![], Some(Duration::from_secs(90))));
        assert!(
            asked.starts_with("GET /keys?all=1 HTTP/1.1\r\nhost: login.example\r\n"),
            "{asked}"
        );
        assert!(asked.contains("connection: close"), "{asked}");
    }

    #[tokio::test]
    async fn an_odd_key_among_others_is_left_out_and_told() {
        let odd = r#"{"kty":"RSA","kid":"new","n":"AQAB","e":"AQAB"}"#;
        let body = format!("{{\"keys\":[{odd},{KEY},{{}}]}}");

        let (result, _) = fetched(http("200 OK\r\n", &body)).await;

        let Fetched { set, unusable, .. } = result.unwrap();
        assert_eq!((set.keys().len(), unusable), (1, vec![0, 2]));
    }

    #[tokio::test]
    async fn whatever_else_comes_is_no_set_of_keys() {
        let keys = format!("{{\"keys\":[{KEY}]}}");
        let large = format!("{{\"keys\":[{KEY}],\"more\":\"{}\"}}", "x".repeat(LARGEST));
        for (bytes, reason) in [
            (http("302 Found\r\nLocation: http://169.254.169.254/\r\n", &keys), "status"),
            (http("500 No\r\n", &keys), "status"),
            (http("203 Changed\r\n", &keys), "status"),
            (http("200 OK\r\n", &large), "too_large"),
            (http("200 OK\r\n", "<html>"), "invalid"),
            (http("200 OK\r\n", "{\"keys\":[]}"), "invalid"),
            (http("200 OK\r\n", "{\"keys\":[{}]}"), "invalid"),
            (http("200 OK\r\n", &keys)[..100].to_vec(), "broken"),
            (b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(), "broken"),
            (Vec::new(), "broken"),
        ] {
            let (result, _) = fetched(bytes.clone()).await;
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(90)]).into_owned();
            assert_eq!(result.map_err(|fault| fault.reason()), Err(reason), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_says_nothing_or_never_ends_is_waited_for_no_longer_than_its_time() {
        let promise = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        for says in [&b""[..], &promise[..17], &promise[..]] {
            let ((ours, mut theirs), fetcher) = (duplex(64 << 10), fetcher());
            let (started, was_asked) = (Instant::now(), AtomicBool::new(false));
            let slow = async {
                while theirs.read_u8().await.unwrap() != b'\n' {}
                was_asked.store(true, Ordering::Relaxed);
                theirs.write_all(says).await.unwrap();
                while says.len() == promise.len() {
                    sleep(Duration::from_secs(1)).await;
                    theirs.write_all(b" ").await.unwrap();
                }
                pending().await
            };

            let result = tokio::select! {
                result = fetcher.in_time(fetcher.speak(ours)) => result,
                result = slow => result,
            };

            let text = String::from_utf8_lossy(says);
            assert_eq!(result.map_err(|fault| fault.reason()), Err("timeout"), "{text}");
            assert_eq!(started.elapsed(), Duration::from_secs(5), "{text}");
            assert!(was_asked.into_inner(), "{text}");
        }
    }
}
