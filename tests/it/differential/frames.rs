//! Odd requests of HTTP/2, as frames of stream 1: what a proxy has to make requests of HTTP/1 of.

use std::net::SocketAddr;
use std::time::Duration;

use h2::Reason;
use tokio::time::timeout;

use crate::world::raw_h2::{
    DATA, END_HEADERS, END_STREAM, Fate, GET, HEADERS, RawH2, block, frame, request,
};

use super::seen::{CLOSED, WAITS};

type Field<'f> = (&'f [u8], &'f [u8]);

/// Odd requests, each with a name for the table.
pub(super) fn requests() -> Vec<(&'static str, Vec<u8>)> {
    [values(), names(), pseudo(), hosts(), connections(), lengths(), trailers(), methods()].concat()
}

/// Sends the frames on a connection of their own and tells what became of the stream; nothing, where
/// that takes longer than `silence`.
pub(super) async fn client(address: SocketAddr, frames: &[u8], silence: Duration) -> String {
    let mut client = RawH2::connect(address).await;
    client.send(frames).await;
    match timeout(silence, client.fate(1)).await {
        Err(_) => WAITS.to_owned(),
        Ok(Fate::Answer(status, _)) => status.to_string(),
        Ok(Fate::Reset(code)) => format!("reset ({:?})", Reason::from(code)),
        Ok(Fate::GoAway(code)) => format!("ended ({:?})", Reason::from(code)),
        Ok(Fate::Closed) => CLOSED.to_owned(),
    }
}

/// The usual request with further fields.
fn with(fields: &[Field<'_>]) -> Vec<u8> {
    request(1, &[&GET[..], fields].concat())
}

/// The usual request with this field before it.
fn before(name: &[u8], value: &[u8]) -> Vec<u8> {
    request(1, &[&[(name, value)], &GET[..]].concat())
}

/// The usual request with other values of some fields.
fn but(changes: &[Field<'_>]) -> Vec<u8> {
    let value = |(name, usual)| {
        let change = changes.iter().find(|(changed, _)| *changed == name);
        (name, change.map_or(usual, |(_, value)| *value))
    };
    request(1, &GET.map(value))
}

/// The usual request without a field, and with others after it.
fn without(name: &[u8], fields: &[Field<'_>]) -> Vec<u8> {
    let kept = GET.into_iter().filter(|(own, _)| *own != name);
    request(1, &kept.chain(fields.iter().copied()).collect::<Vec<_>>())
}

/// The head of an upload with further fields, whose body follows.
fn put(fields: &[Field<'_>]) -> Vec<u8> {
    let put: Field<'_> = (b":method", b"PUT");
    let head = [&[put], &GET[1..], fields].concat();
    frame(HEADERS, END_HEADERS, 1, &block(&head))
}

fn data(flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, 1, bytes)
}

fn values() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("plain request", with(&[])),
        ("CR LF in a value", with(&[(b"x-a", b"1\r\nx-b: 2")])),
        ("a whole request in a value", with(&[(b"x-a", SMUGGLED)])),
        ("line feed in a value", with(&[(b"x-a", b"1\nx-b: 2")])),
        ("carriage return in a value", with(&[(b"x-a", b"1\rx-b: 2")])),
        ("NUL in a value", with(&[(b"x-a", b"1\x002")])),
        ("space before a value", with(&[(b"x-a", b" 1")])),
        ("space after a value", with(&[(b"x-a", b"1 ")])),
        ("crumbs of a cookie", with(&[(b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2")])),
        ("CR LF in a crumb", with(&[(b"cookie", b"a=1\r\nx-b: 2"), (b"cookie", b"b=2")])),
    ]
}

fn names() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("CR LF in a name", with(&[(b"x-a: 1\r\nx-b", b"2")])),
        ("line feed in a name", with(&[(b"x-a\nx-b", b"2")])),
        ("NUL in a name", with(&[(b"x-a\0", b"1")])),
        ("colon in a name", with(&[(b"x-a:b", b"1")])),
        ("space in a name", with(&[(b"x a", b"1")])),
        ("space after a name", with(&[(b"content-length ", b"0")])),
        ("empty name", with(&[(b"", b"1")])),
        ("name in upper case", with(&[(b"X-A", b"1")])),
        ("name with a byte above 0x7f", with(&[(b"x-\xe9", b"1")])),
    ]
}

fn pseudo() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("two :path", before(b":path", b"/2")),
        ("two :method", before(b":method", b"PUT")),
        ("unknown pseudo-field", before(b":x", b"1")),
        (":status in a request", before(b":status", b"200")),
        (":protocol without CONNECT", before(b":protocol", b"websocket")),
        ("pseudo-field after a field", without(b":path", &[(b":path", b"/")])),
        ("no :path", without(b":path", &[])),
        ("no :method", without(b":method", &[])),
        ("no :scheme", without(b":scheme", &[])),
        ("empty :path", but(&[(b":path", b"")])),
        (":path without a slash", but(&[(b":path", b"a")])),
        (":path with a space", but(&[(b":path", b"/ HTTP/1.1")])),
        (":path with a CR LF", but(&[(b":path", b"/ HTTP/1.1\r\nx-a: 1")])),
        (":path with a fragment", but(&[(b":path", b"/a#b")])),
        (":path with a host", but(&[(b":path", b"http://b/")])),
        ("asterisk of a GET", but(&[(b":path", b"*")])),
        ("unknown :scheme", but(&[(b":scheme", b"ftp")])),
        (":scheme with a slash", but(&[(b":scheme", b"http://b/x?")])),
        (":method with a space", but(&[(b":method", b"GET /2 HTTP/1.1")])),
        (":method in lower case", but(&[(b":method", b"get")])),
    ]
}

fn hosts() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("Host as :authority", with(&[(b"host", b"a.example")])),
        ("Host other than :authority", with(&[(b"host", b"b.example")])),
        ("Host alone", without(b":authority", &[(b"host", b"a.example")])),
        ("neither Host nor :authority", without(b":authority", &[])),
        ("two Host", without(b":authority", &[(b"host", b"a.example"), (b"host", b"b.example")])),
        ("empty :authority", but(&[(b":authority", b"")])),
        (":authority with a user", but(&[(b":authority", b"u@a.example")])),
        (":authority with a path", but(&[(b":authority", b"a.example/x")])),
        (":authority with a CR LF", but(&[(b":authority", b"a.example\r\nx-a: 1")])),
    ]
}

fn connections() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("connection: close", with(&[(b"connection", b"close")])),
        ("connection: x-tenant-id", with(&[(b"connection", b"x-tenant-id")])),
        ("transfer-encoding: chunked", with(&[(b"transfer-encoding", b"chunked")])),
        ("keep-alive", with(&[(b"keep-alive", b"timeout=5")])),
        ("proxy-connection", with(&[(b"proxy-connection", b"close")])),
        ("upgrade", with(&[(b"upgrade", b"websocket")])),
        ("te: trailers", with(&[(b"te", b"trailers")])),
        ("te: gzip", with(&[(b"te", b"gzip")])),
    ]
}

fn lengths() -> Vec<(&'static str, Vec<u8>)> {
    let five: Field<'_> = (b"content-length", b"5");
    let sized = |bytes: &[u8]| [put(&[five]), data(END_STREAM, bytes)].concat();
    let chunked: Field<'_> = (b"transfer-encoding", b"chunked");
    vec![
        ("a body as long as it says", sized(b"hello")),
        ("less than content-length", sized(b"hell")),
        ("more than content-length", sized(b"hello!")),
        ("a whole request after content-length", sized(&[b"hello", SMUGGLED].concat())),
        ("content-length and no body", with(&[five])),
        ("two content-length", [put(&[five, five]), data(END_STREAM, b"hello")].concat()),
        (
            "two other content-length",
            [put(&[(b"content-length", b"4"), five]), data(END_STREAM, b"hello")].concat(),
        ),
        (
            "content-length with a sign",
            [put(&[(b"content-length", b"+5")]), data(END_STREAM, b"hello")].concat(),
        ),
        ("chunks within DATA", [put(&[chunked]), data(END_STREAM, b"0\r\n\r\n")].concat()),
        ("no content-length", [put(&[]), data(END_STREAM, b"0\r\n\r\n")].concat()),
        ("DATA after the end", [sized(b"hello"), data(END_STREAM, SMUGGLED)].concat()),
    ]
}

fn trailers() -> Vec<(&'static str, Vec<u8>)> {
    let ended = |flags, fields: &[Field<'_>]| {
        let last = frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
        [put(&[]), data(0, b"hello"), last].concat()
    };
    vec![
        ("trailers", ended(END_STREAM, &[(b"x-sum", b"1")])),
        (":path in trailers", ended(END_STREAM, &[(b":path", b"/2")])),
        (":status in trailers", ended(END_STREAM, &[(b":status", b"200")])),
        ("content-length in trailers", ended(END_STREAM, &[(b"content-length", b"9")])),
        ("transfer-encoding in trailers", ended(END_STREAM, &[(b"transfer-encoding", b"chunked")])),
        ("CR LF in trailers", ended(END_STREAM, &[(b"x-sum", b"1\r\n\r\nGET /2 HTTP/1.1")])),
        ("upper case in trailers", ended(END_STREAM, &[(b"X-Sum", b"1")])),
        ("trailers without an end", ended(0, &[(b"x-sum", b"1")])),
    ]
}

fn methods() -> Vec<(&'static str, Vec<u8>)> {
    let connect: Field<'_> = (b":method", b"CONNECT");
    let tunnel = |protocol| {
        let fields = [&[connect, (b":protocol", protocol)], &GET[1..]].concat();
        frame(HEADERS, END_HEADERS, 1, &block(&fields))
    };
    vec![
        (
            "CONNECT",
            frame(HEADERS, END_HEADERS, 1, &block(&[connect, (b":authority", b"a:80"), GET[4]])),
        ),
        ("CONNECT with :path", but(&[connect])),
        ("WebSocket by extended CONNECT", tunnel(b"websocket")),
        ("another protocol by extended CONNECT", tunnel(b"x")),
        ("GET with a body", [without_end(), data(END_STREAM, b"hello")].concat()),
        ("asterisk of OPTIONS", but(&[(b":method", b"OPTIONS"), (b":path", b"*")])),
    ]
}

/// The usual request, whose body follows.
fn without_end() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(&GET))
}

const SMUGGLED: &[u8] = b"1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n";
