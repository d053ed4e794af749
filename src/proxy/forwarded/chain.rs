//! The hops that a request came by, as the fields of proxies tell them: pure reading of bytes.
//!
//! What stands further left was written earlier, and all that is left of the client is the client's
//! own word. So a chain is read from its right end, and no further than it can be read: what is
//! behind something that is no address is nobody's word, and is not passed on.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// One hop: who came to the proxy that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop<'f> {
    /// From where; `None` = the proxy does not say, which RFC 7239 allows.
    pub address: Option<IpAddr>,
    /// By which scheme, as it is written.
    pub scheme: Option<Cow<'f, [u8]>>,
    /// For which host, as it is written.
    pub host: Option<Cow<'f, [u8]>>,
    /// All of it, as it is written.
    pub text: &'f [u8],
}

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it was begun.
    Whole,
    /// What comes next cannot be read.
    Malformed,
    /// There is more than is looked at.
    TooLong,
}

/// Hops, the nearest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'f> {
    /// Those that can be read, up to the first that cannot.
    pub hops: Vec<Hop<'f>>,
    /// Why there are no more.
    pub end: End,
    size: usize,
}

impl<'f> Chain<'f> {
    /// Nobody said anything.
    pub fn empty() -> Self {
        Self { hops: Vec::new(), end: End::Whole, size: 0 }
    }

    /// The hop that is the client: the nearest that is no trusted proxy, else the last that has an
    /// address. `None`: whoever is at the other end of the connection.
    pub fn client(&self, is_trusted: impl Fn(IpAddr) -> bool) -> Option<&Hop<'f>> {
        let mut client = None;
        for hop in &self.hops {
            let Some(address) = hop.address else { break };
            client = Some(hop);
            if !is_trusted(address) {
                break;
            }
        }
        client
    }

    /// The hop that says by which scheme and host the client has asked: the furthest that a trusted
    /// proxy has written, whether or not it names the client's address.
    pub fn asked_by(&self, is_trusted: impl Fn(IpAddr) -> bool) -> Option<&Hop<'f>> {
        // Who came to the proxy that wrote a hop has written the next one.
        let end = self.hops.iter().position(|hop| !hop.address.is_some_and(&is_trusted));
        end.map_or(self.hops.last(), |end| self.hops.get(end))
    }

    /// Takes one more hop; `false` where the chain has become too long for it.
    pub(super) fn take(&mut self, hop: Hop<'f>) -> bool {
        self.size += hop.text.len();
        if self.hops.len() == MOST_HOPS || self.size > MOST_BYTES {
            self.end = End::TooLong;
            return false;
        }
        self.hops.push(hop);
        true
    }
}

/// Reads the lines of `X-Forwarded-For`, the last first.
pub fn addresses<'f>(lines: impl Iterator<Item = &'f [u8]>) -> Chain<'f> {
    let mut chain = Chain::empty();
    for line in lines {
        let parts = line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        // RFC 9110 §5.6.1.2: empty elements of a list count for nothing.
        for text in parts.filter(|part| !part.is_empty()) {
            let Some(address) = address(text) else {
                chain.end = End::Malformed;
                return chain;
            };
            if !chain.take(Hop { address: Some(address), scheme: None, host: None, text }) {
                return chain;
            }
        }
    }
    chain
}

/// An address with a port or without; one of IPv6 in brackets or without.
pub(super) fn address(text: &[u8]) -> Option<IpAddr> {
    if text.len() > LONGEST_ADDRESS {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(text) => IpAddr::V6(text.parse().ok()?),
        None => {
            let alone = text.parse();
            alone.or_else(|_| text.parse().map(|at: SocketAddr| at.ip())).ok()?
        }
    };
    Some(address.to_canonical())
}

/// 32: more proxies than any request passes.
pub(super) const MOST_HOPS: usize = 32;
/// 4 KiB: what a chain of so many hops never needs.
const MOST_BYTES: usize = 4 << 10;
/// Of IPv6, with a zone, brackets and a port.
const LONGEST_ADDRESS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;
    use crate::base::network::Network;

    fn read(line: &str) -> (Vec<String>, End) {
        let chain = addresses([line.as_bytes()].into_iter());
        let hops = chain.hops.iter().map(|hop| hop.address.unwrap().to_string()).collect();
        (hops, chain.end)
    }

    fn whole(hops: &[&str]) -> (Vec<String>, End) {
        (hops.iter().map(ToString::to_string).collect(), End::Whole)
    }

    #[test]
    fn addresses_are_read_from_the_right_in_every_form() {
        let line = "192.0.2.1, 192.0.2.2:81,2001:db8::1 ,\t[2001:db8::2],[2001:db8::3]:81";
        let hops = ["2001:db8::3", "2001:db8::2", "2001:db8::1", "192.0.2.2", "192.0.2.1"];
        assert_eq!(read(line), whole(&hops));
        assert_eq!(read(" , ,192.0.2.1,, "), whole(&["192.0.2.1"]));
        assert_eq!(read("::ffff:192.0.2.1"), whole(&["192.0.2.1"]));
        assert_eq!(read(""), whole(&[]));
        let chain = addresses([&b"192.0.2.3"[..], b"192.0.2.1, 192.0.2.2"].into_iter());
        let texts: Vec<_> = chain.hops.iter().map(|hop| hop.text).collect();
        assert_eq!(texts, [&b"192.0.2.3"[..], b"192.0.2.2", b"192.0.2.1"], "the last line first");
    }

    #[test]
    fn a_chain_is_read_no_further_than_to_what_is_no_address() {
        for bad in [
            "unknown",
            "_hidden",
            "192.0.2",
            "192.0.2.1:x",
            "192.0.2.1:65536",
            "192.0.2.01",
            "[192.0.2.1]",
            "[2001:db8::1",
            "2001:db8::1]",
            "\"192.0.2.1\"",
            "192.0.2.1 192.0.2.2",
            "for=192.0.2.1",
            "\u{661}92.0.2.1",
        ] {
            let (hops, end) = read(&format!("10.0.0.9, {bad}, 10.0.0.1"));
            assert_eq!((hops, end), (vec!["10.0.0.1".to_owned()], End::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_chain_without_end_is_cut_where_nobody_reads_on() {
        let (hops, end) = read(&"192.0.2.1,".repeat(10_000));
        assert_eq!((hops.len(), end), (MOST_HOPS, End::TooLong));
        let long = format!("{}192.0.2.1", "192.0.2.2,".repeat(MOST_HOPS - 1));
        assert_eq!(read(&long).1, End::Whole);
        assert_eq!(read(&"1".repeat(100_000)), (Vec::new(), End::Malformed));
    }

    #[test]
    fn the_client_is_the_nearest_that_is_no_trusted_proxy() {
        let proxies: Network = "10.0.0.0/8".parse().unwrap();
        let client = |line: &str| {
            let chain = addresses([line.as_bytes()].into_iter());
            let client = chain.client(|address| proxies.contains(address));
            client.map(|hop| hop.address.unwrap().to_string())
        };
        assert_eq!(client("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(client("6.6.6.6, 192.0.2.1, 10.0.0.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(client("10.6.6.6, 192.0.2.1, 10.0.0.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(client("10.0.0.2, 10.0.0.1").as_deref(), Some("10.0.0.2"), "all are trusted");
        assert_eq!(client("6.6.6.6, x, 10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(client("6.6.6.6, x"), None);
        assert_eq!(client(""), None);
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_before_its_proxies_do_it_stays_the_client(
            own in prop::collection::vec(any::<u8>(), 0..80),
            client in any::<u32>(),
            proxies in prop::collection::vec(0..=0x00ff_ffff_u32, 0..5),
        ) {
            let trusted: Network = "10.0.0.0/8".parse().unwrap();
            let client = IpAddr::from((client | 0x8000_0000).to_be_bytes()); // not in 10/8
            let mut line = own.clone();
            for hop in std::iter::once(client).chain(proxies.iter().map(|low| {
                IpAddr::from((0x0a00_0000 | low).to_be_bytes())
            })) {
                line.extend_from_slice(format!(", {hop}").as_bytes());
            }

            let chain = addresses([line.as_slice()].into_iter());

            let found = chain.client(|address| trusted.contains(address));
            assert_eq!(found.and_then(|hop| hop.address), Some(client));
        }

        #[test]
        fn any_bytes_make_a_chain_of_bounded_size(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let chain = addresses(bytes.split(|byte| *byte == b'\n'));
            assert!(chain.hops.len() <= MOST_HOPS);
            assert!(chain.hops.iter().all(|hop| hop.address == address(hop.text)));
        }
    }
}
