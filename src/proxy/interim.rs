//! Answers of status 1xx on their way to a client: they go out below hyper, which sends final ones.

use http::Response;
use http::header::CONTENT_LENGTH;

/// The bytes of an interim answer, a head alone. RFC 9110 §8.6 knows no length there.
pub(super) fn written(answer: &Response<()>) -> Vec<u8> {
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or("Interim");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in answer.headers().iter().filter(|(name, _)| **name != CONTENT_LENGTH) {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_without_a_length() {
        let answer = Response::builder()
            .status(103)
            .header("link", "</a.css>; rel=preload")
            .header("content-length", "0")
            .body(())
            .unwrap();
        assert_eq!(
            String::from_utf8(written(&answer)).unwrap(),
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
        );
    }
}
