//! Opens connections, to addresses and to Unix sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::TcpStream;

use crate::base::socket::stream_of;
use crate::model::address::Address;

/// Opens a connection. The caller bounds its time.
///
/// # Errors
/// When nobody listens there, or the system gives no socket.
pub async fn connect(to: &Address) -> io::Result<TcpStream> {
    match to {
        Address::Net(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }
        Address::Unix(path) => stream_of(connect_unix(path).await?),
    }
}

async fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let address = SockAddr::unix(path)?;
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address) {
            // The listener's queue is full, and no system tells when it no longer is.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(AGAIN).await;
            }
            connected => return connected.map(|()| socket.into()),
        }
    }
}

/// 2 ms: a queue of a listener that works is emptied in less.
const AGAIN: Duration = Duration::from_millis(2);
