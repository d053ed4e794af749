//! Networks: sets of addresses that begin with the same bits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses of one family that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// The network as it is written properly, where its address has bits set behind those that
    /// count: somebody may have meant the one address.
    pub fn tidied(&self) -> Option<String> {
        let first: IpAddr = match self.address {
            IpAddr::V4(own) => {
                let rest = u32::MAX.checked_shr(self.bits).unwrap_or(0);
                Ipv4Addr::from_bits(own.to_bits() & !rest).into()
            }
            IpAddr::V6(own) => {
                let rest = u128::MAX.checked_shr(self.bits).unwrap_or(0);
                Ipv6Addr::from_bits(own.to_bits() & !rest).into()
            }
        };
        (first != self.address).then(|| format!("{first}/{}", self.bits))
    }

    /// Whether an address is in it. An IPv4 address in the clothes of IPv6 counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// A number of whom an address belongs to: one who has a /64 of IPv6 has all of its addresses.
pub fn owner(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

/// Whose connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Those of a network.
    Network(Network),
    /// Those over Unix sockets, which have no address.
    Unix,
}

impl Peers {
    /// Whether a peer is among them; one without an address is on a Unix socket.
    pub fn contain(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Network(network), Some(address)) => network.contains(address),
            (Self::Unix, None) => true,
            _ => false,
        }
    }
}

impl FromStr for Peers {
    type Err = ();

    /// Reads `unix`, or a network.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "unix" { Ok(Self::Unix) } else { text.parse().map(Self::Network) }
    }
}

impl FromStr for Network {
    type Err = ();

    /// Reads `10.0.0.0/8`, or one address.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| ())?
            }
            Some(_) => return Err(()),
        };
        if bits > most {
            return Err(());
        }
        // An IPv4 address in the clothes of IPv6 counts as what it is, here too.
        match address.to_canonical() {
            IpAddr::V4(own) if address.is_ipv6() && bits >= 96 => {
                Ok(Self { address: own.into(), bits: bits - 96 })
            }
            _ => Ok(Self { address, bits }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_that_begin_with_the_same_bits_are_in() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("0.0.0.0/0", "192.0.2.1") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "192.0.2.1"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!contains("2001:db8::/33", "2001:db8:8000::1"));
        assert!(contains("192.0.2.0/24", "::ffff:192.0.2.7"));
        assert!(contains("::ffff:192.0.2.0/120", "192.0.2.7"));
        assert!(contains("::ffff:192.0.2.7", "192.0.2.7"));
        assert!(!contains("::ffff:192.0.2.7", "192.0.2.8"));
    }

    #[test]
    fn bits_that_do_not_count_are_told() {
        let tidied = |network: &str| network.parse::<Network>().unwrap().tidied();

        assert_eq!(tidied("10.0.0.1/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(tidied("2001:db8::1/33").as_deref(), Some("2001:db8::/33"));
        assert_eq!(tidied("10.0.0.1/0").as_deref(), Some("0.0.0.0/0"));
        for tidy in ["10.0.0.1", "10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "::/0", "::1"] {
            assert_eq!(tidied(tidy), None, "{tidy}");
        }
    }

    #[test]
    fn what_is_no_network_is_told() {
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0/8", "a/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
