//! Asks the admin API of a running gateway.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::pem;
use crate::config::spec::Protocol;
use crate::tls::client::{self, ClientTlsError, SystemRoots};

/// What is shown to an admin API that asks who it is, and whom it trusts.
#[derive(Args, Debug, Default)]
pub(super) struct Credentials {
    /// A file with the admin API's token; without it, TENANTRY_ADMIN_TOKEN holds the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authorities that the certificate of an https URL comes from; else the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A client certificate to show
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl Credentials {
    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else {
            return Ok(std::env::var(TOKEN).ok().filter(|token| !token.is_empty()));
        };
        let text = fs::read_to_string(path)
            .with_context(|| format!("--token-file {} cannot be read", path.display()))?;
        let mut tokens = text.lines().map(str::trim);
        let token = tokens.find(|line| !line.is_empty() && !line.starts_with('#'));
        let token = token.with_context(|| format!("--token-file {} is empty", path.display()))?;
        Ok(Some(token.to_owned()))
    }

    fn tls(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let chain = |path: &Path| {
            pem::read_certificates(path)
                .map_err(|fault| anyhow::anyhow!("{} {fault}", path.display()))
        };
        let trusted = self.ca.as_deref().map(chain).transpose()?;
        let own = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let secret = pem::read_key(key)
                    .map_err(|fault| anyhow::anyhow!("{} {fault}", key.display()))?;
                Some((chain(cert)?, secret))
            }
            _ => None,
        };
        client::trusting(trusted.as_deref(), own, (Protocol::H1, &SystemRoots::default())).map_err(
            |error| match error {
                ClientTlsError::NoSystemAuthorities => {
                    anyhow::anyhow!(
                        "{error}; name a file of them by --ca, or install ca-certificates"
                    )
                }
                error => error.into(),
            },
        )
    }
}

/// What the admin API at `admin` answers to `GET path`, within `limit`.
///
/// # Errors
/// When there is no answer, or the URL is none.
pub(super) fn get(
    admin: &Uri,
    path: &str,
    shown: &Credentials,
    limit: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let is_url = matches!(admin.scheme_str(), Some("http" | "https"));
    if admin.authority().is_none() || !is_url {
        bail!("--admin {admin} is not a URL, as in http://127.0.0.1:9900");
    }
    let token = shown.token()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async { timeout(limit, ask(admin, path, token.as_deref(), shown)).await })
        .map_err(|_| anyhow::anyhow!("no answer within {limit:?}"))
        .and_then(|done| done)
        .with_context(|| format!("the admin API at {admin} cannot be asked"))
}

async fn ask(
    admin: &Uri,
    path: &str,
    token: Option<&str>,
    shown: &Credentials,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let authority = admin.authority().context("the URL has no host")?;
    let is_secured = admin.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if is_secured { 443 } else { 80 });
    let host = authority.host().trim_matches(['[', ']']);
    let mut request = Request::get(path).header(HOST, authority.as_str());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let stream = TcpStream::connect((host, port)).await?;
    if !is_secured {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(host.to_owned())?;
    let connector = TlsConnector::from(shown.tls()?);
    exchange(connector.connect(name, stream).await.map_err(explained)?, request).await
}

/// What to do about the usual reason.
fn explained(error: io::Error) -> anyhow::Error {
    let source = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let is_doubt = matches!(source, Some(rustls::Error::InvalidCertificate(_)));
    let error = anyhow::Error::from(error);
    if is_doubt {
        error.context("its certificate is not trusted; name its authority by --ca")
    } else {
        error
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body =
            Limited::new(body, MAX_ANSWER).collect().await.map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok((head.status, body.to_bytes()))
    };
    tokio::select! {
        done = exchange => done,
        ended = connection => Err(ended.err().map_or_else(
            || anyhow::anyhow!("the connection was closed"),
            anyhow::Error::from,
        )),
    }
}

/// What a refusal says of itself.
pub(super) fn detail(body: &Bytes) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    problem.get("detail").and_then(|detail| detail.as_str()).unwrap_or_default().to_owned()
}

/// Holds the token where no file does.
const TOKEN: &str = "TENANTRY_ADMIN_TOKEN";

/// 64 MiB: more routes than a tenant has.
const MAX_ANSWER: usize = 64 << 20;
