//! Odd requests and odd answers.

/// A request's lines after `GET / HTTP/1.1`, `Host` and the tenant.
const fn fields(name: &'static str, rest: &'static str) -> (&'static str, Odd) {
    (name, Odd::Fields(rest))
}

const fn raw(name: &'static str, bytes: &'static str) -> (&'static str, Odd) {
    (name, Odd::Raw(bytes))
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Odd {
    /// `POST /` with `Host`, the tenant and these further bytes.
    Fields(&'static str),
    /// These bytes; `@` stands for the tenant's line.
    Raw(&'static str),
}

impl Odd {
    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Fields(rest) => {
                format!("POST / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n{rest}").into_bytes()
            }
            Self::Raw(bytes) => bytes.replace('@', "X-Tenant-ID: acme\r\n").into_bytes(),
        }
    }
}

/// Odd requests, each with a name for the table.
pub(super) const REQUESTS: &[(&str, Odd)] = &[
    raw("plain request", "GET / HTTP/1.1\r\nHost: a\r\n@\r\n"),
    fields(
        "length and chunks",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    ),
    fields("two equal lengths", "Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    fields("two lengths", "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    fields("list of lengths", "Content-Length: 1, 1\r\n\r\na"),
    fields("length with a sign", "Content-Length: +1\r\n\r\na"),
    fields("length in hex", "Content-Length: 0x1\r\n\r\na"),
    fields("empty length", "Content-Length: \r\n\r\n"),
    fields("space before the colon", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    fields("coding after a tab", "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"),
    fields("coding in quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    fields("unknown coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    fields("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    fields("chunked twice", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    fields("chunked, identity", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    fields("coding with a control byte", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    fields("folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    fields("folded field", "X-A: 1\r\n 2\r\n\r\n"),
    fields("bare line feed between fields", "X-A: 1\nX-B: 2\r\nContent-Length: 0\r\n\r\n"),
    fields("bare carriage return in a field", "X-A: 1\rX-B: 2\r\nContent-Length: 0\r\n\r\n"),
    fields("NUL in a field", "X-A: 1\x002\r\nContent-Length: 0\r\n\r\n"),
    fields("name with a space", "X A: 1\r\nContent-Length: 0\r\n\r\n"),
    fields("empty name", ": 1\r\nContent-Length: 0\r\n\r\n"),
    fields("line without a colon", "X-A\r\nContent-Length: 0\r\n\r\n"),
    fields("chunk with a sign", "Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n"),
    fields("chunk with 0x", "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"),
    fields(
        "chunk size of 17 digits",
        "Transfer-Encoding: chunked\r\n\r\n00000000000000001\r\na\r\n0\r\n\r\n",
    ),
    fields(
        "chunk size overflow",
        "Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n",
    ),
    fields("chunk extension", "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\na\r\n0\r\n\r\n"),
    fields(
        "chunk extension with a bare line feed",
        "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n",
    ),
    fields("chunk ended by a bare line feed", "Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n"),
    fields("chunk longer than its size", "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"),
    fields(
        "trailer that names a length",
        "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    ),
    raw("no host", "GET / HTTP/1.1\r\n@\r\n"),
    raw("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n@\r\n"),
    raw("host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n@\r\n"),
    raw("absolute target, other host", "GET http://b/x HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("fragment in the target", "GET /a#b HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("control byte in the target", "GET /a\x01b HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("dot segments", "GET /a/../b HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("encoded dot segments", "GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("dot segments above the root", "GET /../../b HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("encoded NUL in the path", "GET /a%00b HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("broken encoding", "GET /a%zz HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("backslash", "GET /a\\b HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("authority as a target", "GET a:80 HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("method in lower case", "get / HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("method with a bad character", "G@ET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n@\r\n"),
    raw("version 3.0", "GET / HTTP/3.0\r\nHost: a\r\n@\r\n"),
    raw("version in lower case", "GET / http/1.1\r\nHost: a\r\n@\r\n"),
    raw("no version", "GET /\r\n\r\n"),
    raw(
        "1.0 with chunks",
        "POST / HTTP/1.0\r\nHost: a\r\n@Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    raw("tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n@\r\n"),
    raw("line feeds alone", "GET / HTTP/1.1\nHost: a\nX-Tenant-ID: acme\n\n"),
    raw("space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n@\r\n"),
    raw("GET with a body", "GET / HTTP/1.1\r\nHost: a\r\n@Content-Length: 1\r\n\r\na"),
    raw(
        "two requests at once",
        "GET / HTTP/1.1\r\nHost: a\r\n@\r\nGET /2 HTTP/1.1\r\nHost: a\r\n@\r\n",
    ),
];

/// Odd answers of an endpoint that closes the connection after its bytes.
pub(super) const ANSWERS: &[(&str, &str)] = &[
    ("plain answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("until the end", "HTTP/1.1 200 OK\r\n\r\nok"),
    (
        "length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    ("two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("too short", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"),
    ("bytes after it", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n"),
    (
        "gzip, chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "1.0 with chunks",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n"),
    ("chunks cut short", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
    ("204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
    ("space before the colon", "HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 2\r\n\r\nok"),
    ("folded field", "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok"),
    ("NUL in a field", "HTTP/1.1 200 OK\r\nX-A: 1\x002\r\nContent-Length: 2\r\n\r\nok"),
    ("bare carriage return", "HTTP/1.1 200 OK\r\nX-A: 1\rX-B: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok"),
    (
        "unasked 101",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ),
    ("version 2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("no HTTP", "SSH-2.0-OpenSSH\r\n"),
    ("nothing", ""),
];
