//! Sockets that accept connections: at an IP address or at the path of a Unix socket.

use std::io;
use std::net::{SocketAddr, TcpListener as NetListener};
use std::os::unix::net::{UnixListener, UnixStream};

use tokio::net::{TcpListener, TcpStream};

use super::socket::stream_of;

/// A socket that accepts and does not block.
#[derive(Debug)]
pub enum Listening {
    /// At an IP address.
    Net(NetListener),
    /// At a path.
    Unix(UnixListener),
}

/// The same, known to a runtime.
#[derive(Debug)]
pub enum Accepting {
    /// At an IP address.
    Net(TcpListener),
    /// At a path.
    Unix(tokio::net::UnixListener),
}

/// A connection, and from where; who comes over a Unix socket has no address.
pub type Accepted = (TcpStream, Option<SocketAddr>);

impl Listening {
    /// Makes the socket known to this thread's runtime.
    ///
    /// # Errors
    /// When the runtime does not take it.
    pub fn start(self) -> io::Result<Accepting> {
        match self {
            Self::Net(listener) => TcpListener::from_std(listener).map(Accepting::Net),
            Self::Unix(listener) => {
                tokio::net::UnixListener::from_std(listener).map(Accepting::Unix)
            }
        }
    }

    /// Accepts what waits in the kernel's queue.
    ///
    /// # Errors
    /// When nothing waits there, or it cannot be accepted.
    pub fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Net(listener) => {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((TcpStream::from_std(stream)?, Some(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                unnamed(stream)
            }
        }
    }
}

impl Accepting {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// When it cannot be accepted.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Net(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((stream, Some(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                unnamed(stream.into_std()?)
            }
        }
    }

    /// The socket without its runtime.
    ///
    /// # Errors
    /// When the runtime does not give it back.
    pub fn stop(self) -> io::Result<Listening> {
        match self {
            Self::Net(listener) => listener.into_std().map(Listening::Net),
            Self::Unix(listener) => listener.into_std().map(Listening::Unix),
        }
    }
}

fn unnamed(stream: UnixStream) -> io::Result<Accepted> {
    Ok((stream_of(stream.into())?, None))
}
