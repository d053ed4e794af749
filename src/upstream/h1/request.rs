//! The bytes of a request: its head, and how the body that follows is framed (RFC 9112 §6).

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;

use crate::upstream::Field;

use super::Fault;

/// Writes request line and fields. `Host` comes first (RFC 9112 §3.2), what is `added` last.
pub(super) fn write_head(head: &Parts, added: &[Field], out: &mut BytesMut) {
    let own: usize = head.headers.iter().map(|(name, value)| field_size(name, value)).sum();
    let others: usize = added.iter().map(|(name, value)| field_size(name, value)).sum();
    let fields = own + others;
    let (path, query) = (head.uri.path(), head.uri.query());
    let target = path.len() + query.map_or(0, |query| query.len() + 1);
    out.reserve(head.method.as_str().len() + target + LINE + fields);
    out.put_slice(head.method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(path.as_bytes());
    if let Some(query) = query {
        out.put_u8(b'?');
        out.put_slice(query.as_bytes());
    }
    out.put_slice(b" HTTP/1.1\r\n");
    if let Some(host) = head.headers.get(HOST) {
        write_field(b"host", host, out);
    }
    for (name, value) in head.headers.iter().filter(|(name, _)| **name != HOST) {
        write_field(name.as_str().as_bytes(), value, out);
    }
    for (name, value) in added {
        write_field(name.as_str().as_bytes(), value, out);
    }
    out.put_slice(b"\r\n");
}

fn field_size(name: &http::HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + b": \r\n".len()
}

fn write_field(name: &[u8], value: &HeaderValue, out: &mut BytesMut) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

/// How a body is written, and what of it is still owed. What the head has said is kept to the
/// byte: a body that is longer or shorter would make the endpoint see other requests than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoder {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks, until one of no size.
    Chunked,
}

impl Encoder {
    /// The framing that a head announces; a head that announces none has no body.
    ///
    /// # Errors
    /// When the length is no number, or there are several ways to read it.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        const UNCLEAR: Fault = Fault::Request("its head does not say clearly how long its body is");
        let chunked = headers.contains_key(TRANSFER_ENCODING);
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        let length = lengths.next();
        if lengths.next().is_some() || (chunked && length.is_some()) {
            return Err(UNCLEAR);
        }
        if chunked {
            return Ok(Self::Chunked);
        }
        let Some(length) = length else {
            return Ok(Self::Length(0));
        };
        decimal(length.as_bytes()).map(Self::Length).ok_or(UNCLEAR)
    }

    /// Begins one part of the body. Gives the bytes that end it.
    ///
    /// # Errors
    /// When the body is longer than its head says.
    pub(super) fn begin(
        &mut self,
        data: &Bytes,
        out: &mut BytesMut,
    ) -> Result<&'static [u8], Fault> {
        match self {
            Self::Length(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or(Fault::Request("its body is longer than its head says"))?;
                Ok(b"")
            }
            Self::Chunked => {
                write_size(data.len(), out);
                Ok(b"\r\n")
            }
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When it is shorter than its head says.
    pub(super) fn end(
        &self,
        trailers: Option<&HeaderMap>,
        out: &mut BytesMut,
    ) -> Result<(), Fault> {
        match self {
            Self::Length(0) => Ok(()),
            Self::Length(_) => Err(Fault::Request("its body is shorter than its head says")),
            Self::Chunked => {
                out.put_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    write_field(name.as_str().as_bytes(), value, out);
                }
                out.put_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

/// The number that ASCII digits alone spell (RFC 9110 §8.6): no sign, no space, no overflow.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn write_size(size: usize, out: &mut BytesMut) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.put_u8(b"0123456789abcdef"[size >> (digit * 4) & 0xf]);
    }
    out.put_slice(b"\r\n");
}

/// What a request line has beside method and target, and the empty line at the end.
const LINE: usize = " HTTP/1.1\r\n".len() + 1 + "\r\n".len();

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn written(request: Request<()>) -> String {
        let mut out = BytesMut::new();
        let added = (http::header::VIA, HeaderValue::from_static("a"));
        write_head(&request.into_parts().0, &[added], &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_head_has_its_target_the_host_first_and_every_field() {
        let request = Request::get("/a/b?c=%20d")
            .header("x-one", "1")
            .header("host", "a.example")
            .header("x-two", "2")
            .header("x-two", "3")
            .body(());
        assert_eq!(
            written(request.unwrap()),
            "GET /a/b?c=%20d HTTP/1.1\r\nhost: a.example\r\nx-one: 1\r\nx-two: 2\r\nx-two: 3\r\nvia: a\r\n\r\n"
        );
        let star = Request::options("*").body(()).unwrap();
        assert_eq!(written(star), "OPTIONS * HTTP/1.1\r\nvia: a\r\n\r\n");
        let bare = Request::get("http://a.example?b").body(()).unwrap();
        assert_eq!(written(bare), "GET /?b HTTP/1.1\r\nvia: a\r\n\r\n");
    }

    fn encoder(fields: &[(&'static str, &'static str)]) -> Result<Encoder, Fault> {
        let fields = fields.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        Encoder::of(&fields.collect::<HeaderMap>())
    }

    #[test]
    fn a_head_that_says_two_things_of_its_body_is_not_sent() {
        assert_eq!(encoder(&[]).unwrap(), Encoder::Length(0));
        assert_eq!(encoder(&[("content-length", "5")]).unwrap(), Encoder::Length(5));
        assert_eq!(encoder(&[("transfer-encoding", "chunked")]).unwrap(), Encoder::Chunked);
        for length in ["", "+5", "5, 5", " 5", "0x5", "18446744073709551616"] {
            assert!(encoder(&[("content-length", length)]).is_err(), "{length:?}");
        }
        let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
        assert!(encoder(&both).is_err());
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        let five = Bytes::from_static(b"12345");
        let mut out = BytesMut::new();
        assert!(Encoder::Length(4).begin(&five, &mut out).is_err());
        let mut encoder = Encoder::Length(6);
        encoder.begin(&five, &mut out).unwrap();
        assert!(encoder.end(None, &mut out).is_err());
    }

    #[test]
    fn trailers_end_the_chunks() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        let mut out = BytesMut::new();
        Encoder::Chunked.end(Some(&trailers), &mut out).unwrap();
        assert_eq!(&out[..], b"0\r\nx-sum: 7\r\n\r\n");
    }

    proptest! {
        #[test]
        fn a_chunks_size_is_its_size_in_hex(size: usize) {
            let mut out = BytesMut::new();
            write_size(size, &mut out);
            prop_assert_eq!(String::from_utf8_lossy(&out), format!("{size:x}\r\n"));
        }

        #[test]
        fn a_decimal_is_what_it_spells(number: u64) {
            prop_assert_eq!(decimal(number.to_string().as_bytes()), Some(number));
        }
    }
}
