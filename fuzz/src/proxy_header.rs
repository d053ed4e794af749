//! PROXY protocol headers: the parser beside a reading of the same bytes by other means, and the
//! listener that believes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tenantry::proxy::proxy_header::{Header, parse};

use super::manner::Manner;
use super::recorder::Recorder;
use super::requests::{judge_arrived, two_tenants};
use super::world::{Ending, World, get, say};

/// The target.
#[derive(Debug)]
pub struct ProxyHeader {
    world: World,
    own: Recorder,
    _other: Recorder,
}

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Refused,
    Begun,
    Whole(Option<SocketAddr>, usize),
}

impl ProxyHeader {
    /// Starts a gateway with a listener that believes everybody.
    pub fn start() -> Self {
        let (world, (own, other)) = World::start(two_tenants);
        Self { world, own, _other: other }
    }

    /// Runs one input: a manner, then what may be a header.
    pub fn run(&self, input: &[u8]) {
        let (manner, bytes) = Manner::of(input);
        let whole = parsed(bytes);
        assert_eq!(whole, read(bytes), "{}", bytes.escape_ascii());
        for end in 0..bytes.len() {
            let part = parsed(&bytes[..end]);
            // Once it is known it does not change with what follows.
            let same = part == Reading::Begun || part == whole;
            assert!(same, "{part:?} of {end} bytes became {whole:?}: {}", bytes.escape_ascii());
        }
        if !manner.breaks_off() {
            self.connect(manner, bytes);
        }
    }

    /// The listener: whoever is named is who asks, and nobody is served behind what is no header.
    fn connect(&self, manner: Manner, bytes: &[u8]) {
        let request = get("acme");
        let sent = [bytes, &request].concat();
        self.world.judge("other", async {
            let reading = read(&sent);
            let ending = match reading {
                Reading::Whole(_, length) if sent[length..] == request => Ending::Never,
                _ => Ending::AfterSilence,
            };
            let answer = say(self.world.proxied_address(), manner, &sent, ending).await;
            match reading {
                Reading::Whole(client, _) if ending == Ending::Never => {
                    let client = client.map_or(Ipv4Addr::LOCALHOST.into(), |client| client.ip());
                    let served = answer.starts_with(b"HTTP/1.1 200 ");
                    assert!(served, "not served: {}", answer.escape_ascii());
                    let client = client.to_canonical().to_string();
                    let arrived = judge_arrived(&self.own, "acme", &client).await;
                    assert_eq!(arrived.len(), 1, "{arrived:?}");
                }
                Reading::Whole(..) => drop(self.own.take().await),
                _ => {
                    assert_eq!(answer, b"", "answered behind what is no header");
                    assert_eq!(self.own.take().await, [], "forwarded behind what is no header");
                }
            }
        });
    }
}

fn parsed(bytes: &[u8]) -> Reading {
    match parse(bytes) {
        Err(_) => Reading::Refused,
        Ok(Header::Begun) => Reading::Begun,
        Ok(Header::Whole { client, length }) => {
            Reading::Whole(client.map(|ends| ends.source), length)
        }
    }
}

/// The specification once more, in other words.
fn read(bytes: &[u8]) -> Reading {
    let fits = |start: &[u8]| bytes.iter().zip(start).all(|(have, want)| have == want);
    match () {
        () if bytes.is_empty() => Reading::Begun,
        () if fits(b"\r\n\r\n\0\r\nQUIT\n") => version2(bytes),
        () if fits(b"PROXY ") => version1(bytes),
        () => Reading::Refused,
    }
}

fn version1(bytes: &[u8]) -> Reading {
    let Some(end) = bytes.iter().take(107).position(|byte| *byte == b'\n') else {
        return if bytes.len() < 107 { Reading::Begun } else { Reading::Refused };
    };
    let line = std::str::from_utf8(&bytes[..=end]).ok().and_then(|line| line.strip_suffix("\r\n"));
    let Some(line) = line else { return Reading::Refused };
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", "TCP4", source, target, from, to] => (|| {
            let (source, _) = (dotted(source)?, dotted(target)?);
            let (from, _) = (port(from)?, port(to)?);
            Some(Some((source, from).into()))
        })(),
        ["PROXY", "TCP6", source, target, from, to] => (|| {
            let (source, _): (Ipv6Addr, Ipv6Addr) = (source.parse().ok()?, target.parse().ok()?);
            let (from, _) = (port(from)?, port(to)?);
            Some(Some((source, from).into()))
        })(),
        _ => None,
    };
    client.map_or(Reading::Refused, |client| Reading::Whole(client, end + 1))
}

/// An IPv4 address digit by digit.
pub(crate) fn dotted(text: &str) -> Option<IpAddr> {
    let mut bytes = [0; 4];
    let mut parts = text.split('.');
    for byte in &mut bytes {
        *byte = u8::try_from(number(parts.next()?)?).ok()?;
    }
    parts.next().is_none().then(|| bytes.into())
}

fn port(text: &str) -> Option<u16> {
    u16::try_from(number(text)?).ok()
}

/// A number as one writes it: digits, no zero in front.
fn number(text: &str) -> Option<u32> {
    let mut sum = 0;
    for byte in text.bytes() {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        sum = if sum < 100_000 { sum * 10 + digit } else { sum };
    }
    let plain = text == "0" || !text.is_empty() && !text.starts_with('0');
    plain.then_some(sum)
}

fn version2(bytes: &[u8]) -> Reading {
    let [head @ .., high, low] = bytes.get(..16).unwrap_or_default() else { return Reading::Begun };
    let (version, command, family) = (head[12] / 16, head[12] % 16, head[13]);
    let rest = usize::from(*high) * 256 + usize::from(*low);
    let local = command == 0;
    let needed = match (local, family) {
        (true, _) | (_, 0x00) => 0,
        (_, 0x11) => 12,
        (_, 0x21) => 36,
        (_, 0x31) => 216,
        _ => return Reading::Refused,
    };
    if version != 2 || command > 1 || rest < needed || 16 + rest > 4096 {
        return Reading::Refused;
    }
    if bytes.len() < 16 + rest {
        return Reading::Begun;
    }
    let block = &bytes[16..];
    let port = |at: usize| u16::from(block[at]) * 256 + u16::from(block[at + 1]);
    let client = match (local, family) {
        (false, 0x11) => {
            let address = Ipv4Addr::new(block[0], block[1], block[2], block[3]);
            Some((address, port(8)).into())
        }
        (false, 0x21) => {
            let group = |at: usize| port(2 * at);
            let groups: [u16; 8] = std::array::from_fn(group);
            Some((Ipv6Addr::from(groups), port(32)).into())
        }
        _ => None,
    };
    Reading::Whole(client, 16 + rest)
}
