//! The head of a request to an endpoint, as bytes.

use bytes::{BufMut, BytesMut};
use http::HeaderMap;
use http::header::{EXPECT, HOST};
use http::request::Parts;

use crate::http1::fields::{field_size, lists, write_field, write_within};
use crate::upstream::Field;

/// Writes request line and fields. `Host` comes first (RFC 9112 §3.2), what is `added` last.
pub(super) fn write_head(head: &Parts, added: &[Field], out: &mut BytesMut) {
    let (mut own, mut host) = (0, None);
    for (name, value) in &head.headers {
        own += field_size(name, value);
        if *name == HOST {
            host = Some(value);
        }
    }
    let others: usize = added.iter().map(|(name, value)| field_size(name, value)).sum();
    let fields = own + others;
    let (path, query) = (head.uri.path(), head.uri.query());
    let target = path.len() + query.map_or(0, |query| query.len() + 1);
    let size = head.method.as_str().len() + target + LINE + fields;
    write_within(out, size, |out| {
        out.put_slice(head.method.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(path.as_bytes());
        if let Some(query) = query {
            out.put_u8(b'?');
            out.put_slice(query.as_bytes());
        }
        out.put_slice(b" HTTP/1.1\r\n");
        if let Some(host) = host {
            write_field(b"host", host, out);
        }
        for (name, value) in head.headers.iter().filter(|(name, _)| **name != HOST) {
            write_field(name.as_str().as_bytes(), value, out);
        }
        for (name, value) in added {
            write_field(name.as_str().as_bytes(), value, out);
        }
        out.put_slice(b"\r\n");
    });
}

/// Whether the client waits for a word before it sends the body (RFC 9110 §10.1.1).
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get_all(EXPECT).iter().any(|said| lists(said, b"100-continue"))
}

/// What a request line has beside method and target, and the empty line at the end.
const LINE: usize = " HTTP/1.1\r\n".len() + 1 + "\r\n".len();

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::HeaderValue;

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
}
