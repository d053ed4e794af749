//! The head of a client's request, and what it says of the body and of the connection. What is not as
//! usual httparse reads.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Uri, Version};

use crate::http1::Fault;
use crate::http1::decoder::Decoder;
use crate::http1::fields::{Seen, is_chunked, length, lists, says_keep};
use crate::http1::plain::{first_line, read_fields};
use crate::http1::room::Room;

/// A head, and what is to be made of what follows it.
#[derive(Debug)]
pub(super) struct Head {
    /// Boxed: it is handed on several times, and is large.
    pub(super) parts: Box<Parts>,
    pub(super) decoder: Decoder,
    /// The client keeps the connection for its next request.
    pub(super) keeps: bool,
    /// It waits for a word before it sends the body (RFC 9110 §10.1.1).
    pub(super) expects: bool,
    /// It may ask to switch protocols.
    pub(super) switches: bool,
}

/// Why what came is no request that anybody could read.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Unread {
    /// It is no HTTP.
    #[error("what was sent is not a valid request of HTTP/1.1: {0}")]
    Syntax(#[source] httparse::Error),
    /// It is, and means nothing or too much.
    #[error("what was sent is not a valid request of HTTP/1.1: {0}")]
    Unclear(&'static str),
    /// It is large, and memory is used up.
    #[error("the gateway has no memory for a head as large as this; try again later")]
    Overloaded,
    /// It is large, and its client has used up its share.
    #[error(
        "this address has used up its share of the gateway's memory (memory.buffers-per-client), and a head as \
         large as this takes more; try again later"
    )]
    ClientOverloaded,
    /// No end of its first line within the bound.
    #[error("the request target is too long")]
    Target,
    /// No end of its head within the bound, or more fields than that.
    #[error("the request line and the fields are too large, or there are too many")]
    TooLarge,
}

/// Reads a head from the front of `bytes`; what follows it stays there. `None`: it is not whole.
/// `room` has a head to fill, `most` is how many fields it may have.
///
/// # Errors
/// When it is no head of a request, or its framing is unclear.
pub(super) fn read(bytes: &mut Bytes, room: &Room, most: usize) -> Result<Option<Head>, Unread> {
    let (head, size) = match read_plain(bytes, room, most.max(FEW)) {
        Some(read) => read?,
        None => match read_any(bytes, room, most)? {
            Some(read) => read,
            None => return Ok(None),
        },
    };
    bytes.advance(size);
    Ok(Some(head))
}

/// Reads a head as nearly all are, and tells its size. `None`: it is not one of these.
fn read_plain(bytes: &Bytes, room: &Room, most: usize) -> Option<Result<(Head, usize), Unread>> {
    let (line, fields) = first_line(bytes)?;
    let (line, version) = line.split_last_chunk()?;
    let version = match version {
        b" HTTP/1.1" => Version::HTTP_11,
        b" HTTP/1.0" => Version::HTTP_10,
        _ => return None,
    };
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (method, target) = (Method::from_bytes(&line[..space]).ok()?, &line[space + 1..]);
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return None;
    }
    let uri = Uri::from_maybe_shared(bytes.slice_ref(target)).ok()?;
    let mut draft = Draft::new(room.parts(), USUAL);
    let mut lines = room.lines.borrow_mut();
    let size = read_fields(bytes, fields, most, &mut lines, |name, value| draft.take(name, value));
    let Some(size) = size else {
        room.take_parts(draft.parts);
        return None;
    };
    Some(draft.finish(method, uri, version).map(|head| (head, size)))
}

/// Reads any head.
fn read_any(bytes: &Bytes, room: &Room, most: usize) -> Result<Option<(Head, usize)>, Unread> {
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    let mut parsed = httparse::Request::new(&mut []);
    let mut many;
    let mut status = parsed.parse_with_uninit_headers(bytes, &mut few);
    if matches!(status, Err(httparse::Error::TooManyHeaders)) && most > FEW {
        many = vec![MaybeUninit::uninit(); most];
        parsed = httparse::Request::new(&mut []);
        status = parsed.parse_with_uninit_headers(bytes, &mut many);
    }
    let size = match status {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Unread::TooLarge),
        Err(error) => return Err(Unread::Syntax(error)),
    };
    Ok(Some((take(&parsed, bytes, room)?, size)))
}

/// Looks at the beginning of a head.
///
/// # Errors
/// When no head begins so.
pub(super) fn judge(bytes: &[u8]) -> Result<(), Unread> {
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    match httparse::Request::new(&mut []).parse_with_uninit_headers(bytes, &mut few) {
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Ok(()),
        Err(error) => Err(Unread::Syntax(error)),
    }
}

fn take(parsed: &httparse::Request<'_, '_>, bytes: &Bytes, room: &Room) -> Result<Head, Unread> {
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Unread::Unclear("it has no request line"));
    };
    // RFC 9112 §3.2: a fragment is the client's own. One that is sent hides what comes after it
    // from some servers and not from others.
    if target.contains('#') {
        return Err(Unread::Unclear("its target has a fragment"));
    }
    let method = Method::from_bytes(method.as_bytes());
    let uri = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes()));
    let (Ok(method), Ok(uri)) = (method, uri) else {
        return Err(Unread::Unclear("its target is none"));
    };
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut draft = Draft::new(room.parts(), parsed.headers.len());
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Unread::Unclear("a field is not valid"));
        };
        draft.take(name, value);
    }
    draft.finish(method, uri, version)
}

/// A head while its fields are read.
struct Draft {
    parts: Box<Parts>,
    seen: Seen,
    expects: bool,
    switches: bool,
}

impl Draft {
    fn new(mut parts: Box<Parts>, fields: usize) -> Self {
        parts.headers.reserve(fields + SPARE);
        Self { parts, seen: Seen::default(), expects: false, switches: false }
    }

    fn take(&mut self, name: HeaderName, value: HeaderValue) {
        let stays = self.seen.note(&name, &value);
        self.expects |= name == EXPECT && lists(&value, b"100-continue");
        self.switches |= name == UPGRADE;
        if stays {
            self.parts.headers.append(name, value);
        }
    }

    fn finish(self, method: Method, uri: Uri, version: Version) -> Result<Head, Unread> {
        let Self { mut parts, seen, expects, switches } = self;
        let headers = &mut parts.headers;
        let (decoder, clear) = frame(headers, version, &seen)?;
        // What comes behind a CONNECT may have been meant for whom its client wished to reach.
        let keeps = clear && method != Method::CONNECT && says_keep(headers, version, &seen);
        let modern = version == Version::HTTP_11;
        (parts.method, parts.uri, parts.version) = (method, uri, version);
        Ok(Head { parts, decoder, keeps, expects: expects && modern, switches: switches && modern })
    }
}

/// How the body is framed (RFC 9112 §6.3), and whether the connection can be used after it.
fn frame(
    headers: &mut HeaderMap,
    version: Version,
    seen: &Seen,
) -> Result<(Decoder, bool), Unread> {
    if seen.coding {
        if version == Version::HTTP_10 {
            return Err(Unread::Unclear("HTTP/1.0 knows no Transfer-Encoding"));
        }
        if !is_chunked(headers) {
            return Err(Unread::Unclear("its body has a transfer coding besides chunked"));
        }
        // RFC 9112 §6.3: who sent both may have meant the other one.
        headers.remove(CONTENT_LENGTH);
        return Ok((Decoder::chunked(), !seen.length));
    }
    match length(headers, seen) {
        Ok(length) => Ok((Decoder::Length(length.unwrap_or_default()), true)),
        Err(Fault::Head(why)) => Err(Unread::Unclear(why)),
        Err(_) => Err(Unread::Unclear("its length is not clear")),
    }
}

/// What nearly every head has at most.
const FEW: usize = 32;
/// What most have at most: as many as a map of 16 places takes, together with what is added.
const USUAL: usize = 10;
/// Room for what the gateway adds to a request.
const SPARE: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    fn whole(text: &str) -> Result<Head, Unread> {
        let mut bytes = Bytes::copy_from_slice(text.as_bytes());
        read(&mut bytes, &Room::default(), 64).map(|head| head.expect("it is whole"))
    }

    fn framed(line: &str, fields: &str) -> Result<(Decoder, bool), Unread> {
        whole(&format!("{line}\r\nhost: a\r\n{fields}\r\n")).map(|head| (head.decoder, head.keeps))
    }

    #[test]
    fn a_head_is_read_and_what_follows_it_is_left() {
        let mut bytes = Bytes::from_static(
            b"PUT /a?b HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two:  2 \r\ncontent-length: 2\r\n\r\nhi",
        );

        assert!(read_plain(&bytes, &Room::default(), 64).is_some());
        let head = read(&mut bytes, &Room::default(), 64).unwrap().unwrap();

        assert_eq!((head.parts.method, head.parts.uri), (Method::PUT, "/a?b".parse().unwrap()));
        let two: Vec<_> = head.parts.headers.get_all("x-two").iter().collect();
        assert_eq!(two, ["1", "2"]);
        assert_eq!((head.decoder, head.keeps), (Decoder::Length(2), true));
        assert!(!head.expects && !head.switches);
        assert_eq!(bytes, "hi");
    }

    #[test]
    fn the_body_is_framed_as_rfc_9112_says() {
        let length = "content-length: 5\r\n";
        let chunked = "transfer-encoding: Chunked\r\n";
        assert_eq!(framed("GET / HTTP/1.1", "").unwrap(), (Decoder::Length(0), true));
        assert_eq!(framed("GET / HTTP/1.1", length).unwrap(), (Decoder::Length(5), true));
        assert_eq!(framed("PUT / HTTP/1.1", chunked).unwrap(), (Decoder::chunked(), true));
        let both = format!("{length}{chunked}");
        assert_eq!(framed("PUT / HTTP/1.1", &both).unwrap(), (Decoder::chunked(), false));
        let twice = format!("{length}{length}");
        assert_eq!(framed("PUT / HTTP/1.1", &twice).unwrap(), (Decoder::Length(5), true));
        for bad in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length:\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding: identity\r\n",
        ] {
            assert!(framed("PUT / HTTP/1.1", bad).is_err(), "{bad:?}");
        }
        assert!(framed("PUT / HTTP/1.0", chunked).is_err());
    }

    #[test]
    fn a_connection_lives_on_as_its_version_and_its_field_say() {
        let keeps = |line, fields| framed(line, fields).unwrap().1;
        assert!(keeps("GET / HTTP/1.1", "connection: x\r\n"));
        assert!(!keeps("GET / HTTP/1.1", "connection: x, Close\r\n"));
        assert!(!keeps("GET / HTTP/1.0", ""));
        assert!(keeps("GET / HTTP/1.0", "connection: Keep-Alive\r\n"));
        assert!(!keeps("CONNECT a:80 HTTP/1.1", ""));
    }

    #[test]
    fn only_http11_expects_and_switches() {
        let fields = "expect: 100-Continue\r\nupgrade: websocket\r\ncontent-length: 1\r\n\r\n";
        let head = whole(&format!("PUT / HTTP/1.1\r\n{fields}")).unwrap();
        assert!(head.expects && head.switches);
        let head = whole(&format!("PUT / HTTP/1.0\r\n{fields}")).unwrap();
        assert!(!head.expects && !head.switches);
    }

    #[test]
    fn a_head_that_is_not_clear_is_refused() {
        for bad in [
            "GET /a#b HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.2\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET /\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nx : 1\r\n\r\n",
            "GET / HTTP/1.1\r\nx: 1\r\n y\r\n\r\n",
            "GET / HTTP/1.1\r\nx: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\n: 1\r\n\r\n",
        ] {
            assert!(whole(bad).is_err(), "{bad:?}");
        }
        let many = |fields| format!("GET / HTTP/1.1\r\n{}\r\n", "x: 1\r\n".repeat(fields));
        assert!(matches!(whole(&many(65)), Err(Unread::TooLarge)));
        assert_eq!(whole(&many(64)).unwrap().parts.headers.len(), 64);
    }

    #[test]
    fn what_begins_like_no_head_is_told_before_its_end() {
        for bad in
            [&b"\x16\x03\x01"[..], b"SSH-2.0-x\r\n", b"GET /\r\n", b"GET / HTTP/1.1\r\nx : 1"]
        {
            assert!(judge(bad).is_err(), "{bad:?}");
        }
        for good in [&b"G"[..], b"GET / HT", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a"] {
            assert!(judge(good).is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_word(bytes: Vec<u8>) {
            drop(read(&mut Bytes::from(bytes.clone()), &Room::default(), 64));
            let head = [b"GET / HTTP/1.1\r\n".as_slice(), &bytes, b"\r\n\r\n"].concat();
            drop(read(&mut Bytes::from(head), &Room::default(), 64));
        }

        #[test]
        fn a_plain_head_is_read_as_httparse_reads_it(
            line in "(GET|PUT|CONNECT|[!-~]{1,8}) (/[!-~]{0,20}|[!-~é\u{7f}]{0,20}) HTTP/1.[012]",
            fields in "((Host|X-Two|content-length|transfer-encoding|connection|Expect|upgrade): {0,2}(a|5|7|chunked|close|100-continue|[ -~]{0,9})\r\n){0,6}",
            change in option::of((any::<Index>(), any::<u8>())),
        ) {
            let mut head = format!("{line}\r\n{fields}\r\nrest").into_bytes();
            if let Some((index, byte)) = change {
                *index.get_mut(&mut head) = byte;
            }
            let head = Bytes::from(head);
            let room = Room::default();
            for _ in 0..3 {
                let told = |read: Result<(Head, usize), Unread>| format!("{read:?}");
                let Some(plain) = read_plain(&head, &room, 4) else { continue };
                let any = read_any(&head, &room, 4).map(|read| read.unwrap());
                prop_assert_eq!(told(plain), told(any));
            }
        }
    }
}
