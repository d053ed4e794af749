//! Both ends of a connection, as whoever passes it on tells them.

use std::net::{IpAddr, SocketAddr};

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who connected; port 0 where it is not known.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
}

impl Ends {
    /// The same in one family: IPv4 where both are of it, in whatever clothes, else IPv6.
    pub fn in_one_family(self) -> Self {
        let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let wide = |at: SocketAddr| match at.ip() {
            IpAddr::V4(address) => SocketAddr::new(address.to_ipv6_mapped().into(), at.port()),
            IpAddr::V6(_) => at,
        };
        let (source, destination) = (plain(self.source), plain(self.destination));
        if source.is_ipv4() == destination.is_ipv4() {
            return Self { source, destination };
        }
        Self { source: wide(source), destination: wide(destination) }
    }
}
