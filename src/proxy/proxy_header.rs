//! The PROXY protocol, versions 1 and 2: a header ahead of everything else in which a load balancer
//! says for whom it connects. Believed only from whom the listener trusts; takes no byte more than
//! the header from the stream.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::model::ends::Ends;
use crate::upstream::proxy_header::{
    SIGNATURE, TCP_OVER_IPV4, TCP_OVER_IPV6, UNIX_STREAM, UNSPECIFIED,
};

/// What is known of a header whose first bytes are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// All that is there belongs to it, and it goes on.
    Begun,
    /// It is whole.
    Whole {
        /// The client, and where it connected to; `None` = whoever is at the other end of the
        /// socket.
        client: Option<Ends>,
        /// Its bytes.
        length: usize,
    },
}

/// Why bytes are no header that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// They begin like none.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// It does not end where it must.
    #[error("the PROXY protocol header is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// It breaks the rules of its version.
    #[error("the PROXY protocol header is malformed: {0}")]
    Malformed(&'static str),
}

/// Reads a header from the first bytes of a connection, however few of them are there.
///
/// # Errors
/// As soon as they cannot become a header.
pub fn parse(bytes: &[u8]) -> Result<Header, HeaderFault> {
    if begins(bytes, SIGNATURE) {
        return if bytes.len() < FIXED { Ok(Header::Begun) } else { binary(bytes) };
    }
    if begins(bytes, WORD) { text(bytes) } else { Err(HeaderFault::Missing) }
}

/// Whether `bytes` begin like `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let seen = bytes.len().min(start.len());
    bytes[..seen] == start[..seen]
}

/// Version 1: one line of text.
fn text(bytes: &[u8]) -> Result<Header, HeaderFault> {
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        let full = line.len() == LONGEST_LINE;
        return if full {
            Err(HeaderFault::TooLong { limit: LONGEST_LINE })
        } else {
            Ok(Header::Begun)
        };
    };
    let whole = |client| Header::Whole { client, length: end + 1 };
    let malformed = HeaderFault::Malformed;
    let line =
        line[..end].strip_suffix(b"\r").ok_or(malformed("its line does not end in CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| malformed("it is not plain text"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(whole(None)); // what follows means nothing
    }
    let mut address = || {
        let word = words.next().unwrap_or_default();
        let address = match family {
            "TCP4" => word.parse().map(IpAddr::V4).ok(),
            "TCP6" => word.parse().map(IpAddr::V6).ok(),
            _ => return Err(malformed("its family is none of TCP4, TCP6 and UNKNOWN")),
        };
        address.ok_or(malformed("an address is none of its family"))
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || {
        let word = words.next().unwrap_or_default();
        let is_plain = word.bytes().all(|byte| byte.is_ascii_digit())
            && (word == "0" || !word.starts_with('0'));
        let port = if is_plain { word.parse::<u16>().ok() } else { None };
        port.ok_or(malformed("a port is no number from 0 to 65535"))
    };
    let ends = Ends {
        source: SocketAddr::new(source, port()?),
        destination: SocketAddr::new(destination, port()?),
    };
    match words.next() {
        None => Ok(whole(Some(ends))),
        Some(_) => Err(malformed("something follows the ports")),
    }
}

/// Version 2, of which the fixed part is there.
fn binary(bytes: &[u8]) -> Result<Header, HeaderFault> {
    let malformed = HeaderFault::Malformed;
    let (versioned, family) = (bytes[SIGNATURE.len()], bytes[SIGNATURE.len() + 1]);
    if versioned >> 4 != 2 {
        return Err(malformed("its version is not 2"));
    }
    let is_local = match versioned & 0xf {
        0 => true,
        1 => false,
        _ => return Err(malformed("its command is neither LOCAL nor PROXY")),
    };
    let rest = usize::from(u16::from_be_bytes([bytes[FIXED - 2], bytes[FIXED - 1]]));
    let length = FIXED + rest;
    if length > LONGEST {
        return Err(HeaderFault::TooLong { limit: LONGEST });
    }
    let addresses = match family {
        _ if is_local => 0,
        UNSPECIFIED => 0,
        TCP_OVER_IPV4 => 12,
        TCP_OVER_IPV6 => 36,
        UNIX_STREAM => 216,
        _ => return Err(malformed("its family is none of TCP over IPv4 or IPv6, UNIX and none")),
    };
    if rest < addresses {
        return Err(malformed("it is too short for its addresses"));
    }
    let Some(block) = bytes.get(FIXED..length) else { return Ok(Header::Begun) };
    let client = match family {
        _ if is_local => None,
        TCP_OVER_IPV4 => ends(block, |bits: [u8; 4]| Ipv4Addr::from(bits).into()),
        TCP_OVER_IPV6 => ends(block, |bits: [u8; 16]| Ipv6Addr::from(bits).into()),
        _ => None,
    };
    Ok(Header::Whole { client, length })
}

/// The two addresses of a block, with their ports, which stand behind both of them.
fn ends<const SIZE: usize>(block: &[u8], address: impl Fn([u8; SIZE]) -> IpAddr) -> Option<Ends> {
    let (source, rest) = block.split_first_chunk::<SIZE>()?;
    let (destination, rest) = rest.split_first_chunk::<SIZE>()?;
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let (to, _additions) = rest.split_first_chunk::<2>()?;
    Some(Ends {
        source: SocketAddr::new(address(*source), u16::from_be_bytes(*from)),
        destination: SocketAddr::new(address(*destination), u16::from_be_bytes(*to)),
    })
}

/// Takes the header from a connection, and not a byte of what follows it. Gives the client that it
/// names.
///
/// # Errors
/// When there is none, it is not valid, or the connection ends before it does.
pub(super) async fn receive(stream: &mut TcpStream) -> io::Result<Option<Ends>> {
    let mut bytes = vec![0; FIRST_LOOK];
    let mut taken = 0;
    loop {
        // Looked at first, since what comes behind the header may be of TLS.
        let seen = taken + stream.peek(&mut bytes[taken..]).await?;
        if seen == taken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = parse(&bytes[..seen]).map_err(io::Error::other)?;
        let end = match header {
            Header::Begun => seen,
            Header::Whole { length, .. } => length,
        };
        stream.read_exact(&mut bytes[taken..end]).await?;
        taken = end;
        if let Header::Whole { client, .. } = header {
            return Ok(client);
        }
        if taken == bytes.len() {
            bytes.resize(LONGEST, 0); // the parser lets none be longer
        }
    }
}

const WORD: &[u8] = b"PROXY ";
/// Of version 2: the signature, version and command, family, length.
const FIXED: usize = 16;
/// Of version 1, line end included; the protocol says so.
const LONGEST_LINE: usize = 107;
/// 4 KiB: addresses and what balancers add to them; a header with more is an attack.
const LONGEST: usize = 4 << 10;
/// 256 bytes: nearly every header comes whole in the first look.
const FIRST_LOOK: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    /// A whole header for a client that connected to there.
    fn whole(ends: Option<(&str, &str)>, length: usize) -> Result<Header, HeaderFault> {
        let at = |text: &str| text.parse().unwrap();
        let client = ends.map(|(from, to)| Ends { source: at(from), destination: at(to) });
        Ok(Header::Whole { client, length })
    }

    const IPV4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

    #[test]
    fn a_line_of_version_1_names_the_client() {
        let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\r\n";
        assert_eq!(
            parse(&[&line[..], b"GET /"].concat()),
            whole(Some(("192.0.2.1:8080", "10.0.0.1:80")), line.len())
        );
        let line = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n";
        assert_eq!(parse(line), whole(Some(("[2001:db8::1]:1", "[::1]:65535")), line.len()));
        for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ::1 x y z\r\n"] {
            assert_eq!(parse(line.as_bytes()), whole(None, line.len()));
        }
    }

    #[test]
    fn a_line_that_breaks_a_rule_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080 80 \r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 8080 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +80 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 080 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1  80\r\n",
            "PROXY TCP4 ::1 ::1 80 80\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 80 80\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 80 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1\r 80 80\r\n",
            "PROXY \u{e9}\r\n",
            "PROXY \r\n",
        ] {
            assert!(matches!(parse(line.as_bytes()), Err(HeaderFault::Malformed(_))), "{line:?}");
        }
        assert_eq!(parse(b"PROXY\tTCP4"), Err(HeaderFault::Missing));
        let long = [WORD, &[b'x'; 200]].concat();
        assert_eq!(parse(&long), Err(HeaderFault::TooLong { limit: 107 }));
        assert_eq!(parse(&long[..106]), Ok(Header::Begun));
    }

    #[test]
    fn a_header_of_version_2_names_the_client_and_what_it_adds_is_skipped() {
        assert_eq!(
            parse(&v2(0x21, 0x11, IPV4)),
            whole(Some(("192.0.2.1:8080", "10.0.0.1:80")), 28)
        );
        let more = [IPV4, &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(
            parse(&v2(0x21, 0x11, &more)),
            whole(Some(("192.0.2.1:8080", "10.0.0.1:80")), 35)
        );
        let mut ipv6 = [0; 36];
        (ipv6[0], ipv6[15], ipv6[33]) = (0xfd, 7, 9);
        assert_eq!(parse(&v2(0x21, 0x21, &ipv6)), whole(Some(("[fd00::7]:9", "[::]:0")), 52));
    }

    #[test]
    fn who_speaks_for_itself_or_for_no_address_stays_the_client() {
        for (command, family, block) in [
            (0x20, 0x11, IPV4),
            (0x20, 0x00, b""),
            (0x20, 0xff, b"xyz"),
            (0x21, 0x00, b""),
            (0x21, 0x31, &[b'/'; 216]),
        ] {
            assert_eq!(parse(&v2(command, family, block)), whole(None, 16 + block.len()));
        }
    }

    #[test]
    fn a_header_of_version_2_that_breaks_a_rule_is_refused_as_soon_as_that_shows() {
        let cases = [(0x11, 0x11), (0x31, 0x11), (0x22, 0x11), (0x21, 0x12), (0x21, 0x41)];
        for (command, family) in cases {
            let bytes = v2(command, family, IPV4);
            assert!(matches!(parse(&bytes[..16]), Err(HeaderFault::Malformed(_))), "{command:x}");
        }
        let short = v2(0x21, 0x11, &IPV4[..11]);
        assert!(matches!(parse(&short), Err(HeaderFault::Malformed(_))));
        let long = v2(0x21, 0x11, &[0; 4081]);
        assert_eq!(parse(&long[..16]), Err(HeaderFault::TooLong { limit: 4096 }));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(HeaderFault::Missing));
        assert_eq!(parse(b"\x16\x03\x01"), Err(HeaderFault::Missing));
    }

    /// Headers, and what is nearly one.
    fn near(kind: u8, command: u8, family: u8, mut bytes: Vec<u8>) -> Vec<u8> {
        match kind {
            0 => bytes,
            1 => [WORD, &bytes].concat(),
            2 => [b"PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\r\n", &bytes[..]].concat(),
            3 => [
                &v2(0x20 | command & 1, [0x11, 0x21, 0x31, 0][usize::from(family & 3)], &bytes)[..],
                b"rest",
            ]
            .concat(),
            _ => {
                bytes.splice(0..0, v2(command, family, &[]));
                bytes
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_and_a_split_anywhere_changes_nothing(
            kind in 0..5u8,
            command in any::<u8>(),
            family in any::<u8>(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = near(kind, command, family, bytes);
            let last = parse(&bytes);
            for end in 0..bytes.len() {
                match parse(&bytes[..end]) {
                    Ok(Header::Begun) => {}
                    // Once it is known it does not change with what follows.
                    known => assert_eq!(known, last),
                }
            }
            if let Ok(Header::Whole { length, .. }) = last {
                assert!(length <= bytes.len());
                assert_eq!(parse(&bytes[..length - 1]), Ok(Header::Begun));
            }
        }
    }
}
