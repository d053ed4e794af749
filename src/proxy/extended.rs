//! WebSockets of HTTP/2 (RFC 8441): a `CONNECT` that names a protocol is, to an endpoint of HTTP/1.1,
//! a `GET` that asks to switch to it.

use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::error::ExchangeError;

/// Marks a request that was an extended `CONNECT`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extended;

/// Makes such a request one of HTTP/1.1; any other one is left as it is.
///
/// # Errors
/// Where it names another protocol: what that would say to an endpoint is not known here. Where it tells
/// the length of a body: it has none (RFC 9113 §8.5), and an endpoint would take what comes next for it.
pub(super) fn receive(head: &mut Parts) -> Result<(), ExchangeError> {
    let Some(protocol) = head.extensions.remove::<Protocol>() else {
        return Ok(());
    };
    if head.method != Method::CONNECT || !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return Err(ExchangeError::Method(head.method.clone()));
    }
    if head.headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0") {
        return Err(ExchangeError::BadRequest("a CONNECT tells the length of a body"));
    }
    head.method = Method::GET;
    head.extensions.insert(Extended);
    head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    head.headers.insert(SEC_WEBSOCKET_KEY, key(fastrand::u128(..)));
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    Ok(())
}

/// Makes the answer that switches protocols the one that opens the stream.
pub(super) fn announce(answer: &mut Response<()>) {
    *answer.status_mut() = StatusCode::OK;
    for name in [SEC_WEBSOCKET_ACCEPT, CONNECTION, UPGRADE, CONTENT_LENGTH] {
        answer.headers_mut().remove(name);
    }
}

/// Whether a request was one.
pub(super) fn was(head: &Parts) -> bool {
    head.extensions.get::<Extended>().is_some()
}

/// An answer that does not switch protocols must not look as if it did: here any 2xx says so.
pub(super) fn decline(answer: &mut Response<()>) {
    if answer.status().is_success() {
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
    }
}

/// Whether the endpoint has switched to what was asked for.
pub(super) fn is_websocket(protocol: Option<&HeaderValue>, headers: &HeaderMap) -> bool {
    protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(SEC_WEBSOCKET_ACCEPT)
}

/// 16 bytes in base64 (RFC 6455 §4.1).
fn key(random: u128) -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = *b"AAAAAAAAAAAAAAAAAAAAAA==";
    // 21 digits hold 126 bits, and the last one the two that are left, at its upper end.
    for (place, digit) in text.iter_mut().take(21).enumerate() {
        *digit = DIGITS[(random >> (122 - 6 * place)) as usize & 63];
    }
    text[21] = DIGITS[(random as usize & 3) << 4];
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert_eq!(key(0), "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(key(u128::MAX), "/////////////////////w==");
        assert_eq!(key(u128::from_be_bytes(*b"the sample nonce")), "dGhlIHNhbXBsZSBub25jZQ==");
    }
}
