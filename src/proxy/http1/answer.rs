//! The head of an answer to a client, and how the body that follows is framed (RFC 9112 §6).

use bytes::BytesMut;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::Body;

use crate::http1::encoder::Encoder;
use crate::http1::fields::{decimal, write_field};

/// What of a request its answer depends on.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Asked {
    pub(super) version: Version,
    /// It was a `HEAD`.
    pub(super) head: bool,
}

impl Asked {
    /// That of this request.
    pub(in crate::proxy) fn of(request: &Parts) -> Self {
        Self { version: request.version, head: request.method == Method::HEAD }
    }
}

/// Whether a message of this status and to this request can have a body (RFC 9110 §6.4.1).
pub(in crate::proxy) fn has_body(asked: Asked, status: StatusCode) -> bool {
    !asked.head
        && !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Settles how the body is framed, and says so in the head where it must.
pub(super) fn frame(answer: &mut Response<()>, body: &impl Body, asked: Asked) -> Encoder {
    let status = answer.status();
    let exact = body.size_hint().exact();
    let headers = answer.headers_mut();
    if !has_body(asked, status) {
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            headers.remove(CONTENT_LENGTH); // RFC 9110 §8.6
        }
        headers.remove(TRANSFER_ENCODING);
        return Encoder::Length(0);
    }
    if let Some(length) = said_length(headers) {
        return Encoder::Length(length);
    }
    headers.remove(CONTENT_LENGTH);
    if let Some(length) = exact {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        return Encoder::Length(length);
    }
    if asked.version == Version::HTTP_10 {
        return Encoder::Close;
    }
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    Encoder::Chunked
}

/// The one length that the head says; none where it says several things.
fn said_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.iter().filter(|(name, _)| **name == CONTENT_LENGTH);
    let (_, length) = lengths.next().filter(|_| lengths.next().is_none())?;
    decimal(length.as_bytes())
}

/// Writes status line and fields. `keeps` tells whether the connection lives on after this answer,
/// `date` is the present one (RFC 9110 §6.6.1).
pub(super) fn write(
    answer: &Response<()>,
    asked: Asked,
    keeps: bool,
    date: &[u8],
    out: &mut BytesMut,
) {
    let (headers, status) = (answer.headers(), answer.status());
    write_line(status, status.canonical_reason().unwrap_or(""), out);
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut dated = status.is_informational();
    for (name, value) in headers.iter().filter(|(name, _)| switches || **name != CONNECTION) {
        dated |= *name == DATE;
        write_field(name, value, out);
    }
    if !switches && let Some(word) = connection(asked.version, keeps) {
        out.extend_from_slice(word);
    }
    if !dated {
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the status line, with one's own version, whatever the client's is: RFC 9112 §2.3.
fn write_line(status: StatusCode, reason: &str, out: &mut BytesMut) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// RFC 9112 §9.3: what must be said of the connection's end.
fn connection(version: Version, keeps: bool) -> Option<&'static [u8]> {
    match (keeps, version) {
        (false, _) => Some(b"connection: close\r\n"),
        (true, Version::HTTP_10) => Some(b"connection: keep-alive\r\n"),
        (true, _) => None,
    }
}

/// The bytes of an interim answer, a head alone. RFC 9110 §8.6 knows no length there.
pub(in crate::proxy) fn interim(answer: &Response<()>) -> Vec<u8> {
    const LENGTH: HeaderName = CONTENT_LENGTH;
    let status = answer.status();
    let mut out = BytesMut::new();
    write_line(status, status.canonical_reason().unwrap_or("Interim"), &mut out);
    for (name, value) in answer.headers().iter().filter(|(name, _)| **name != LENGTH) {
        write_field(name, value, &mut out);
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;

    const GET: Asked = Asked { version: Version::HTTP_11, head: false };
    const HEAD: Asked = Asked { head: true, ..GET };
    const OLD: Asked = Asked { version: Version::HTTP_10, ..GET };
    const DAY: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn framed<B: Body>(
        body: B,
        asked: Asked,
        status: u16,
        fields: &[(&'static str, &'static str)],
    ) -> (Encoder, String) {
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            answer.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let encoder = frame(&mut answer, &body, asked);
        let mut out = BytesMut::new();
        write(&answer, asked, encoder != Encoder::Close, DAY, &mut out);
        (encoder, String::from_utf8(out.to_vec()).unwrap())
    }

    fn unknown() -> impl Body<Data = Bytes> {
        StreamBody::new(futures_util::stream::empty::<Result<http_body::Frame<Bytes>, ()>>())
    }

    #[test]
    fn a_length_that_is_known_is_said_once() {
        let (encoder, head) = framed(Full::new(Bytes::from("hello")), GET, 200, &[]);
        assert_eq!(encoder, Encoder::Length(5));
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        );
        let said = [("content-length", "7"), ("date", "x"), ("connection", "x")];
        let (encoder, head) = framed(unknown(), GET, 299, &said);
        assert_eq!(encoder, Encoder::Length(7));
        assert_eq!(head, "HTTP/1.1 299 \r\ncontent-length: 7\r\ndate: x\r\n\r\n");
        let (encoder, head) = framed(Empty::<Bytes>::new(), GET, 404, &[("date", "x")]);
        assert_eq!(encoder, Encoder::Length(0));
        assert_eq!(head, "HTTP/1.1 404 Not Found\r\ndate: x\r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn a_length_that_is_not_known_becomes_chunks_or_the_end_of_the_connection() {
        let date = [("date", "x")];
        let (encoder, head) = framed(unknown(), GET, 200, &date);
        assert_eq!(encoder, Encoder::Chunked);
        assert_eq!(head, "HTTP/1.1 200 OK\r\ndate: x\r\ntransfer-encoding: chunked\r\n\r\n");
        let (encoder, head) = framed(unknown(), OLD, 200, &date);
        assert_eq!(encoder, Encoder::Close);
        assert_eq!(head, "HTTP/1.1 200 OK\r\ndate: x\r\nconnection: close\r\n\r\n");
        for twice in
            [&[("content-length", "5"), ("content-length", "5")][..], &[("content-length", "+5")]]
        {
            assert_eq!(framed(unknown(), GET, 200, twice).0, Encoder::Chunked);
        }
    }

    #[test]
    fn an_answer_that_has_no_body_has_none_whatever_it_says() {
        let length = [("content-length", "5"), ("date", "x")];
        for (asked, status, says) in
            [(HEAD, 200, true), (GET, 204, false), (GET, 304, true), (GET, 101, false)]
        {
            let (encoder, head) = framed(unknown(), asked, status, &length);
            assert_eq!(encoder, Encoder::Length(0), "{status}");
            assert_eq!(head.contains("content-length: 5"), says, "{head}");
            assert!(!head.contains("chunked"), "{head}");
        }
    }

    #[test]
    fn an_http10_client_hears_that_its_connection_lives_on() {
        let (_, head) = framed(Full::new(Bytes::new()), OLD, 200, &[("date", "x")]);
        assert!(head.contains("\r\nconnection: keep-alive\r\n"), "{head}");
    }

    #[test]
    fn an_answer_that_switches_says_so_itself() {
        let fields = [("connection", "upgrade"), ("upgrade", "x")];
        let (_, head) = framed(Empty::<Bytes>::new(), GET, 101, &fields);
        assert_eq!(
            head,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
        );
    }

    #[test]
    fn an_interim_head_is_written_without_a_length() {
        let answer = Response::builder()
            .status(103)
            .header("link", "</a.css>; rel=preload")
            .header("content-length", "0")
            .body(())
            .unwrap();
        assert_eq!(
            String::from_utf8(interim(&answer)).unwrap(),
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
        );
    }
}
