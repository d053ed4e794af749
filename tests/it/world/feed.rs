//! An endpoint whose answers the test itself sends, part by part.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::h2_origin::Speaks;
use super::within;

/// Says at once that it has events, and then what the test tells it to.
pub(crate) struct Feed {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    answers: mpsc::UnboundedReceiver<Feeding>,
    _tasks: JoinSet<()>,
}

/// What feeds one answer. It is closed once the gateway no longer wants to hear.
pub(crate) type Feeding = mpsc::Sender<Bytes>;

impl Feed {
    pub(crate) async fn start(speaks: Speaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("the origin's address");
        let (tell, answers) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, speaks, tell.clone()));
            }
        });
        Self { address, answers, _tasks: tasks }
    }

    /// The next answer that is asked for.
    pub(crate) async fn next(&mut self) -> Feeding {
        within("a request", self.answers.recv()).await.expect("the endpoint is there")
    }
}

async fn serve(stream: TcpStream, speaks: Speaks, tell: mpsc::UnboundedSender<Feeding>) {
    stream.set_nodelay(true).expect("set nodelay");
    let service = service_fn(move |_: Request<Incoming>| {
        let (sender, parts) = mpsc::channel(1);
        drop(tell.send(sender));
        let answer = Response::builder().header("content-type", "text/event-stream");
        std::future::ready(answer.body(Parts(parts)))
    });
    let io = TokioIo::new(stream);
    // How a connection ends is the gateway's business and the test's.
    match speaks {
        Speaks::H1 => drop(http1::Builder::new().serve_connection(io, service).await),
        Speaks::H2 => {
            drop(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await)
        }
    }
}

struct Parts(mpsc::Receiver<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
