//! What a client hears whose bytes could not be read as a request: a problem document, as from every
//! other answer of the gateway.

use bytes::Bytes;

use super::clock::Date;
use super::http1::Unread;
use super::problem::{
    self, BAD_REQUEST, CLIENT_OVERLOADED, HEAD_TOO_LARGE, OVERLOADED, Problem, TARGET_TOO_LONG,
};
use super::visit::new_request_id;

/// The problem's name, and the whole answer: the connection ends after it.
pub(super) fn answer(unread: &Unread, date: &Date) -> (&'static str, Bytes) {
    let problem: &Problem = match unread {
        Unread::Syntax(_) | Unread::Unclear(_) => &BAD_REQUEST,
        Unread::Target => &TARGET_TOO_LONG,
        Unread::TooLarge => &HEAD_TOO_LARGE,
        Unread::Overloaded => &OVERLOADED,
        Unread::ClientOverloaded => &CLIENT_OVERLOADED,
    };
    let id = new_request_id();
    let id = std::str::from_utf8(&id).unwrap_or_default();
    let body = problem::document(problem, unread.to_string(), id, (None, None));
    let later = if problem.status.is_server_error() { "retry-after: 1\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {} {}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\ncache-control: no-store\r\nx-request-id: {id}\r\n\
         proxy-status: tenantry; error={}\r\n{later}date: {}\r\n\r\n",
        problem.status.as_u16(),
        problem.status.canonical_reason().unwrap_or_default(),
        body.len(),
        problem.proxy_error,
        String::from_utf8_lossy(date),
    );
    (problem.name, [head.as_bytes(), &body].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_answered_with_a_document() {
        let (name, bytes) = answer(&Unread::TooLarge, b"Sun, 22 Nov 2026 01:31:34 GMT");

        assert_eq!(name, "head-too-large");
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with("\r\ndate: Sun, 22 Nov 2026 01:31:34 GMT"), "{head}");
        assert!(body.contains("urn:tenantry:problem:head-too-large"), "{body}");
    }
}
