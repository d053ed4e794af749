//! Where somebody listens: an address with a port, or a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// Where somebody listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// At an IP address.
    Net(SocketAddr),
    /// At a Unix socket, by its absolute path.
    Unix(Arc<Path>),
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Neither an IP address with a port nor `unix:` and a path.
    #[error("it is neither an IP address with a port nor unix: and a path")]
    Syntax,
    /// The path of a Unix socket does not start at the root.
    #[error("the path of a Unix socket must be absolute")]
    Relative,
    /// No system takes so long a path of a socket.
    #[error("the path of a Unix socket is longer than 107 bytes")]
    TooLong,
}

impl Address {
    /// The address and port, unless it is a Unix socket.
    pub fn net(&self) -> Option<SocketAddr> {
        match self {
            Self::Net(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The IP address, unless it is a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.net().map(|address| address.ip())
    }
}

impl FromStr for Address {
    type Err = AddressFault;

    /// Reads `10.0.0.1:8080`, `[::1]:8080` or `unix:/run/app.sock`.
    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().map(Self::Net).map_err(|_| AddressFault::Syntax);
        };
        match () {
            () if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') => {
                Err(AddressFault::Relative)
            }
            () if path.len() > LONGEST_PATH => Err(AddressFault::TooLong),
            () => Ok(Self::Unix(Path::new(path).into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Net(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Address {
    fn from(address: (I, u16)) -> Self {
        Self::Net(address.into())
    }
}

/// What the address of a Unix socket begins with.
pub const UNIX: &str = "unix:";
/// Of a path; the system has 108 bytes with the zero at its end.
const LONGEST_PATH: usize = 107;

/// Whether connections to one of two addresses can be such to the other: the port is the same, and
/// one is for all addresses of a family, `[::]` being for both.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |all: SocketAddr, of: SocketAddr| {
        all.ip().is_unspecified() && (all.is_ipv6() || of.is_ipv4())
    };
    let is_same = one.ip() == other.ip();
    one.port() == other.port()
        && one.port() != 0
        && (is_same || takes(one, other) || takes(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in ["10.0.0.1:8080", "[::1]:80", "unix:/run/app.sock", "unix:/a b/\u{e9}"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses_overlap_where_one_is_for_all() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (one, other, is) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "0.0.0.0:81", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            assert_eq!(overlap(at(one), at(other)), is, "{one} {other}");
            assert_eq!(overlap(at(other), at(one)), is, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        let fault = |text: &str| text.parse::<Address>().unwrap_err();
        for text in ["", "10.0.0.1", "app:80", "/run/app.sock", "UNIX:/run/app.sock"] {
            assert_eq!(fault(text), AddressFault::Syntax, "{text}");
        }
        for text in ["unix:", "unix:app.sock", "unix:./app.sock", "unix:@app", "unix:/", "unix:/a/"]
        {
            assert_eq!(fault(text), AddressFault::Relative, "{text}");
        }
        let path = |length: usize| format!("unix:/{}", "x".repeat(length - 1));
        assert!(path(107).parse::<Address>().is_ok());
        assert_eq!(fault(&path(108)), AddressFault::TooLong);
    }
}
