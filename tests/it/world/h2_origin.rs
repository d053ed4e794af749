//! An endpoint by hyper, for HTTP/2 (and HTTP/1.1 where the gateway must meet a common server).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::HeaderValue;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::client::Frames;
use super::eventually;
use super::message::Asked;
use super::wire::Stream;

type Handler = Arc<dyn Fn(&Asked) -> Response<Frames> + Send + Sync>;

/// What the origin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    H1,
    H2,
}

/// An endpoint that reads each request whole and answers it by a function.
pub(crate) struct H2Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    handler: Handler,
    asked: Mutex<Vec<Asked>>,
    connections: Mutex<usize>,
    /// The connection that answers nothing any more.
    dead: Mutex<Option<usize>>,
}

impl H2Origin {
    /// Answers every request with 200 and this body.
    pub(crate) async fn saying(body: &'static str) -> Self {
        Self::start(Speaks::H2, move |_| Response::new(Frames::sized(body))).await
    }

    /// Answers by this function.
    pub(crate) async fn start(
        speaks: Speaks,
        handler: impl Fn(&Asked) -> Response<Frames> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(speaks, None, Arc::new(handler)).await
    }

    /// As [`H2Origin::start`], with TLS.
    pub(crate) async fn start_tls(
        speaks: Speaks,
        tls: Arc<ServerConfig>,
        handler: impl Fn(&Asked) -> Response<Frames> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(speaks, Some(tls), Arc::new(handler)).await
    }

    async fn listen(speaks: Speaks, tls: Option<Arc<ServerConfig>>, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("the origin's address");
        let (asked, connections, dead) = Default::default();
        let shared = Arc::new(Shared { handler, asked, connections, dead });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared), speaks, tls));
        Self { address, shared, _tasks: tasks }
    }

    /// The requests that came whole.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has this connection, by its number from 0 on, answer nothing any more.
    pub(crate) fn silence(&self, connection: usize) {
        *self.shared.dead.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    /// The one request that has come.
    pub(crate) async fn only(&self) -> Asked {
        let some = |asked: &Vec<Asked>| !asked.is_empty();
        let mut asked = eventually("a request at the origin", || self.asked(), some).await;
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    speaks: Speaks,
    tls: Option<Arc<ServerConfig>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut count = shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
            *count += 1;
            *count - 1
        };
        stream.set_nodelay(true).expect("set nodelay");
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, shared, speaks, number).await,
                Some(tls) => {
                    if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                        serve(stream, shared, speaks, number).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl Stream + 'static, shared: Arc<Shared>, speaks: Speaks, number: usize) {
    let service = service_fn(move |request| answer(Arc::clone(&shared), number, request));
    let io = TokioIo::new(stream);
    // How a connection ends is the gateway's business and the test's.
    match speaks {
        Speaks::H1 => drop(http1::Builder::new().serve_connection(io, service).await),
        Speaks::H2 => {
            drop(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await)
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    connection: usize,
    request: Request<Incoming>,
) -> Result<Response<Frames>, hyper::Error> {
    let (head, body) = request.into_parts();
    let collected = body.collect().await?;
    let mut asked = Asked {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        trailers: collected.trailers().cloned().unwrap_or_default(),
        whole: true,
        connection,
        body: Vec::new(),
    };
    asked.body = collected.to_bytes().to_vec();
    if let Some(authority) = head.uri.authority() {
        let host = HeaderValue::try_from(authority.as_str()).expect("a host");
        asked.headers.append("host", host);
    }
    let answer = (shared.handler)(&asked);
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let dead = *shared.dead.lock().unwrap_or_else(PoisonError::into_inner);
    if dead == Some(connection) {
        std::future::pending::<()>().await;
    }
    Ok(answer)
}
