//! Sends the question to an endpoint of the service's pool, and reads the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Uri, Version};

use crate::config::spec::{Protocol, TimeoutsSpec};
use crate::health::passive::{self, Attempt, Verdict as Health};
use crate::model::address::Address;
use crate::model::endpoint::Endpoint;
use crate::pool::Pool;
use crate::pool::balancer::PickKey;
use crate::proxy::attempt;
use crate::proxy::request_body::RequestBody;
use crate::proxy::worker::Worker;
use crate::resilience::deadline::Deadlines;
use crate::upstream::{Call, Connection, Fields, SendError};

use super::verdict::{Fault, Heard};

/// Asks until an endpoint answers, two of them at most: whoever waits has no time for more. The caller bounds
/// the time.
pub(super) async fn call(
    worker: &Worker,
    pool: &Pool,
    tenant: u32,
    mut asked: Parts,
) -> Result<Heard, Fault> {
    let (mut tried, mut last) = (Vec::new(), Fault::NoEndpoint);
    for _ in 0..ENDPOINTS {
        let Some(picked) = pool.pick(PickKey::default(), &tried) else { break };
        let endpoint = picked.endpoint();
        let answered = ask(worker, pool, endpoint, &mut asked).await;
        let verdict = match &answered {
            Ok(heard) if heard.status.is_server_error() => Health::Failure,
            Ok(_) => Health::Success,
            Err(_) => Health::Unreachable,
        };
        let now = tokio::time::Instant::now();
        let attempt = Attempt { verdict, tenant, now };
        passive::observe(&pool.members, endpoint, &pool.spec.eject, attempt);
        match answered {
            Ok(heard) if verdict == Health::Success => return Ok(heard),
            Ok(heard) => last = Fault::Status(heard.status),
            Err(fault) => last = fault,
        }
        tried.push(endpoint.id);
    }
    Err(last)
}

async fn ask(
    worker: &Worker,
    pool: &Pool,
    endpoint: &Arc<Endpoint>,
    asked: &mut Parts,
) -> Result<Heard, Fault> {
    address(asked, pool, endpoint);
    let timeouts = TimeoutsSpec::default();
    let deadlines = Deadlines::resolve(&timeouts, &pool.spec.timeouts);
    let to = attempt::destination(worker, pool, endpoint, (&deadlines, None));
    loop {
        let reused = worker.client.reuse(&to, Duration::MAX, worker.clock.recent());
        let mut connection = match reused {
            Some(connection) => connection,
            None => Box::pin(worker.client.open(&to)).await.map_err(silent)?,
        };
        let (added, interim) = (Fields::new(), |_| {});
        let call = Call { head: asked, added: &added, interim: &interim };
        match connection.send(call, RequestBody::Empty).await {
            Ok(answer) => {
                let (status, headers) = (answer.status(), answer.headers().clone());
                let body = read(worker, connection).await?;
                return Ok(Heard { status, headers, body });
            }
            // It was closed meanwhile: at last a new one is opened.
            Err(SendError::Unsent(_)) if connection.reused => {}
            Err(error) => return Err(silent(error)),
        }
    }
}

/// Says whom the question is for, as the pool's protocol has it.
fn address(asked: &mut Parts, pool: &Pool, endpoint: &Endpoint) {
    let host = match &endpoint.address {
        Address::Net(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(), // a path is no host
    };
    match pool.spec.protocol {
        Protocol::H1 => {
            asked.version = Version::HTTP_11;
            if let Ok(host) = HeaderValue::try_from(host) {
                asked.headers.insert(HOST, host);
            }
        }
        Protocol::H2 => {
            asked.version = Version::HTTP_2;
            let secure = pool.spec.tls.is_some();
            let mut parts = std::mem::take(&mut asked.uri).into_parts();
            parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
            parts.authority = Authority::try_from(host).ok();
            asked.uri = Uri::from_parts(parts).unwrap_or_default();
        }
    }
}

/// The body of an answer; nothing of one that is too large. The connection is kept where all was read.
async fn read(worker: &Worker, mut connection: Connection<RequestBody>) -> Result<Bytes, Fault> {
    let mut body = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|context| connection.poll_frame(context)).await {
        let frame = frame.map_err(silent)?;
        let Some(part) = frame.data_ref() else { continue };
        if body.len() + part.len() > LARGEST {
            return Ok(Bytes::new()); // and the connection ends
        }
        body.extend_from_slice(part);
    }
    worker.client.put_back(connection, worker.clock.recent());
    Ok(body.freeze())
}

fn silent(error: impl std::fmt::Display) -> Fault {
    Fault::Silent(error.to_string())
}

/// 2: the second where the first does not answer.
const ENDPOINTS: usize = 2;
/// 64 KiB: a page that says why.
const LARGEST: usize = 64 << 10;
