//! Addresses where nobody answers.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// An address that refuses connections for as long as this lives: nobody else is given it. Who names it may listen
/// there, as an origin does that is to be gone later; it refuses again once that is closed.
pub(crate) struct Refusing {
    /// The address.
    pub(crate) address: SocketAddr,
    socket: Socket,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let (socket, address) = bound();
        Self { address, socket }
    }

    /// Listens there from now on, with no moment in between at which anybody could take the address.
    pub(crate) fn listen(self) -> TcpListener {
        self.socket.listen(1024).expect("listen");
        self.socket.set_nonblocking(true).expect("do not block");
        TcpListener::from_std(self.socket.into()).expect("a listener")
    }
}

/// An address where connections neither open nor fail: its queue is full and nobody accepts.
pub(crate) struct Silent {
    /// The address.
    pub(crate) address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Silent {
    pub(crate) fn new() -> Self {
        let (socket, address) = bound();
        socket.listen(0).expect("listen");
        let mut sockets = vec![socket];
        // Loopback connects within the call while there is room, so the queue is full after these.
        for _ in 0..4 {
            let client = stream();
            client.set_nonblocking(true).expect("do not block");
            drop(client.connect(&address.into()));
            sockets.push(client);
        }
        Self { address, _sockets: sockets }
    }
}

fn bound() -> (Socket, SocketAddr) {
    let socket = stream();
    // Beside it somebody may listen who names its address; who asks for any port is given another one.
    socket.set_reuse_address(true).expect("share the address");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    let address = socket.local_addr().expect("the address").as_socket().expect("an address");
    (socket, address)
}

fn stream() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket")
}
