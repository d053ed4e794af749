//! The gateway's own answers in the words of gRPC: its clients read a status of theirs from
//! trailers, and no status or body of HTTP.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

/// Whether a request of this version is a call of gRPC, so that its client reads trailers. gRPC-Web
/// is none: it reads them from the body.
pub(super) fn is_call(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_2 && speaks(headers)
}

/// Whether a message is one of gRPC by what it says of its content.
pub(super) fn speaks(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = kind
        .split_at_checked(NAME.len())
        .and_then(|(name, rest)| name.eq_ignore_ascii_case(NAME).then_some(rest));
    matches!(rest, Some([] | [b'+' | b';' | b' ', ..]))
}

/// Says in the head, which is all of the answer, how the call has gone.
pub(super) fn describe(headers: &mut HeaderMap, code: u16, message: &str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    if let Ok(message) = HeaderValue::try_from(encoded(message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// The status of gRPC that its clients take one of HTTP for
/// (grpc/doc/http-grpc-status-mapping.md).
pub(super) fn code(status: StatusCode) -> u16 {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match status.as_u16() {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// A message as `grpc-message` has it: all but printable ASCII in percent.
fn encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The client's own time is over.
pub(super) const DEADLINE_EXCEEDED: u16 = 4;
const NAME: &[u8] = b"application/grpc";
/// How the call has gone.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_by_its_content_type_in_http2_alone() {
        let call = |version, kind: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            is_call(version, &headers)
        };
        for kind in ["application/grpc", "Application/gRPC+proto", "application/grpc; a=b"] {
            assert!(call(Version::HTTP_2, kind), "{kind}");
            assert!(!call(Version::HTTP_11, kind), "{kind}");
        }
        for kind in ["application/grpc-web", "application/grpc-web+proto", "application/grp", ""] {
            assert!(!call(Version::HTTP_2, kind), "{kind}");
        }
        assert!(!is_call(Version::HTTP_2, &HeaderMap::new()));
    }

    #[test]
    fn a_message_is_printable_ascii() {
        assert_eq!(encoded("no route: 5 % of 'a~b'\n\u{e9}"), "no route: 5 %25 of 'a~b'%0A%C3%A9");
    }
}
