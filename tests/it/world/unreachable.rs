//! Addresses where nobody answers.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// An address that refuses connections for as long as this lives: nobody else can take it.
pub(crate) struct Refusing {
    /// The address.
    pub(crate) address: SocketAddr,
    _socket: Socket,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let (socket, address) = bound();
        Self { address, _socket: socket }
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
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    let address = socket.local_addr().expect("the address").as_socket().expect("an address");
    (socket, address)
}

fn stream() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket")
}
