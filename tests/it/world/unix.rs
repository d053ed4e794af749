//! Unix sockets: one that leads to an origin, and clients of one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::client::Client;
use super::within;

/// A Unix socket that leads to an origin. Dropped, it closes, and its file is gone.
pub(crate) struct Relay {
    path: PathBuf,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
    _folder: TempDir,
}

impl Relay {
    /// Leads to `origin`.
    pub(crate) fn to(origin: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.sock");
        let listener = UnixListener::bind(&path).expect("bind a Unix socket");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut relayed = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                relayed.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(origin).await {
                        // Either side may leave as it likes.
                        drop(copy_bidirectional(&mut near, &mut far).await);
                    }
                });
            }
        });
        Self { path, connections, _tasks: tasks, _folder: folder }
    }

    /// As an endpoint is written.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A client of a Unix socket.
pub(crate) async fn connect(path: &Path) -> Client {
    Client::over(stream(path).await)
}

/// A connection to a Unix socket.
pub(crate) async fn stream(path: &Path) -> UnixStream {
    within("a connection", UnixStream::connect(path)).await.expect("connect")
}
