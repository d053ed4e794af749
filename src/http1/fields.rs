//! Fields of a head as bytes, and what those of a message say of its framing.

use bytes::{BufMut, BytesMut};
use http::Version;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};

use super::Fault;

/// Which of the fields that say something of the message or the connection are there at all: most
/// messages have one of them.
#[derive(Debug, Default)]
pub struct Seen {
    /// `Content-Length`.
    pub length: bool,
    /// `Transfer-Encoding`.
    pub coding: bool,
    /// `Connection`.
    pub connection: bool,
    /// `Keep-Alive`.
    pub keep_alive: bool,
}

impl Seen {
    /// Notes that a field of this name is there.
    pub fn note(&mut self, name: &HeaderName) {
        self.length |= *name == CONTENT_LENGTH;
        self.coding |= *name == TRANSFER_ENCODING;
        self.connection |= *name == CONNECTION;
        self.keep_alive |= *name == KEEP_ALIVE;
    }
}

/// Bytes of a field in a head.
pub fn field_size(name: &http::HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + b": \r\n".len()
}

/// Writes one field.
pub fn write_field(name: &[u8], value: &HeaderValue, out: &mut BytesMut) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

/// The number that ASCII digits alone spell (RFC 9110 §8.6): no sign, no space, no overflow.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether `bytes` hold a whole head, where the first `seen` bytes did not.
pub fn is_whole(bytes: &[u8], seen: usize) -> bool {
    let fresh = &bytes[seen.saturating_sub(3)..];
    let ends = |(place, byte): (usize, &u8)| {
        *byte == b'\n' && matches!(&fresh[place + 1..], [b'\n', ..] | [b'\r', b'\n', ..])
    };
    fresh.iter().enumerate().any(ends)
}

/// The length that the fields agree on. One field is left to say so.
///
/// # Errors
/// When one is no number, or two differ.
pub fn length(headers: &mut HeaderMap) -> Result<Option<u64>, Fault> {
    let mut fields = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = fields.next() else {
        return Ok(None);
    };
    let length = decimal(first.as_bytes()).ok_or(Fault::Head("its Content-Length is no number"))?;
    let mut repeated = false;
    for field in fields {
        repeated = true;
        if decimal(field.as_bytes()) != Some(length) {
            return Err(Fault::Head("it has several values of Content-Length"));
        }
    }
    if repeated {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

/// Whether `chunked` is the only transfer coding.
pub fn is_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// Whether the connection lives on after a message (RFC 9112 §9.3).
pub fn says_keep(headers: &HeaderMap, version: Version, seen: &Seen) -> bool {
    if !seen.connection {
        return version == Version::HTTP_11;
    }
    let says = |token: &[u8]| {
        let values = headers.get_all(CONNECTION).iter();
        values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|said| said.trim_ascii().eq_ignore_ascii_case(token))
    };
    match version {
        Version::HTTP_10 => says(b"keep-alive") && !says(b"close"),
        _ => !says(b"close"),
    }
}

/// The field that says for how long.
pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_decimal_is_what_it_spells(number: u64) {
            prop_assert_eq!(decimal(number.to_string().as_bytes()), Some(number));
        }

        #[test]
        fn a_whole_head_is_found_however_it_comes(cut in 0usize..40) {
            let head = b"HTTP/1.1 200 OK\r\nx: 1\r\ny: 2\r\n\r\n";
            let cut = cut.min(head.len() - 1);
            prop_assert!(!is_whole(&head[..cut], 0));
            prop_assert!(is_whole(head, cut));
        }
    }
}
