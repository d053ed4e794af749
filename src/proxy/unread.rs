//! What a client hears whose bytes could not be read as a request: hyper answers them with a bare
//! status, and here that becomes the problem document that every other answer of the gateway is.

use bytes::Bytes;
use http::StatusCode;

use super::rescue::{self, BAD_REQUEST, HEAD_TOO_LARGE, Problem, TARGET_TOO_LONG};
use super::visit::new_request_id;

/// The answer in place of hyper's own.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) problem: &'static Problem,
    /// Head and body.
    pub(super) bytes: Bytes,
}

/// The answer in place of what is `written`, if that is hyper's own to bytes that it could not read.
/// It is told by its beginning: no answer that went through an exchange has these fields first.
pub(super) fn instead_of(written: &[u8]) -> Option<Unread> {
    if !written.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let text = std::str::from_utf8(written).ok()?;
    let (line, rest) = text.split_once("\r\n")?;
    let fields = rest.strip_prefix("connection: close\r\ncontent-length: 0\r\n")?;
    let date = fields.strip_suffix("\r\n\r\n").filter(|date| date.starts_with("date: "))?;
    let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse::<u16>().ok()?;
    let (problem, detail) = match StatusCode::from_u16(status).ok()? {
        StatusCode::URI_TOO_LONG => (&TARGET_TOO_LONG, "the request target is too long"),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            &HEAD_TOO_LARGE,
            "the request line and the fields are too large, or there are too many",
        ),
        _ => (&BAD_REQUEST, "what was sent is not a valid request of HTTP/1.1"),
    };
    let id = new_request_id();
    let id = id.to_str().unwrap_or_default();
    let body = rescue::document(problem, detail.to_owned(), id, None);
    let head = format!(
        "{line}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\ncache-control: no-store\r\nx-request-id: {id}\r\n\
         proxy-status: tenantry; error={}\r\n{date}\r\n\r\n",
        body.len(),
        problem.proxy_error,
    );
    Some(Unread { problem, bytes: [head.as_bytes(), &body].concat().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypers_own_answer_becomes_a_document_and_no_other_does() {
        let date = "date: Sun, 22 Nov 2026 01:31:34 GMT\r\n\r\n";
        let bare = "connection: close\r\ncontent-length: 0\r\n";
        let own = format!("HTTP/1.1 431 Request Header Fields Too Large\r\n{bare}{date}");

        let unread = instead_of(own.as_bytes()).unwrap();

        assert_eq!(unread.problem.name, "head-too-large");
        let text = String::from_utf8(unread.bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with("\r\ndate: Sun, 22 Nov 2026 01:31:34 GMT"), "{head}");
        assert!(body.contains("urn:tenantry:problem:head-too-large"), "{body}");

        for other in [
            format!("HTTP/1.1 200 OK\r\n{bare}{date}"),
            format!("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n{date}"),
            format!("HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\n{bare}{date}"),
            format!("HTTP/1.1 400 Bad Request\r\n{bare}{date}more"),
            "HTTP/1.1 4".to_owned(),
        ] {
            assert!(instead_of(other.as_bytes()).is_none(), "{other}");
        }
    }
}
