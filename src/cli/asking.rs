//! Asks the admin API of a running gateway.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::config::pem;
use crate::config::spec::Protocol;
use crate::tls::client::{self, ClientTlsError, SystemRoots};

/// What is shown to an admin API that asks who it is, and whom it trusts.
#[derive(Args, Clone, Debug, Default)]
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
    /// What `Authorization` says.
    fn token(&self) -> anyhow::Result<Option<HeaderValue>> {
        let text = match &self.token_file {
            Some(path) => fs::read_to_string(path)
                .with_context(|| format!("--token-file {} cannot be read", path.display()))?,
            None => std::env::var(TOKEN).unwrap_or_default(),
        };
        let mut tokens = text.lines().map(str::trim);
        let token = tokens.find(|line| !line.is_empty() && !line.starts_with('#'));
        // As in the gateway's own file it may stand behind a name and a role.
        let token = token.and_then(|line| line.split_ascii_whitespace().last());
        let token = match (token, &self.token_file) {
            (Some(token), _) => token,
            (None, Some(path)) => bail!("--token-file {} is empty", path.display()),
            (None, None) => return Ok(None),
        };
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .context("the token has characters that no token may have")?;
        value.set_sensitive(true);
        Ok(Some(value))
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

/// An admin API, and what is shown to it.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    authority: Authority,
    /// `None` = its URL asks for no TLS.
    tls: Option<Arc<ClientConfig>>,
    token: Option<HeaderValue>,
}

/// The two ends of a connection's bytes.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Admin {
    /// The one at this URL. Files are read as they are now.
    ///
    /// # Errors
    /// When it is no URL of one, or a file cannot be used.
    pub(super) fn new(admin: &Uri, shown: &Credentials) -> anyhow::Result<Self> {
        let (authority, is_secured) = match (admin.authority(), admin.scheme_str()) {
            (Some(authority), Some("http")) => (authority.clone(), false),
            (Some(authority), Some("https")) => (authority.clone(), true),
            _ => bail!("--admin {admin} is not a URL, as in http://127.0.0.1:9900"),
        };
        let tls = is_secured.then(|| shown.tls()).transpose()?;
        Ok(Self { authority, tls, token: shown.token()? })
    }

    /// Opens a connection to it.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn connect(&self) -> anyhow::Result<Box<dyn Wire>> {
        let port = self.authority.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let host = self.authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port)).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let secured = client::secure(stream, tls, (None, host)).await;
        Ok(Box::new(secured.map_err(explained)?))
    }

    /// A `GET` of this path with its query.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn request(&self, path: &str) -> anyhow::Result<Request<Empty<Bytes>>> {
        let mut request = Request::get(path).header(HOST, self.authority.as_str());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        Ok(request.body(Empty::new())?)
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
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
    send(admin, (Method::GET, path), shown, limit)
}

/// As [`get`], with another method.
///
/// # Errors
/// As [`get`].
pub(super) fn send(
    admin: &Uri,
    (method, path): (Method, &str),
    shown: &Credentials,
    limit: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let admin = Admin::new(admin, shown)?;
    let mut request = admin.request(path)?.map(|_| Full::default());
    *request.method_mut() = method;
    ask_within(&admin, request, limit)
}

/// As [`get`], of a `POST` with this JSON.
///
/// # Errors
/// As [`get`].
pub(super) fn post(
    admin: &Uri,
    (path, body): (&str, &serde_json::Value),
    shown: &Credentials,
    limit: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let admin = Admin::new(admin, shown)?;
    let mut request = admin.request(path)?.map(|_| Full::from(body.to_string()));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ask_within(&admin, request, limit)
}

fn ask_within(
    admin: &Admin,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async { timeout(limit, ask(admin, request)).await })
        .map_err(|_| anyhow::anyhow!("no answer within {limit:?}"))
        .and_then(|done| done)
        .with_context(|| format!("the admin API at {admin} cannot be asked"))
}

async fn ask(admin: &Admin, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TokioIo::new(admin.connect().await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body =
            Limited::new(body, MAX_ANSWER).collect().await.map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok((head.status, body.to_bytes()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        ended = connection => match ended {
            // The answer may have come with the end.
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
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

/// What a refusal says of itself.
pub(super) fn detail(body: &Bytes) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    problem.get("detail").and_then(|detail| detail.as_str()).unwrap_or_default().to_owned()
}

/// Holds the token where no file does.
const TOKEN: &str = "TENANTRY_ADMIN_TOKEN";

/// 64 MiB: more routes than a tenant has.
const MAX_ANSWER: usize = 64 << 20;
