//! What proxies in front say of a client: the readers of `X-Forwarded-For` and `Forwarded` beside a
//! reading of the same bytes by other means, and the listeners that believe them.
//!
//! The first byte of an input is a manner, and says which of the two fields is meant; each line that
//! follows is one line of the field.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tenantry::proxy::forwarded::chain::{Chain, End, addresses};
use tenantry::proxy::forwarded::elements::elements;

use super::manner::Manner;
use super::proxy_header::dotted;
use super::recorder::Recorder;
use super::requests::two_tenants;
use super::world::{Ending, World, say};

/// The target.
#[derive(Debug)]
pub struct Forwarded {
    world: World,
    own: Recorder,
    _other: Recorder,
}

/// Which field proxies write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    XForwardedFor,
    Forwarded,
}

/// A hop as it is read here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    text: Vec<u8>,
}

impl Forwarded {
    /// Starts a gateway with a listener for each field, both of which trust this machine.
    pub fn start() -> Self {
        let (world, (own, other)) = World::start(two_tenants);
        Self { world, own, _other: other }
    }

    /// Runs one input.
    pub fn run(&self, input: &[u8]) {
        let (manner, bytes) = Manner::of(input);
        let field = if manner.is_other() { Field::Forwarded } else { Field::XForwardedFor };
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let (hops, end) = read(field, &lines);
        let chain = field.chain(&lines);
        assert_eq!((told(&chain), chain.end), (hops.clone(), end), "{}", bytes.escape_ascii());
        let named = chain.client(is_trusted).and_then(|hop| hop.address);
        assert_eq!(named, client(&hops), "{}", bytes.escape_ascii());
        believes_nobody_else(field, bytes);
        let may_be_sent = lines.len() < MOST_LINES && lines.iter().all(|line| is_value(line));
        if may_be_sent && !manner.breaks_off() {
            self.connect(field, manner, &lines);
        }
    }

    /// The listener: the endpoint hears of the client that the chain names, and whoever reads what it
    /// hears, and trusts this gateway, finds the same.
    fn connect(&self, field: Field, manner: Manner, lines: &[&[u8]]) {
        let (hops, _) = read(field, lines);
        let named = client(&hops).unwrap_or(OWN);
        let sent = request(field, lines);
        self.world.judge("other", async {
            let answer = say(field.listener(&self.world), manner, &sent, Ending::Never).await;
            let shown = answer.escape_ascii();
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "not served: {shown}");
            let arrived = self.own.take().await;
            let [message] = &arrived[..] else { panic!("not one request: {arrived:?}") };
            assert_eq!(message.all("x-real-ip"), [named.to_string()], "{message:?}");
            let [proto] = message.all("x-forwarded-proto")[..] else { panic!("{message:?}") };
            assert!(matches!(proto, "http" | "https"), "{message:?}");
            let [plain] = message.all("x-forwarded-for")[..] else { panic!("{message:?}") };
            let standard = message.all("forwarded");
            assert_eq!(standard.len(), usize::from(field == Field::Forwarded), "{message:?}");
            let known = lines.iter().all(|line| std::str::from_utf8(line).is_ok());
            if !known || hops.len() == MOST_HOPS || size(&hops) > MOST_BYTES - 128 {
                return; // what is passed on cannot be compared, or is cut for the next reader
            }
            let mut passed_on = vec![(Field::XForwardedFor, plain)];
            passed_on.extend(standard.iter().map(|text| (Field::Forwarded, *text)));
            for (passed, text) in passed_on {
                let (heard, end) = read(passed, &[text.as_bytes()]);
                // Our own address is at the right end, and trusted.
                assert_eq!((heard[0].address, end), (Some(OWN), End::Whole), "{message:?}");
                assert_eq!(client(&heard), Some(named), "{message:?}");
                if passed == field {
                    assert_eq!(heard[1..], hops, "{message:?}");
                }
            }
        });
    }
}

impl Field {
    fn chain<'f>(self, lines: &[&'f [u8]]) -> Chain<'f> {
        let last_first = lines.iter().rev().copied();
        match self {
            Self::XForwardedFor => addresses(last_first),
            Self::Forwarded => elements(last_first),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
        }
    }

    /// The one that is not meant, with a lie.
    fn other(self) -> &'static str {
        match self {
            Self::XForwardedFor => "Forwarded: for=192.0.2.66",
            Self::Forwarded => "X-Forwarded-For: 192.0.2.66",
        }
    }

    /// Where its proxies connect.
    fn listener(self, world: &World) -> SocketAddr {
        match self {
            Self::XForwardedFor => world.trusting_address(),
            Self::Forwarded => world.trusting_address_of_rfc_7239(),
        }
    }

    /// The hops of a line; `None` where it is none.
    fn list(self, line: &[u8]) -> Option<Vec<Hop>> {
        let parts = match self {
            Self::XForwardedFor => line.split(|byte| *byte == b',').collect(),
            Self::Forwarded => cut(line, b',')?,
        };
        let texts = parts.into_iter().map(<[u8]>::trim_ascii).filter(|text| !text.is_empty());
        texts
            .map(|text| {
                let address = match self {
                    Self::XForwardedFor => address(text),
                    Self::Forwarded => named(text)?,
                };
                Some(Hop { address, text: text.to_vec() })
            })
            .collect()
    }
}

/// Whatever is written before two proxies have written of their clients, nobody but the first one's
/// client is believed. `None`: the line is nobody's word, and the gateway's own client is the client.
fn believes_nobody_else(field: Field, own: &[u8]) {
    let client = IpAddr::from([203, 0, 113, 7]);
    let behind = match field {
        Field::XForwardedFor => "203.0.113.7, 10.0.0.1",
        Field::Forwarded => "for=\"203.0.113.7:80\";proto=https, for=10.0.0.1",
    };
    for (mark, sure) in [(", ", field == Field::XForwardedFor), ("\n", true)] {
        let bytes = [own, mark.as_bytes(), behind.as_bytes()].concat();
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let chain = field.chain(&lines);
        let found = chain.client(is_trusted).and_then(|hop| hop.address);
        let right = found == Some(client) || (!sure && found.is_none());
        assert!(right, "{found:?} is believed: {}", bytes.escape_ascii());
    }
}

fn told(chain: &Chain<'_>) -> Vec<Hop> {
    let hops = chain.hops.iter();
    hops.map(|hop| Hop { address: hop.address, text: hop.text.to_vec() }).collect()
}

fn request(field: Field, lines: &[&[u8]]) -> Vec<u8> {
    let mut bytes =
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nConnection: close\r\n".to_vec();
    for line in lines {
        bytes.extend_from_slice(field.name().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(field.other().as_bytes());
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

/// Whether a field may have this value at all.
fn is_value(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets()[0], 10 | 127),
        IpAddr::V6(address) => address.octets()[0] == 0xfd,
    }
}

/// The nearest hop that is no trusted proxy, else the furthest that has an address.
fn client(hops: &[Hop]) -> Option<IpAddr> {
    let addresses: Vec<IpAddr> = hops.iter().map_while(|hop| hop.address).collect();
    let foreign = addresses.iter().find(|address| !is_trusted(**address));
    foreign.or(addresses.last()).copied()
}

fn size(hops: &[Hop]) -> usize {
    hops.iter().map(|hop| hop.text.len()).sum()
}

/// Both fields once more, in other words: the nearest hop first.
fn read(field: Field, lines: &[&[u8]]) -> (Vec<Hop>, End) {
    let mut hops = Vec::new();
    for line in lines.iter().rev() {
        let Some(listed) = field.list(line) else { return (hops, End::Malformed) };
        for hop in listed.into_iter().rev() {
            if field == Field::XForwardedFor && hop.address.is_none() {
                return (hops, End::Malformed);
            }
            if hops.len() == MOST_HOPS || size(&hops) + hop.text.len() > MOST_BYTES {
                return (hops, End::TooLong);
            }
            hops.push(hop);
        }
    }
    (hops, End::Whole)
}

/// Cuts at a mark outside of quotations; `None` where a quotation has no end.
fn cut(text: &[u8], mark: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.iter().enumerate() {
        match *byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if byte == mark && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!quoted).then_some(parts)
}

/// Whose address an element of RFC 7239 names, if it is one.
fn named(element: &[u8]) -> Option<Option<IpAddr>> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for pair in cut(element, b';')?.into_iter().map(<[u8]>::trim_ascii) {
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        let name = name.to_ascii_lowercase();
        let known = matches!(&name[..], b"for" | b"proto" | b"host");
        let twice = known && found.iter().any(|(other, _)| *other == name);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || twice {
            return None;
        }
        found.push((name, value_of(&value[1..])?));
    }
    let from = found.iter().find(|(name, _)| name == b"for");
    Some(from.and_then(|(_, value)| address(value)))
}

fn value_of(text: &[u8]) -> Option<Vec<u8>> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let plain = text.iter().all(|byte| is_token(*byte) || b":[]/".contains(byte));
        return (plain && !text.is_empty()).then(|| text.to_vec());
    };
    let (mut value, mut bytes) = (Vec::new(), quoted.iter().copied());
    loop {
        match bytes.next()? {
            b'"' => return bytes.next().is_none().then_some(value),
            b'\\' => value.push(bytes.next()?),
            byte => value.push(byte),
        }
    }
}

fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z') || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An address, with a port or without.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 64)?;
    let address: IpAddr = if let Some(rest) = text.strip_prefix('[') {
        let (inner, after) = rest.split_once(']')?;
        let zone = after.strip_prefix(':').is_some_and(is_port);
        let (inner, zone) = match inner.split_once('%') {
            Some((inner, number)) if zone => (inner, is_number(number, u64::from(u32::MAX))),
            _ => (inner, after.is_empty() || zone),
        };
        inner.parse::<Ipv6Addr>().ok().filter(|_| zone)?.into()
    } else if text.matches(':').count() > 1 {
        text.parse::<Ipv6Addr>().ok()?.into()
    } else {
        let (address, port) = text.split_once(':').unwrap_or((text, "0"));
        dotted(address).filter(|_| is_port(port))?
    };
    // Of addresses of IPv4 in the clothes of IPv6 the last four bytes count.
    Some(match address {
        IpAddr::V6(mapped) => match mapped.octets() {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
                Ipv4Addr::new(a, b, c, d).into()
            }
            _ => address,
        },
        IpAddr::V4(_) => address,
    })
}

fn is_port(text: &str) -> bool {
    is_number(text, u64::from(u16::MAX))
}

/// Digits alone, with zeros in front or without.
fn is_number(text: &str, most: u64) -> bool {
    let digits = text.trim_start_matches('0');
    let fits = digits.is_empty() || digits.parse().is_ok_and(|number: u64| number <= most);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && fits
}

/// As docs/configuration.md bounds a chain.
const MOST_HOPS: usize = 32;
const MOST_BYTES: usize = 4 << 10;
/// Fewer than a head may have.
const MOST_LINES: usize = 100;
/// Who connects here.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
