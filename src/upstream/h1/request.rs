//! The head of a request to an endpoint, as bytes.

use bytes::BytesMut;
use http::HeaderMap;
use http::header::{AUTHORIZATION, EXPECT, HOST, HeaderValue};
use http::request::Parts;

use crate::http1::Fault;
use crate::http1::encoder::{Encoder, Said};
use crate::http1::fields::{lists, write_field};
use crate::upstream::Field;

/// Writes request line and fields. `Host` comes first (RFC 9112 §3.2), what is `added` last. Tells how
/// the body is framed, and whether the connection is the client's own from then on.
///
/// # Errors
/// When the fields do not say that clearly.
pub(super) fn write_head(
    head: &Parts,
    added: &[Field],
    out: &mut BytesMut,
) -> Result<(Encoder, bool), Fault> {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(head.uri.path().as_bytes());
    if let Some(query) = head.uri.query() {
        out.extend_from_slice(b"?");
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let (mut said, mut is_own) = (Said::default(), false);
    if let Some((name, host)) = head.headers.iter().find(|(name, _)| **name == HOST) {
        write_field(name, host, out);
    }
    for (name, value) in head.headers.iter().filter(|(name, _)| **name != HOST) {
        said.note(name, value);
        is_own |= *name == AUTHORIZATION && proves_connection(value);
        write_field(name, value, out);
    }
    for (name, value) in added {
        write_field(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
    Ok((said.framing()?, is_own))
}

/// Whether an endpoint takes all that follows on the connection for the same client's (RFC 4559 §6:
/// NTLM, and Negotiate with it inside, prove who has the connection and not who has sent a request).
fn proves_connection(credentials: &HeaderValue) -> bool {
    let scheme = credentials.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"negotiate") || scheme.eq_ignore_ascii_case(b"ntlm")
}

/// Whether the client waits for a word before it sends the body (RFC 9110 §10.1.1).
pub(in crate::upstream) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get_all(EXPECT).iter().any(|said| lists(said, b"100-continue"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn written(request: Request<()>) -> String {
        let mut out = BytesMut::new();
        let added = (http::header::VIA, HeaderValue::from_static("a"));
        write_head(&request.into_parts().0, &[added], &mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_connection_is_its_client_s_once_that_has_proved_who_has_it() {
        let is_own = |credentials: &'static str| {
            let request = Request::get("/").header("authorization", credentials).body(()).unwrap();
            write_head(&request.into_parts().0, &[], &mut BytesMut::new()).unwrap().1
        };
        assert!(is_own("NTLM TlRMTVNTUAAB") && is_own("negotiate YII=") && is_own("Negotiate"));
        assert!(
            !is_own("Basic YTpi") && !is_own("Bearer Negotiate") && !is_own("") && !is_own("N")
        );
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
}
