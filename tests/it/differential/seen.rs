//! What a client makes of the bytes that it got.

use crate::world::message::fields;
use crate::world::strict::{self, Message};
use crate::world::wire::Framing;

/// How its connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has not, until now.
    Open,
    Orderly,
    Reset,
}

/// The statuses of its answers, and what the last one lacks; or why there is none.
pub(super) fn told(bytes: &[u8], end: End) -> String {
    let (mut told, mut rest) = (Vec::new(), bytes);
    while let Some(status) = first_status(rest) {
        let Some(size) = whole_size(status, rest, end) else {
            let lack = if end == End::Open { WAITS } else { BROKEN_OFF };
            told.push(format!("{status}, {lack}"));
            break;
        };
        told.push(status.to_owned());
        rest = &rest[size..];
    }
    match (told.is_empty(), end) {
        (true, End::Open) => WAITS.to_owned(),
        (true, _) => CLOSED.to_owned(),
        (false, _) => told.join(" "),
    }
}

/// The status of the answer that these bytes begin with.
fn first_status(bytes: &[u8]) -> Option<&str> {
    let after = bytes.strip_prefix(b"HTTP/1.")?;
    let status = std::str::from_utf8(after.get(2..5)?).ok()?;
    status.bytes().all(|byte| byte.is_ascii_digit()).then_some(status)
}

/// The size of the answer that these bytes begin with, where all of it is there.
fn whole_size(status: &str, bytes: &[u8], end: End) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    if status.starts_with('1') || matches!(status, "204" | "304") {
        return Some(head);
    }
    let (text, body) = (String::from_utf8_lossy(&bytes[..head]), &bytes[head..]);
    let size = match Framing::of(&fields(text.split("\r\n").skip(1)), Framing::UntilEnd) {
        Framing::Length(size) => (size <= body.len()).then_some(size),
        Framing::Chunked => strict::chunks(body, &mut Message::default()).ok().flatten(),
        Framing::UntilEnd => (end == End::Orderly).then_some(body.len()),
    };
    size.map(|size| head + size)
}

/// Nothing more came for as long as one waits.
pub(super) const WAITS: &str = "waits";
/// No answer came, and the connection ended.
pub(super) const CLOSED: &str = "closed";
/// The connection ended within an answer.
pub(super) const BROKEN_OFF: &str = "broken off";

#[test]
fn an_answer_that_came_whole_is_told_from_one_that_did_not() {
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    for (bytes, end, expected) in [
        (String::new(), End::Open, "waits"),
        (String::new(), End::Reset, "closed"),
        ("SSH-2.0\r\n".to_owned(), End::Orderly, "closed"),
        (format!("{sized}ok"), End::Open, "200"),
        (format!("{sized}ok"), End::Reset, "200"),
        (format!("{sized}o"), End::Open, "200, waits"),
        (format!("{sized}o"), End::Orderly, "200, broken off"),
        (format!("{sized}ok{sized}"), End::Orderly, "200 200, broken off"),
        (format!("{chunked}0\r\n\r\n"), End::Orderly, "200"),
        (chunked.to_owned(), End::Orderly, "200, broken off"),
        ("HTTP/1.1 200 OK\r\n\r\nok".to_owned(), End::Orderly, "200"),
        ("HTTP/1.1 200 OK\r\n\r\nok".to_owned(), End::Reset, "200, broken off"),
        ("HTTP/1.1 200 OK\r\nX".to_owned(), End::Orderly, "200, broken off"),
        ("HTTP/1.1 204 None\r\n\r\n".to_owned(), End::Open, "204"),
        (format!("HTTP/1.1 100 Go on\r\n\r\n{sized}ok"), End::Open, "100 200"),
    ] {
        assert_eq!(told(bytes.as_bytes(), end), expected, "{bytes:?}, {end:?}");
    }
}
