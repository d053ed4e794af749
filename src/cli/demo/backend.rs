//! A small web server that stands for a tenant's application in the demo. It runs in a process of
//! its own, so that it can be killed, and ends by itself when its parent does.

use std::convert::Infallible;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::Context;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};

use crate::base::tasks::Tasks;

use super::answer;

/// What `demo-backend` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct BackendArgs {
    /// The name that it answers with
    #[arg(long)]
    pub name: String,
    /// The port that it would like; it takes a free one where that is in use
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}

/// Serves until standard input, where it is a pipe, is closed. The first line on standard output
/// is the address.
///
/// # Errors
/// When no port can be had.
pub fn run(args: &BackendArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &BackendArgs) -> anyhow::Result<()> {
    let listener = listen(args.port).await.context("no port for a demo backend")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let name: Arc<str> = args.name.as_str().into();
    let mut connections = Tasks::new("demo backend");
    let orphaned = parent_gone();
    tokio::pin!(orphaned);
    loop {
        tokio::select! {
            () = &mut orphaned => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let name = Arc::clone(&name);
                    connections.spawn(|_stop| connection(stream, name));
                }
                // Out of file descriptors, or the client is gone: neither is a reason to end.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
        }
    }
}

/// Listens on the wanted port, or on a free one where it is taken.
async fn listen(wanted: u16) -> std::io::Result<TcpListener> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(at(wanted)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(at(0)).await,
    }
}

/// Resolves when the other end of standard input is closed; never where it is no pipe.
async fn parent_gone() {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let Ok(mut stdin) = stdin.and_then(pipe::Receiver::from_owned_fd) else {
        return std::future::pending().await;
    };
    let mut ignored = [0; 64];
    while matches!(stdin.read(&mut ignored).await, Ok(read) if read > 0) {}
}

async fn connection(stream: TcpStream, name: Arc<str>) {
    // Without it, small answers would wait for the client's acknowledgement.
    drop(stream.set_nodelay(true));
    let service = service_fn(|request| reply(Arc::clone(&name), request));
    // A client that leaves in the middle is no fault of the demo.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn reply(
    name: Arc<str>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(answer::to(&name, request).await)
}
