//! The short way to read a head: it is whole, its lines end by CRLF, and nothing in it is out of the
//! ordinary. What is not so is left to httparse, from the beginning on, so that what is refused, and
//! why, is for httparse alone to say.
//!
//! Most lines of a head were in another one before, of the same client or of one like it: those that
//! came twice are remembered, and not taken apart again.
//!
//! **Invariant:** what is read here httparse reads in the same way. What is remembered is told by all of
//! its bytes, never by a hash.

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES, CACHE_CONTROL, CONNECTION,
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderName, HeaderValue, SERVER,
    STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, UPGRADE_INSECURE_REQUESTS, USER_AGENT, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use memchr::memchr;

/// What the heads of one worker have had in common.
#[derive(Debug)]
pub struct Lines {
    whole: Vec<Slot<(HeaderName, HeaderValue)>>,
    /// Of the lines whose values are not remembered.
    names: Vec<Slot<HeaderName>>,
}

/// What was made of some bytes.
#[derive(Debug)]
struct Slot<T> {
    bytes: Bytes,
    made: Option<T>,
    /// The mark of other bytes that came since: when those come once more they take the place.
    other: u32,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            whole: (0..SLOTS).map(|_| Slot::default()).collect(),
            names: (0..SLOTS).map(|_| Slot::default()).collect(),
        }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { bytes: Bytes::new(), made: None, other: 0 }
    }
}

/// The first line of `bytes`, without its end, and where the next one begins.
pub fn first_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr(b'\n', bytes)?;
    let line = bytes[..end].strip_suffix(b"\r")?;
    Some((line, end + 1))
}

/// Tells `each` field of a head, from the place `from` in `head` on. Gives where the head ends.
pub fn read_fields(
    head: &Bytes,
    mut from: usize,
    most: usize,
    lines: &mut Lines,
    mut each: impl FnMut(HeaderName, HeaderValue),
) -> Option<usize> {
    for _ in 0..=most {
        let (line, next) = first_line(&head[from..])?;
        from += next;
        if line.is_empty() {
            return Some(from);
        }
        let (name, value) = lines.field(head, line)?;
        each(name, value);
    }
    None
}

impl Lines {
    /// The field that `line` of `head` is.
    fn field(&mut self, head: &Bytes, line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
        let mark = mark(line);
        let slot = &mut self.whole[mark as usize % SLOTS];
        if let Some(known) = slot.find(line) {
            return Some(known.clone());
        }
        let colon = memchr(b':', line)?;
        let name = name(&line[..colon], &mut self.names)?;
        let value = trim(&line[colon + 1..]);
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?;
        if slot.is_due(mark, line) && is_common(&name) {
            slot.bytes = Bytes::copy_from_slice(line);
            let value = slot.bytes.slice_ref(trim(&slot.bytes[colon + 1..]));
            let value = HeaderValue::from_maybe_shared(value).ok()?;
            slot.made = Some((name.clone(), value));
        }
        Some((name, value))
    }
}

/// The name that `bytes` spell.
fn name(bytes: &[u8], names: &mut [Slot<HeaderName>]) -> Option<HeaderName> {
    let mark = mark(bytes);
    let slot = &mut names[mark as usize % SLOTS];
    if let Some(known) = slot.find(bytes) {
        return Some(known.clone());
    }
    let name = HeaderName::from_bytes(bytes).ok()?;
    if slot.is_due(mark, bytes) {
        slot.bytes = Bytes::copy_from_slice(bytes);
        slot.made = Some(name.clone());
    }
    Some(name)
}

impl<T> Slot<T> {
    /// What was made of `bytes`, if these are its own.
    fn find(&mut self, bytes: &[u8]) -> Option<&T> {
        if self.bytes != bytes {
            return None;
        }
        self.other = 0;
        self.made.as_ref()
    }

    /// Whether `bytes`, which are not its own, are to take the place: they have come twice, and what
    /// is in it not in between. What comes only once costs no more than a mark.
    fn is_due(&mut self, mark: u32, bytes: &[u8]) -> bool {
        let again = std::mem::replace(&mut self.other, mark) == mark;
        again && mark != 0 && bytes.len() <= LONGEST
    }
}

/// A number that bytes which differ mostly differ in; 0 for what is too short to have one.
fn mark(bytes: &[u8]) -> u32 {
    let ends = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first).rotate_left(5) ^ u64::from_le_bytes(*last)
        }
        _ => match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
            }
            _ => return 0,
        },
    };
    // by the fraction of the golden ratio, which spreads what differs in few bits
    let spread = (ends ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> 32) as u32
}

/// Without the spaces and tabs on both sides (RFC 9110 §5.5), and nothing else.
fn trim(value: &[u8]) -> &[u8] {
    let is_seen = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let from = value.iter().position(is_seen).unwrap_or(value.len());
    let to = value.iter().rposition(is_seen).map_or(from, |last| last + 1);
    &value[from..to]
}

/// Whether the values of a field are the same in many heads, and nobody's secret: others are not
/// remembered beyond their exchange, and how long it takes to read them tells nothing of them.
fn is_common(name: &HeaderName) -> bool {
    COMMON.contains(name)
}

const COMMON: [HeaderName; 19] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    ACCEPT_RANGES,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DATE,
    HOST,
    SERVER,
    STRICT_TRANSPORT_SECURITY,
    TRANSFER_ENCODING,
    UPGRADE_INSECURE_REQUESTS,
    USER_AGENT,
    VARY,
    X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
];

/// 128 lines, and as many names: a worker that serves a hundred kinds of clients and endpoints has not
/// many more in common.
const SLOTS: usize = 128;
/// 160 bytes: the name that a browser calls itself, and what it accepts. All that is remembered is
/// below 64 KB.
const LONGEST: usize = 160;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where a head ends, and its fields.
    type Read = (usize, Vec<(String, Vec<u8>)>);

    fn fields(head: &[u8], most: usize, lines: &mut Lines) -> Option<Read> {
        let mut fields = Vec::new();
        let end = read_fields(&Bytes::copy_from_slice(head), 0, most, lines, |name, value| {
            fields.push((name.to_string(), value.as_bytes().to_vec()));
        })?;
        Some((end, fields))
    }

    fn httparse(head: &[u8], most: usize) -> Option<Read> {
        let mut room = vec![httparse::EMPTY_HEADER; most];
        let Ok(httparse::Status::Complete((end, fields))) =
            httparse::parse_headers(head, &mut room)
        else {
            return None;
        };
        let fields = fields.iter();
        let fields = fields.map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()));
        Some((end, fields.collect()))
    }

    #[test]
    fn what_is_plain_is_read_and_what_follows_it_is_left() {
        let mut lines = Lines::default();
        let head = b"Host: a\r\nX-One:\t 1 \t\r\nx-one:\r\n\r\nbody\r\n";
        for _ in 0..4 {
            let (end, fields) = fields(head, 3, &mut lines).unwrap();
            assert_eq!(&head[end..], b"body\r\n");
            let expected = [("host", "a"), ("x-one", "1"), ("x-one", "")];
            let expected = expected.map(|(name, value)| (name.to_owned(), value.into()));
            assert_eq!(fields, expected);
        }
        assert!(fields(head, 2, &mut lines).is_none());
    }

    #[test]
    fn what_is_not_plain_is_left_to_httparse() {
        let mut lines = Lines::default();
        for head in [
            &b"host: a\n\n"[..],
            b"host: a\r\n\n",
            b"host: a\r\n",
            b"host: a",
            b"",
            b"host : a\r\n\r\n",
            b" host: a\r\n\r\n",
            b": a\r\n\r\n",
            b"host\r\n\r\n",
            b"host: a\r\n b\r\n\r\n",
            b"host: a\rb\r\n\r\n",
            b"host: a\r\r\n\r\n",
            b"host: a\0\r\n\r\n",
            b"host: \x0ca\r\n\r\n",
            b"host: a\x0b\r\n\r\n",
            b"host: a\x7f\r\n\r\n",
            b"h\xe9st: a\r\n\r\n",
        ] {
            for _ in 0..3 {
                assert_eq!(fields(head, 8, &mut lines), None, "{head:?}");
            }
        }
    }

    #[test]
    fn a_line_that_comes_again_is_remembered_and_no_secret_is() {
        let mut lines = Lines::default();
        let head = b"user-agent: somebody\r\nauthorization: Basic YTpi\r\nx-key: 12345678\r\n\r\n";
        for _ in 0..3 {
            fields(head, 8, &mut lines).unwrap();
        }
        let kept = lines.whole.iter().filter(|slot| slot.made.is_some());
        let kept: Vec<_> = kept.map(|slot| slot.bytes.clone()).collect();
        assert_eq!(kept, ["user-agent: somebody"]);
        assert_eq!(lines.names.iter().filter(|slot| slot.made.is_some()).count(), 3);
    }

    #[test]
    fn what_comes_once_takes_no_place_of_what_comes_often() {
        let mut lines = Lines::default();
        let often = b"user-agent: somebody\r\n\r\n";
        for number in 0..10_000 {
            fields(often, 8, &mut lines).unwrap();
            let once = format!("user-agent: number {number}\r\n\r\n");
            fields(once.as_bytes(), 8, &mut lines).unwrap();
        }
        let kept: Vec<_> = lines.whole.iter().filter(|slot| slot.made.is_some()).collect();
        assert_eq!(kept.len(), 1);
        let long = format!("user-agent: {}\r\n\r\n", "a".repeat(LONGEST));
        for _ in 0..4 {
            fields(long.as_bytes(), 8, &mut lines).unwrap();
        }
        assert_eq!(lines.whole.iter().filter(|slot| slot.made.is_some()).count(), 1);
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            "(Host|User-Agent|Content-Length|TRANSFER-ENCODING|Cookie)",
            "[ -~]{0,12}",
            "[a-zA-Z-]{1,80}",
        ];
        let space = "[ \t]{0,2}";
        let value = prop_oneof![
            Just(b"chunked".to_vec()),
            any::<Vec<u8>>(),
            "[ -~]{0,40}".prop_map(String::into_bytes)
        ];
        let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
        (name, space, value, space, end).prop_map(|(name, before, value, after, end)| {
            [name.as_bytes(), b":", before.as_bytes(), &value, after.as_bytes(), end.as_bytes()]
                .concat()
        })
    }

    fn ends_by_crlf(lines: &[u8]) -> bool {
        let ends = memchr::memchr_iter(b'\n', lines);
        ends.into_iter().all(|end| lines[..end].ends_with(b"\r"))
    }

    proptest! {
        #[test]
        fn what_is_read_httparse_reads_in_the_same_way(
            all in proptest::collection::vec(line(), 1..8),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..24),
            change in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
        ) {
            let mut lines = Lines::default();
            let chosen: Vec<_> = order.iter().map(|index| index.get(&all).clone()).collect();
            // so that some of them are remembered
            for line in &chosen {
                let _ = fields(&[line, b"\r\n".as_slice()].concat(), 1, &mut lines);
            }
            let mut head = [chosen.concat().as_slice(), b"\r\nrest"].concat();
            if let Some((index, byte)) = change {
                *index.get_mut(&mut head) = byte;
            }
            for most in [4, 64] {
                let read = fields(&head, most, &mut lines);
                let expected = httparse(&head, most);
                // and what httparse reads is plain, but for the ends of its lines
                let expected = expected.filter(|(end, _)| ends_by_crlf(&head[..*end]));
                prop_assert_eq!(read, expected);
            }
        }
    }
}
