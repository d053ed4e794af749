//! The PROXY protocol, versions 1 and 2, as it is written: whom a connection to an endpoint is for.
//! The listeners' side reads the same signs.

use std::net::IpAddr;

use crate::config::spec::ProxyVersion;
use crate::model::ends::Ends;

/// For whom a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The gateway itself: a health check.
    Itself,
    /// A client whose address is not known.
    Unknown,
    /// A client.
    Client(Ends),
}

/// The bytes of a header.
pub fn header(version: ProxyVersion, whom: Whom) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => text(whom).into_bytes(),
        ProxyVersion::V2 => binary(whom),
    }
}

fn text(whom: Whom) -> String {
    let Whom::Client(ends) = whom else { return "PROXY UNKNOWN\r\n".to_owned() };
    let Ends { source, destination } = ends.in_one_family();
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}

fn binary(whom: Whom) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    let Whom::Client(ends) = whom else {
        let command = if whom == Whom::Itself { LOCAL } else { PROXY };
        bytes.extend([command, UNSPECIFIED, 0, 0]);
        return bytes;
    };
    let Ends { source, destination } = ends.in_one_family();
    let (family, size) = if source.is_ipv4() { (TCP_OVER_IPV4, 12) } else { (TCP_OVER_IPV6, 36) };
    bytes.extend([PROXY, family, 0, size]);
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes
}

/// What a header of version 2 begins with.
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Family and transport of version 2: none.
pub const UNSPECIFIED: u8 = 0x00;
/// TCP over IPv4.
pub const TCP_OVER_IPV4: u8 = 0x11;
/// TCP over IPv6.
pub const TCP_OVER_IPV6: u8 = 0x21;
/// A stream over a Unix socket.
pub const UNIX_STREAM: u8 = 0x31;
/// Version 2 and the command that says that nobody is passed on.
const LOCAL: u8 = 0x20;
/// Version 2 and the command that says for whom.
const PROXY: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> Whom {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Whom::Client(Ends { source, destination })
    }

    fn line(whom: Whom) -> String {
        String::from_utf8(header(ProxyVersion::V1, whom)).unwrap()
    }

    #[test]
    fn a_line_of_version_1_names_both_ends_in_one_family() {
        let v4 = ends("192.0.2.1:4711", "10.0.0.1:80");
        assert_eq!(line(v4), "PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n");
        let v6 = ends("[2001:db8::1]:0", "[::1]:80");
        assert_eq!(line(v6), "PROXY TCP6 2001:db8::1 ::1 0 80\r\n");
        let clothed = ends("[::ffff:192.0.2.1]:1", "10.0.0.1:80");
        assert_eq!(line(clothed), "PROXY TCP4 192.0.2.1 10.0.0.1 1 80\r\n");
        let mixed = ends("[2001:db8::1]:1", "10.0.0.1:80");
        assert_eq!(line(mixed), "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 1 80\r\n");
        assert_eq!(line(Whom::Itself), "PROXY UNKNOWN\r\n");
        assert_eq!(line(Whom::Unknown), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn a_header_of_version_2_names_both_ends() {
        let bytes = |whom| header(ProxyVersion::V2, whom).split_off(SIGNATURE.len());
        let v4 = bytes(ends("192.0.2.1:4711", "10.0.0.1:80"));
        assert_eq!(v4, [0x21, 0x11, 0, 12, 192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
        let v6 = bytes(ends("[2001:db8::1]:1", "[::1]:80"));
        assert_eq!((&v6[..4], v6.len()), (&[0x21, 0x21, 0, 36][..], 40));
        assert_eq!(bytes(Whom::Itself), [0x20, 0, 0, 0]);
        assert_eq!(bytes(Whom::Unknown), [0x21, 0, 0, 0]);
    }
}
