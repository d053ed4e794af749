//! Sockets that a service manager has opened and passed (`LISTEN_FDS`, see `sd_listen_fds(3)`).

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::Socket;

/// The sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<(SocketAddr, Socket)>,
}

/// Why the passed sockets cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassedError {
    /// It is a file, a datagram socket or anything else.
    #[error(
        "socket {number} of those that the service manager passes is none to accept TCP \
         connections with ({source})"
    )]
    Unusable {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Nothing would ever be answered there.
    #[error(
        "the service manager passes a socket for {address}, where nothing is configured to listen"
    )]
    Unwanted {
        /// Its address.
        address: SocketAddr,
    },
    /// The surplus would take connections that no worker accepts.
    #[error(
        "the service manager passes {passed} sockets for {address} and there are {workers} workers"
    )]
    TooMany {
        /// Their address.
        address: SocketAddr,
        /// How many were passed.
        passed: usize,
        /// How many can be used.
        workers: usize,
    },
    /// The system gives no more files.
    #[error("the passed socket for {address} cannot be shared by the workers: {source}")]
    Share {
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl PassedError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unusable { .. } => {
                "the socket unit may have ListenStream= lines with an address and a port only, and \
                 Accept=no"
            }
            Self::Unwanted { .. } => {
                "write the same address into `listeners` (or `admin`) of gateway.toml and into \
                 ListenStream= of the socket unit (ListenStream=80 alone means [::]:80)"
            }
            Self::TooMany { .. } => "pass one, or at most one for each worker",
            Self::Share { .. } => {
                "raise the limit of open files (LimitNOFILE= of the service, ulimit -n)"
            }
        }
    }
}

impl Passed {
    /// What this process was passed. Call it before there is a second thread, once: it takes the
    /// variables out of the environment, so that no child believes that they are for it.
    ///
    /// # Errors
    /// When one of them is no socket that listens for TCP.
    pub fn take() -> Result<Self, PassedError> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for place in 0..passed.len() {
            let unusable = |source| PassedError::Unusable { number: place + 1, source };
            if let Some(listener) = passed.take_tcp_listener(place).map_err(unusable)? {
                sockets.push(listening(listener).map_err(unusable)?);
            }
        }
        Ok(Self { sockets })
    }

    /// Takes the sockets whose address is `address`: for each worker one; empty where none was
    /// passed. One that was passed alone is shared by all of them.
    ///
    /// # Errors
    /// When there are more of them than workers, or the system has no more files.
    pub fn workers(
        &mut self,
        address: SocketAddr,
        workers: usize,
    ) -> Result<Vec<Socket>, PassedError> {
        let given: Vec<Socket> =
            self.sockets.extract_if(.., |(at, _)| *at == address).map(|(_, it)| it).collect();
        let (passed, turns) = (given.len(), given.iter().cycle());
        if passed > workers {
            return Err(PassedError::TooMany { address, passed, workers });
        }
        let shared = turns.take(if passed == 0 { 0 } else { workers }).map(Socket::try_clone);
        shared.collect::<io::Result<_>>().map_err(|source| PassedError::Share { address, source })
    }

    /// Takes the one socket whose address is `address`; `None` where none was passed.
    ///
    /// # Errors
    /// When there are several.
    pub fn alone(&mut self, address: SocketAddr) -> Result<Option<TcpListener>, PassedError> {
        Ok(self.workers(address, 1)?.pop().map(TcpListener::from))
    }

    /// Sees to it that all were taken.
    ///
    /// # Errors
    /// When one is left over.
    pub fn end(self) -> Result<(), PassedError> {
        self.sockets
            .first()
            .map_or(Ok(()), |(address, _)| Err(PassedError::Unwanted { address: *address }))
    }
}

/// The socket with its address, made ready for a worker.
fn listening(listener: TcpListener) -> io::Result<(SocketAddr, Socket)> {
    let address = listener.local_addr()?;
    let socket = Socket::from(listener);
    if !socket.is_listener()? {
        return Err(io::Error::other("it does not listen"));
    }
    socket.set_nonblocking(true)?;
    Ok((address, socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(count: usize) -> (Passed, Vec<SocketAddr>) {
        let sockets: Vec<(SocketAddr, Socket)> = (0..count)
            .map(|_| listening(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap())
            .collect();
        let addresses = sockets.iter().map(|(address, _)| *address).collect();
        (Passed { sockets }, addresses)
    }

    #[test]
    fn one_socket_is_shared_by_all_workers() {
        let (mut passed, addresses) = passed(1);

        let workers = passed.workers(addresses[0], 3).unwrap();

        assert_eq!(workers.len(), 3);
        for socket in &workers {
            assert_eq!(socket.local_addr().unwrap().as_socket(), Some(addresses[0]));
        }
        assert!(passed.workers(addresses[0], 3).unwrap().is_empty(), "it was taken");
        passed.end().unwrap();
    }

    #[test]
    fn several_sockets_of_one_address_are_dealt_to_the_workers() {
        let (mut passed, addresses) = passed(2);
        // As SO_REUSEPORT has it; what counts here is the address that they are known by.
        passed.sockets[1].0 = addresses[0];

        let workers = passed.workers(addresses[0], 3).unwrap();

        let behind: Vec<_> =
            workers.iter().map(|it| it.local_addr().unwrap().as_socket().unwrap()).collect();
        assert_eq!(behind, [addresses[0], addresses[1], addresses[0]]);
    }

    #[test]
    fn more_sockets_of_one_address_than_workers_are_refused() {
        let (mut passed, addresses) = passed(2);
        passed.sockets[1].0 = addresses[0];

        let error = passed.alone(addresses[0]).unwrap_err().to_string();

        assert!(error.contains("passes 2 sockets") && error.contains("1 workers"), "{error}");
    }

    #[test]
    fn a_socket_that_nobody_wants_is_named() {
        let (mut passed, addresses) = passed(2);
        passed.alone(addresses[0]).unwrap().unwrap();

        let error = passed.end().unwrap_err().to_string();

        assert!(error.contains(&addresses[1].to_string()), "{error}");
    }

    #[test]
    fn a_connection_is_no_socket_to_accept_with() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        let refused = listening(TcpListener::from(Socket::from(stream)));

        assert!(refused.unwrap_err().to_string().contains("does not listen"));
    }
}
