//! Fields of a head as bytes, and what those of a message say of its framing.

use bytes::BytesMut;
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
    /// What the last of them says; `None` where it is no number.
    said: Option<u64>,
    /// There are several.
    repeated: bool,
    /// `Transfer-Encoding`.
    pub coding: bool,
    /// `Connection`, with more to say than the two below.
    pub connection: bool,
    /// `Connection: keep-alive`.
    pub keep: bool,
    /// `Connection: close`.
    pub close: bool,
    /// `Keep-Alive`.
    pub keep_alive: bool,
}

impl Seen {
    /// Notes that a field is there. Tells whether it is for anybody else: what `Connection` says as a
    /// rule ends with the connection and names no other field.
    pub fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> bool {
        if *name == CONTENT_LENGTH {
            self.repeated |= self.length;
            self.length = true;
            self.said = decimal(value.as_bytes());
        }
        self.coding |= *name == TRANSFER_ENCODING;
        self.keep_alive |= *name == KEEP_ALIVE;
        if *name != CONNECTION {
            return true;
        }
        let (keep, close) = (is(value, b"keep-alive"), is(value, b"close"));
        self.keep |= keep;
        self.close |= close;
        self.connection |= !keep && !close;
        !keep && !close
    }
}

/// Writes one field.
pub fn write_field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
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

/// The length that the fields agree on. One field is left to say so.
///
/// # Errors
/// When one is no number, or two differ.
pub fn length(headers: &mut HeaderMap, seen: &Seen) -> Result<Option<u64>, Fault> {
    if !seen.length {
        return Ok(None);
    }
    let length = seen.said.ok_or(Fault::Head("its Content-Length is no number"))?;
    if seen.repeated {
        let mut fields = headers.get_all(CONTENT_LENGTH).iter();
        if !fields.all(|field| decimal(field.as_bytes()) == Some(length)) {
            return Err(Fault::Head("it has several values of Content-Length"));
        }
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
    let says = |token: &[u8]| headers.get_all(CONNECTION).iter().any(|value| lists(value, token));
    let close = seen.close || (seen.connection && says(b"close"));
    match version {
        Version::HTTP_10 => !close && (seen.keep || (seen.connection && says(b"keep-alive"))),
        _ => !close,
    }
}

/// Whether a comma-separated field holds a token, in any case.
pub fn lists(value: &HeaderValue, token: &[u8]) -> bool {
    let mut members = value.as_bytes().split(|byte| *byte == b',');
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(token))
}

fn is(value: &HeaderValue, word: &[u8]) -> bool {
    value.as_bytes().eq_ignore_ascii_case(word)
}

/// The field that says for how long.
pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keeps(version: Version, values: &[&'static str]) -> (bool, usize) {
        let (mut seen, mut headers) = (Seen::default(), HeaderMap::new());
        for value in values {
            let value = HeaderValue::from_static(value);
            if seen.note(&CONNECTION, &value) {
                headers.append(CONNECTION, value);
            }
        }
        (says_keep(&headers, version, &seen), headers.len())
    }

    #[test]
    fn a_connection_field_is_kept_where_it_names_others_and_heard_all_the_same() {
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        assert_eq!(keeps(new, &[]), (true, 0));
        assert_eq!(keeps(old, &[]), (false, 0));
        assert_eq!(keeps(new, &["Close"]), (false, 0));
        assert_eq!(keeps(old, &["Keep-Alive"]), (true, 0));
        assert_eq!(keeps(old, &["keep-alive", "close"]), (false, 0));
        assert_eq!(keeps(new, &["keep-alive", "x-hop, close"]), (false, 1));
        assert_eq!(keeps(old, &["x-hop", "keep-alive"]), (true, 1));
        assert_eq!(keeps(old, &["x-hop, keep-alive"]), (true, 1));
        assert_eq!(keeps(new, &["keep-alive, te"]), (true, 1));
    }

    proptest! {
        #[test]
        fn a_decimal_is_what_it_spells(number: u64) {
            prop_assert_eq!(decimal(number.to_string().as_bytes()), Some(number));
        }
    }
}
