//! The sockets that clients connect to: one per worker and listener, on the same address, so that
//! the kernel spreads new connections over the workers. A Unix socket is one that all workers share.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::base::listening::Listening;
use crate::base::socket::is_out_of_files;
use crate::config::spec::{AdminSpec, FileMode, ListenerSpec};
use crate::config::{Place, Problems};
use crate::model::address::{Address, overlap};

use super::passed::{Passed, PassedError};
use super::unix::{self, SocketFile, UnixBindError};

/// Bound sockets. The addresses are taken, and nobody can connect before [`Sockets::listen`].
#[derive(Debug)]
pub struct Sockets {
    /// The address of each listener; where port 0 was asked for, with the port that was taken.
    pub addresses: Vec<Address>,
    /// The files of Unix sockets.
    pub files: Vec<SocketFile>,
    by_worker: Vec<Vec<Bound>>,
    /// Where each address is written.
    places: Vec<Place>,
}

/// One socket of one worker.
#[derive(Debug)]
enum Bound {
    /// The worker's own, which listens later.
    Net(Socket, SocketAddr),
    /// All workers have the same, which listens already.
    Unix(UnixListener),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
enum BindError {
    /// Somebody else has it.
    #[error("cannot listen on {address}: the address is in use")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// Ports below 1,024 need a right.
    #[error("cannot listen on {address}: permission denied")]
    Forbidden {
        /// The address.
        address: SocketAddr,
    },
    /// The address is no address of this machine.
    #[error("cannot listen on {address}: this machine has no such address")]
    NotHere {
        /// The address.
        address: SocketAddr,
    },
    /// A Unix socket.
    #[error(transparent)]
    Unix(#[from] UnixBindError),
    /// The service manager passed something else than is needed.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    /// Says what `source` means for `address`.
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::Forbidden { address },
            io::ErrorKind::AddrNotAvailable => Self::NotHere { address },
            _ => Self::Other { address, source },
        }
    }

    /// What to do about it.
    fn hint(&self) -> String {
        match self {
            Self::InUse { address } => format!(
                "stop the program that listens there (`ss -ltnp 'sport = :{}'` names it) or choose \
                 another port",
                address.port()
            ),
            Self::Forbidden { .. } => "choose a port from 1024 on, or grant the capability \
                                       CAP_NET_BIND_SERVICE (AmbientCapabilities= of the service)"
                .to_owned(),
            Self::NotHere { .. } => {
                "write one of those that `ip address` lists, or \"0.0.0.0\" for all of them"
                    .to_owned()
            }
            Self::Unix(error) => error.hint().to_owned(),
            Self::Passed(error) => error.hint().to_owned(),
            Self::Other { source, .. } if is_out_of_files(source) => {
                "raise the limit of open files (LimitNOFILE= of the service, ulimit -n)".to_owned()
            }
            Self::Other { address, .. } if address.is_ipv6() => {
                "where the machine has no IPv6, write an address of IPv4, as in \"0.0.0.0:8080\""
                    .to_owned()
            }
            Self::Other { .. } => "choose another address".to_owned(),
        }
    }

    /// The same, told where the address is written.
    fn at(&self, place: &Place) -> Problems {
        Problems::from(place.problem(self.to_string(), self.hint()))
    }
}

/// Takes the address of each listener once per worker: a socket that was passed, or one of its own.
/// `beside` are those that this gateway has open already.
///
/// # Errors
/// All addresses that cannot be taken, another gateway's being among them; none is taken then.
pub fn bind(
    wanted: &[&ListenerSpec],
    beside: &[Address],
    workers: usize,
    passed: &mut Passed,
) -> Result<Sockets, Problems> {
    let others: Vec<&Address> = wanted.iter().map(|spec| &spec.address).chain(beside).collect();
    let by_worker = (0..workers).map(|_| Vec::new()).collect();
    let places = wanted.iter().map(|spec| spec.place.clone()).collect();
    let mut sockets = Sockets { addresses: Vec::new(), files: Vec::new(), by_worker, places };
    let mut problems: Option<Problems> = None;
    for spec in wanted {
        let taken = match &spec.address {
            Address::Net(address) => {
                let is_ours = beside.iter().filter_map(Address::net).any(|o| overlap(o, *address));
                sockets.reach(*address, &others, is_ours, passed)
            }
            Address::Unix(path) => sockets.share(path, spec.mode),
        };
        if let Err(error) = taken {
            let new = error.at(&spec.place);
            match &mut problems {
                Some(all) => all.extend(new),
                none => *none = Some(new),
            }
        }
    }
    problems.map_or(Ok(sockets), Err)
}

impl Sockets {
    /// Opens the listeners: for each worker one socket per address, in the order of the addresses.
    ///
    /// # Errors
    /// When somebody else has taken an address meanwhile.
    pub fn listen(self) -> Result<Vec<Vec<Listening>>, Problems> {
        let listen = |(bound, place): (Bound, &Place)| match bound {
            Bound::Net(socket, address) => {
                let listener = socket.listen(BACKLOG).map(|()| Listening::Net(socket.into()));
                listener.map_err(|source| BindError::new(address, source).at(place))
            }
            Bound::Unix(listener) => Ok(Listening::Unix(listener)),
        };
        let by_worker = self.by_worker.into_iter();
        by_worker.map(|own| own.into_iter().zip(&self.places).map(listen).collect()).collect()
    }

    /// Takes an address: by what was passed for it, or by sockets of its own. `others` are all that
    /// there are to be, `is_ours` tells that one of them is open already and overlaps it.
    fn reach(
        &mut self,
        address: SocketAddr,
        others: &[&Address],
        is_ours: bool,
        passed: &mut Passed,
    ) -> Result<(), BindError> {
        let given = passed.workers(address, self.by_worker.len())?;
        if !given.is_empty() {
            return self.take(address, given);
        }
        let all = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), address.port());
        let alone = !others.iter().any(|other| other.net() == Some(all));
        let families = if alone { Families::Both } else { Families::Own };
        // Where a socket of ours listens, the look for somebody else's would find it.
        if !is_ours {
            claim(address, families).map_err(|error| BindError::new(address, error))?;
        }
        self.bind(address, families)
    }

    fn bind(&mut self, wanted: SocketAddr, families: Families) -> Result<(), BindError> {
        let fail = |source| BindError::new(wanted, source);
        let mut address = wanted;
        for sockets in &mut self.by_worker {
            let (socket, taken) = shared(address, families).map_err(fail)?;
            address = taken;
            sockets.push(Bound::Net(socket, taken));
        }
        self.addresses.push(address.into());
        Ok(())
    }

    /// Uses sockets that were passed.
    fn take(&mut self, address: SocketAddr, given: Vec<Socket>) -> Result<(), BindError> {
        for (sockets, socket) in self.by_worker.iter_mut().zip(given) {
            let lowered = socket.set_tcp_notsent_lowat(UNSENT);
            lowered.map_err(|source| BindError::new(address, source))?;
            sockets.push(Bound::Net(socket, address));
        }
        self.addresses.push(address.into());
        Ok(())
    }

    /// The kernel does not spread the connections of a path over several sockets, so that all workers
    /// accept from one.
    fn share(&mut self, path: &Arc<Path>, mode: FileMode) -> Result<(), BindError> {
        let (listener, file) = unix::listen(path, mode, BACKLOG)?;
        for sockets in &mut self.by_worker {
            let own = listener.try_clone().map_err(|error| UnixBindError::new(path, error))?;
            sockets.push(Bound::Unix(own));
        }
        self.files.push(file);
        self.addresses.push(Address::Unix(Arc::clone(path)));
        Ok(())
    }
}

/// Listens on the admin API's address with one socket that shares it with nobody: one that was
/// passed, or an own.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen_alone(admin: &AdminSpec, passed: &mut Passed) -> Result<TcpListener, Problems> {
    alone(admin.address, passed).map_err(|error| error.at(&admin.place))
}

fn alone(address: SocketAddr, passed: &mut Passed) -> Result<TcpListener, BindError> {
    if let Some(listener) = passed.alone(address)? {
        return Ok(listener);
    }
    let fail = |source| BindError::new(address, source);
    let socket = open(address, Families::Both).map_err(fail)?;
    socket.bind(&address.into()).map_err(fail)?;
    socket.listen(BACKLOG).map_err(fail)?;
    Ok(socket.into())
}

/// Whether a socket on `[::]` takes IPv4 as well. It does unless the same port is configured for
/// `0.0.0.0`, which would else be in use already.
#[derive(Clone, Copy)]
enum Families {
    Both,
    Own,
}

/// `SO_REUSEPORT` would let a second gateway of the same user share the port without a word, and
/// each would get half of the connections. A socket without it finds that out.
fn claim(address: SocketAddr, families: Families) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = open(address, families)?;
    socket.bind(&address.into())
}

fn shared(address: SocketAddr, families: Families) -> io::Result<(Socket, SocketAddr)> {
    let socket = open(address, families)?;
    socket.set_reuse_port(true)?;
    // What is accepted inherits it.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    let taken = socket.local_addr()?.as_socket();
    Ok((socket, taken.unwrap_or(address)))
}

fn open(address: SocketAddr, families: Families) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(matches!(families, Families::Own))?;
    }
    // Connections of a gateway that has just ended linger; they must not hold up the next one.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Connections that may wait to be accepted: a burst must not be refused while a worker is busy
/// for a moment. The kernel caps it at `net.core.somaxconn`, 4,096 by default.
const BACKLOG: i32 = 4096;

/// 128 KiB wait unsent in a client's socket at most: without it the system keeps 2.4 MiB for each
/// client that does not read, and a thousand of those bring the machine to the end of its memory for
/// sockets. What is sent and not acknowledged is not meant, so that long ways are filled as before.
const UNSENT: u32 = 128 << 10;

#[cfg(test)]
mod tests {
    use crate::config::{Files, check_gateway};

    use super::*;

    fn any_port() -> Address {
        ([127, 0, 0, 1], 0).into()
    }

    fn bind(addresses: &[Address], workers: usize) -> Result<Sockets, Problems> {
        let entries = addresses.iter().map(|at| format!("[[listeners]]\naddress = \"{at}\"\n"));
        let text = format!("admin.address = \"off\"\n{}", entries.collect::<String>());
        let spec = check_gateway(&Files::of_text("gateway.toml", &text)).unwrap();
        let wanted: Vec<_> = spec.listeners.iter().collect();
        super::bind(&wanted, &[], workers, &mut Passed::default())
    }

    fn net(listening: &Listening) -> &TcpListener {
        match listening {
            Listening::Net(listener) => listener,
            Listening::Unix(_) => panic!("it is a Unix socket"),
        }
    }

    #[test]
    fn what_is_accepted_keeps_little_unsent() {
        let sockets = bind(&[any_port()], 1).unwrap();
        let address = sockets.addresses[0].net().unwrap();
        let listeners = sockets.listen().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();

        // The listener does not block; the connection is there once `connect` has returned.
        let accepted = Socket::from(net(&listeners[0][0]).accept().unwrap().0);

        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), UNSENT);
    }

    #[test]
    fn all_workers_share_the_port_that_the_first_one_took() {
        let sockets = bind(&[any_port()], 3).unwrap();
        let address = sockets.addresses[0].net().unwrap();

        let listeners = sockets.listen().unwrap();

        assert_ne!(address.port(), 0);
        for own in listeners {
            assert_eq!(net(&own[0]).local_addr().unwrap(), address);
        }
    }

    #[test]
    fn a_second_gateway_on_the_same_port_is_told_so() {
        let first = bind(&[any_port()], 2).unwrap();
        let address = first.addresses[0].clone();
        let _listening = first.listen().unwrap();

        let error = bind(std::slice::from_ref(&address), 2).unwrap_err();

        let text = error.to_string();
        let told = format!(
            "gateway.toml:3:11: listeners[0].address: cannot listen on {address}: the address is in \
             use\n    hint: stop the program that listens there"
        );
        assert!(text.starts_with(&told), "{text}");
    }

    #[test]
    fn all_addresses_that_cannot_be_had_are_told_and_none_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let [address, wanted] = [&taken, &free].map(|it| it.local_addr().unwrap());
        drop(free);
        let all = [address.into(), wanted.into(), ([192, 0, 2, 1], 1).into()];

        let problems = bind(&all, 2).unwrap_err();

        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [3, 7], "{problems}");
        assert!(problems.iter().all(|problem| problem.hint.is_some()), "{problems}");
        TcpListener::bind(wanted).expect("it is free");
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let error = bind(&[([192, 0, 2, 1], 0).into()], 1).unwrap_err();

        assert!(error.to_string().contains("this machine has no such address"), "{error}");
    }

    #[test]
    fn both_families_can_have_the_same_port() {
        let first = bind(&["0.0.0.0:0".parse().unwrap()], 1).unwrap();
        let port = first.addresses[0].net().unwrap().port();
        drop(first);
        let both = ["0.0.0.0", "[::]"].map(|host| format!("{host}:{port}").parse().unwrap());

        // A machine without IPv6 cannot tell; any other must take both.
        match bind(&both, 2).and_then(Sockets::listen) {
            Ok(listeners) => assert_eq!(listeners.len(), 2),
            Err(error) => assert!(!error.to_string().contains("in use"), "{error}"),
        }
    }
}
