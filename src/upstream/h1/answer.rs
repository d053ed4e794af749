//! The head of an answer, and what it says of the body and of the connection. What is not as usual
//! httparse reads.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use crate::http1::Fault;
use crate::http1::decoder::Decoder;
use crate::http1::fields::{KEEP_ALIVE, Seen, is_chunked, length, says_keep};
use crate::http1::plain::{first_line, read_fields};
use crate::http1::room::{AnswerHead, Room};

/// A head, and what is to be made of what follows it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) answer: AnswerHead,
    pub(super) decoder: Decoder,
    /// The endpoint keeps the connection for the next request.
    pub(super) keeps: bool,
    /// For how long, where it says so.
    pub(super) rest: Option<Duration>,
}

/// Whether `bytes` may be the beginning of an answer.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let seen = bytes.len().min(VERSION.len());
    bytes[..seen] == VERSION[..seen]
}

/// Reads a head from the front of `bytes`; what follows it stays there. `room` has a map to fill,
/// `asked` is the request's method, `fields` the most that a head may have.
///
/// # Errors
/// When it is no head of an answer, or its framing is unclear.
pub(super) fn read(
    bytes: &mut Bytes,
    room: &Room,
    asked: &Method,
    fields: usize,
) -> Result<Option<Head>, Fault> {
    let (draft, size) = match read_plain(bytes, room, fields.max(FEW)) {
        Some(read) => read,
        None => match read_any(bytes, room, fields)? {
            Some(read) => read,
            None => return Ok(None),
        },
    };
    bytes.advance(size);
    frame(draft.answer, asked, &draft.seen).map(Some)
}

/// Reads a head as nearly all are, and tells its size. `None`: it is not one of these.
fn read_plain(bytes: &Bytes, room: &Room, most: usize) -> Option<(Draft, usize)> {
    let (line, fields) = first_line(bytes)?;
    let (version, line) = line.split_first_chunk()?;
    let version = match version {
        b"HTTP/1.1 " => Version::HTTP_11,
        b"HTTP/1.0 " => Version::HTTP_10,
        _ => return None,
    };
    let (code, reason) = line.split_first_chunk::<3>()?;
    let status = StatusCode::from_bytes(code).ok()?;
    if !matches!(reason, [] | [b' ', ..]) || !reason.iter().all(|byte| matches!(byte, b' '..=b'~'))
    {
        return None;
    }
    let mut draft = Draft::new(status, version, room.answer(), USUAL);
    let mut lines = room.lines.borrow_mut();
    let size = read_fields(bytes, fields, most, &mut lines, |name, value| draft.take(name, value));
    let Some(size) = size else {
        room.take_answer(draft.answer);
        return None;
    };
    Some((draft, size))
}

/// Reads any head.
fn read_any(bytes: &Bytes, room: &Room, fields: usize) -> Result<Option<(Draft, usize)>, Fault> {
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    let mut many;
    let mut parsed = httparse::Response::new(&mut []);
    let mut size = parse(&mut parsed, bytes, &mut few);
    if matches!(size, Err(Fault::Syntax(httparse::Error::TooManyHeaders))) && fields > FEW {
        many = vec![MaybeUninit::uninit(); fields];
        parsed = httparse::Response::new(&mut []);
        size = parse(&mut parsed, bytes, &mut many);
    }
    let httparse::Status::Complete(size) = size? else {
        return Ok(None);
    };
    Ok(Some((take(&parsed, bytes, room)?, size)))
}

/// Why `bytes`, to which nothing more will be added, are no head.
pub(super) fn blame(bytes: &[u8]) -> Fault {
    let mut room = [httparse::EMPTY_HEADER; FEW];
    match httparse::Response::new(&mut room).parse(bytes) {
        Err(error) if error != httparse::Error::TooManyHeaders => Fault::Syntax(error),
        _ if !may_begin(bytes) => Fault::Head("an empty line comes before it"),
        _ => Fault::Closed,
    }
}

fn parse<'h, 'b>(
    parsed: &mut httparse::Response<'h, 'b>,
    bytes: &'b [u8],
    room: &'h mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<httparse::Status<usize>, Fault> {
    httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(parsed, bytes, room)
        .map_err(Fault::Syntax)
}

fn take(parsed: &httparse::Response<'_, '_>, bytes: &Bytes, room: &Room) -> Result<Draft, Fault> {
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Fault::Head("its status is not from 100 to 999"))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut draft = Draft::new(status, version, room.answer(), parsed.headers.len());
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Fault::Head("a field is not valid"));
        };
        draft.take(name, value);
    }
    Ok(draft)
}

/// A head while its fields are read.
#[derive(Debug)]
struct Draft {
    answer: AnswerHead,
    seen: Seen,
}

impl Draft {
    fn new(status: StatusCode, version: Version, mut answer: AnswerHead, fields: usize) -> Self {
        *answer.status_mut() = status;
        *answer.version_mut() = version;
        answer.headers_mut().reserve(fields + SPARE);
        Self { answer, seen: Seen::default() }
    }

    fn take(&mut self, name: HeaderName, value: HeaderValue) {
        if self.seen.note(&name, &value) {
            self.answer.headers_mut().append(name, value);
        }
    }
}

/// How the body is framed (RFC 9112 §6.3), and whether the connection lives on after it (§9.3).
fn frame(mut answer: AnswerHead, asked: &Method, seen: &Seen) -> Result<Head, Fault> {
    let (status, version) = (answer.status(), answer.version());
    let headers = answer.headers_mut();
    if seen.coding && version == Version::HTTP_10 {
        return Err(Fault::Head("HTTP/1.0 knows no Transfer-Encoding"));
    }
    // RFC 9112 §6.1: another one ends at this hop, and without it whoever comes next would take
    // coded bytes for the body.
    if seen.coding && !is_chunked(headers) {
        return Err(Fault::Head("it has a transfer coding besides chunked"));
    }
    let length = length(headers, seen)?;
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || asked == Method::HEAD;
    let decoder = match length {
        _ if bodiless => Decoder::Length(0),
        _ if seen.coding => Decoder::chunked(),
        Some(length) => Decoder::Length(length),
        None => Decoder::Close,
    };
    // Of two lengths the connection's next reader may believe the other one.
    let clear = !(seen.coding && seen.length) && status != StatusCode::SWITCHING_PROTOCOLS;
    // RFC 9110 §8.6: a 204 says nothing of a body, so that one that does may well send one.
    let clear = clear
        && (status != StatusCode::NO_CONTENT
            || !(seen.coding || length.is_some_and(|size| size > 0)));
    let keeps = clear && decoder != Decoder::Close && says_keep(headers, version, seen);
    let rest = if seen.keep_alive { keep_alive(headers) } else { None };
    Ok(Head { answer, decoder, keeps, rest })
}

/// The seconds of `Keep-Alive: timeout=N`.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let timeout = said.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    timeout.parse().ok().map(Duration::from_secs)
}

const VERSION: &[u8] = b"HTTP/1.";
/// What nearly every head has at most.
const FEW: usize = 32;
/// What most have at most: as many as a map of 16 places takes, together with what is added.
const USUAL: usize = 8;
/// Room for what the gateway adds to an answer.
const SPARE: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn get(head: &str) -> Result<Head, Fault> {
        let mut bytes = Bytes::copy_from_slice(head.as_bytes());
        let head = read(&mut bytes, &Room::default(), &Method::GET, 64)?;
        head.ok_or(Fault::Head("it is not whole"))
    }

    fn framed(asked: Method, status: &str, fields: &str) -> (Decoder, bool) {
        let head = format!("HTTP/{status} x\r\n{fields}\r\n");
        let head = read(&mut Bytes::from(head.into_bytes()), &Room::default(), &asked, 64)
            .unwrap()
            .unwrap();
        (head.decoder, head.keeps)
    }

    #[test]
    fn a_head_is_read_and_what_follows_it_is_left() {
        let mut bytes = Bytes::from_static(
            b"HTTP/1.1 201 Created\r\nServer: a\r\nX-Two: 1\r\nx-two: 2\r\nContent-Length: 2\r\n\r\nhi",
        );
        assert!(may_begin(&bytes) && read_plain(&bytes, &Room::default(), 64).is_some());

        let head = read(&mut bytes, &Room::default(), &Method::GET, 64).unwrap().unwrap();

        assert_eq!(head.answer.status(), StatusCode::CREATED);
        assert_eq!(head.answer.headers()["server"], "a");
        let two: Vec<_> = head.answer.headers().get_all("x-two").iter().collect();
        assert_eq!(two, ["1", "2"]);
        assert_eq!((head.decoder, head.keeps), (Decoder::Length(2), true));
        assert_eq!(bytes, "hi");
    }

    #[test]
    fn the_body_is_framed_as_rfc_9112_says() {
        let length = "content-length: 5\r\n";
        let chunked = "transfer-encoding: chunked\r\n";
        assert_eq!(framed(Method::GET, "1.1 200", length), (Decoder::Length(5), true));
        assert_eq!(framed(Method::GET, "1.1 200", chunked), (Decoder::chunked(), true));
        assert_eq!(framed(Method::GET, "1.1 200", ""), (Decoder::Close, false));
        assert_eq!(framed(Method::HEAD, "1.1 200", length), (Decoder::Length(0), true));
        assert_eq!(framed(Method::HEAD, "1.1 200", chunked), (Decoder::Length(0), true));
        for (status, keeps) in [("1.1 103", true), ("1.1 204", false), ("1.1 304", true)] {
            let expected = (Decoder::Length(0), keeps);
            assert_eq!(framed(Method::GET, status, length), expected, "{status}");
        }
        let empty = "content-length: 0\r\n";
        assert_eq!(framed(Method::GET, "1.1 204", empty), (Decoder::Length(0), true));
        assert_eq!(framed(Method::GET, "1.1 204", chunked), (Decoder::Length(0), false));
        let both = format!("{length}{chunked}");
        assert_eq!(framed(Method::GET, "1.1 200", &both), (Decoder::chunked(), false));
        let twice = format!("{length}{length}");
        assert_eq!(framed(Method::GET, "1.1 200", &twice), (Decoder::Length(5), true));
        for coding in ["gzip, chunked", "chunked, gzip", "chunked\r\ntransfer-encoding: chunked"] {
            let head = format!("HTTP/1.1 200 x\r\ntransfer-encoding: {coding}\r\n\r\n");
            assert!(matches!(get(&head), Err(Fault::Head(_))), "{coding}");
        }
    }

    #[test]
    fn a_connection_lives_on_as_its_version_and_its_field_say() {
        let keeps = |version: &str, connection: &str| {
            let fields = format!("content-length: 0\r\nconnection: {connection}\r\n");
            framed(Method::GET, &format!("{version} 200"), &fields).1
        };
        assert!(
            keeps("1.1", "x-hop") && keeps("1.0", "Keep-Alive") && keeps("1.0", "x, keep-alive")
        );
        assert!(!keeps("1.1", "Close") && !keeps("1.1", "x, close") && !keeps("1.0", "x"));
        assert!(!keeps("1.0", "keep-alive, close"));
    }

    #[test]
    fn an_endpoint_may_say_how_long_it_keeps_a_connection() {
        let rest = |said: &str| {
            get(&format!("HTTP/1.1 204 x\r\nkeep-alive: {said}\r\n\r\n")).unwrap().rest
        };
        assert_eq!(rest("timeout=5, max=100"), Some(Duration::from_secs(5)));
        assert_eq!(rest("max=1, timeout=0"), Some(Duration::ZERO));
        assert_eq!(rest("timeout=soon"), None);
        assert_eq!(rest("\u{e9}"), None);
    }

    #[test]
    fn a_head_that_is_not_clear_is_refused() {
        let bad = [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: 1\r\n y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: 1\r\n\r\n",
            "hello\r\n\r\n",
        ];
        for head in bad {
            let read = get(head);
            assert!(matches!(read, Err(Fault::Head(_) | Fault::Syntax(_))), "{head:?}: {read:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: 1\r\n".repeat(65));
        assert!(get(&many).is_err());
        let some = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: 1\r\n".repeat(64));
        assert!(get(&some).is_ok());
    }

    #[test]
    fn what_ends_too_early_is_blamed_for_what_it_is() {
        assert!(matches!(blame(b"HTTP/1.1 200 OK\r\nx: "), Fault::Closed));
        assert!(matches!(blame(b""), Fault::Closed));
        assert!(matches!(blame(b"SSH-2.0-x\r\n"), Fault::Syntax(_)));
        assert!(matches!(blame(b"\r\n"), Fault::Head(_)));
        assert!(!may_begin(b"SSH") && may_begin(b"HT") && may_begin(b""));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_word(bytes: Vec<u8>) {
            drop(read(&mut Bytes::from(bytes.clone()), &Room::default(), &Method::GET, 64));
            let head = [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes, b"\r\n\r\n"].concat();
            drop(read(&mut Bytes::from(head), &Room::default(), &Method::GET, 64));
        }

        #[test]
        fn a_plain_head_is_read_as_httparse_reads_it(
            line in "HTTP/1.[012] [0-9]{3}( ?| [ -~\té\u{7f}]{0,12})",
            fields in "((Server|X-Two|content-length|transfer-encoding|connection|Keep-Alive): {0,2}(a|5|7|chunked|close|[ -~]{0,9})\r\n){0,6}",
            change in option::of((any::<Index>(), any::<u8>())),
        ) {
            let mut head = format!("{line}\r\n{fields}\r\nrest").into_bytes();
            if let Some((index, byte)) = change {
                *index.get_mut(&mut head) = byte;
            }
            let head = Bytes::from(head);
            let room = Room::default();
            for _ in 0..3 {
                let Some(plain) = read_plain(&head, &room, 4) else { continue };
                let any = read_any(&head, &room, 4).unwrap().unwrap();
                prop_assert_eq!(format!("{plain:?}"), format!("{any:?}"));
            }
        }
    }
}
