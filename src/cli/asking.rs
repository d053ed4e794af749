//! Asks the admin API of a running gateway.

use std::time::Duration;

use anyhow::{Context, bail};
use http::header::HOST;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// What the admin API at `admin` answers to `GET path`, within `limit`.
///
/// # Errors
/// When there is no answer, or the URL is none.
pub(super) fn get(admin: &Uri, path: &str, limit: Duration) -> anyhow::Result<(StatusCode, Bytes)> {
    if admin.authority().is_none() || admin.scheme_str() != Some("http") {
        bail!("--admin {admin} is not a URL, as in http://127.0.0.1:9900");
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async { timeout(limit, exchange(admin, path)).await })
        .map_err(|_| anyhow::anyhow!("no answer within {limit:?}"))
        .and_then(|done| done)
        .with_context(|| format!("the admin API at {admin} cannot be asked"))
}

async fn exchange(admin: &Uri, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let authority = admin.authority().context("the URL has no host")?;
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((authority.host().trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, authority.as_str()).body(Empty::<Bytes>::new())?;
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

/// 64 MiB: more routes than a tenant has.
const MAX_ANSWER: usize = 64 << 20;
