//! RFC 9112 section 7: chunks of a request, read as they are written there, and written anew.

use super::{SMUGGLED, World, request};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[tokio::test]
async fn chunks_that_another_reader_might_read_otherwise_never_make_a_request() {
    let world = World::start().await;
    let bad: &[&[u8]] = &[
        b"\r\n",
        b"x\r\nhi\r\n0\r\n\r\n",
        b" 2\r\nhi\r\n0\r\n\r\n",
        b"+2\r\nhi\r\n0\r\n\r\n",
        b"-2\r\nhi\r\n0\r\n\r\n",
        b"0x2\r\nhi\r\n0\r\n\r\n",
        b"2h\r\nhi\r\n0\r\n\r\n",
        b"2 2\r\nhi\r\n0\r\n\r\n",
        b"2,\r\nhi\r\n0\r\n\r\n",
        b"2\nhi\r\n0\r\n\r\n",
        b"2\rhi\r\n0\r\n\r\n",
        b"2\r\rhi\r\n0\r\n\r\n",
        b"2\0\r\nhi\r\n0\r\n\r\n",
        b"2\r\nhi\n0\r\n\r\n",
        b"2\r\nhi0\r\n\r\n",
        b"2\r\nhixx0\r\n\r\n",
        b"2\r\nhi!\r\n0\r\n\r\n",
        b"2;a\nhi\r\n0\r\n\r\n",
        b"2;a\rb\r\nhi\r\n0\r\n\r\n",
        b"2\r\nhi\r\n0\n\n",
        b"2\r\nhi\r\n0\r\nX : 1\r\n\r\n",
        b"2\r\nhi\r\n0\r\nno field\r\n\r\n",
        b"2\r\nhi\r\n0\r\nX: 1\r\n folded\r\n\r\n",
        b"2\r\nhi\r\n0\r\nX: a\0b\r\n\r\n",
        b"10000000000000002\r\nhi\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    ];
    for body in bad {
        let bytes = request("POST /bad", CHUNKED, [body, SMUGGLED.as_bytes()].concat());
        let outcome = world.send(&bytes, 2).await;
        let what = String::from_utf8_lossy(body);
        assert!(outcome.closed, "{what:?}");
        assert!(
            matches!(outcome.statuses[..], [400 | 413] | []),
            "{what:?}: {:?}",
            outcome.statuses
        );
    }
}

#[tokio::test]
async fn chunks_are_passed_on_without_what_is_for_this_hop() {
    let world = World::start().await;
    let good: &[&str] = &[
        "2\r\nhi\r\n0\r\n\r\n",
        "1\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
        "002\r\nhi\r\n000\r\n\r\n",
        "2;name=value\r\nhi\r\n0;last\r\n\r\n",
        "2;name=\"a;b\"\r\nhi\r\n0\r\n\r\n",
        "2 ;a\r\nhi\r\n0\r\n\r\n",
        "2\t\r\nhi\r\n0 \r\n\r\n",
    ];
    for body in good {
        world.routes(&request("POST /", CHUNKED, body), "POST / hi").await;
    }
}

#[tokio::test]
async fn what_follows_the_last_chunk_is_the_next_request() {
    let world = World::start().await;
    let next = request("GET /next", "", "");
    let bytes = [request("POST /", CHUNKED, "2\r\nhi\r\n0\r\n\r\n"), next].concat();
    let outcome = world.send(&bytes, 2).await;
    assert_eq!(outcome.told(), ["POST / hi", "GET /next"]);
}

#[tokio::test]
async fn extensions_and_trailers_without_end_are_refused() {
    let world = World::start().await;
    let long = "a".repeat(600 << 10);
    for body in [format!("1;{long}\r\nx\r\n0\r\n\r\n"), format!("1\r\nx\r\n0\r\nX: {long}\r\n\r\n")]
    {
        let outcome = world.send(&request("POST /", CHUNKED, body), 1).await;
        assert!(outcome.closed && outcome.routed.is_empty(), "{:?}", outcome.statuses);
    }
}

#[tokio::test]
async fn trailers_add_nothing_that_a_head_must_say() {
    let world = World::start().await;
    let trailers = "X-Sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: evil\r\n\
                    X-Tenant-ID: evil\r\nAuthorization: x\r\nCookie: x\r\nConnection: close\r\n\
                    Content-Type: x\r\nContent-Encoding: gzip\r\nContent-Range: x\r\nTE: x\r\n\
                    Trailer: x\r\nSet-Cookie: x\r\nExpect: 100-continue\r\nMax-Forwards: 0\r\n\
                    Range: bytes=0-\r\nIf-Match: x\r\nCache-Control: no-store\r\nX_Tenant_ID: b\r\n";
    let bytes = request("POST /", CHUNKED, format!("2\r\nhi\r\n0\r\n{trailers}\r\n"));
    let routed = world.routes(&bytes, "POST / hi").await;
    assert_eq!(routed.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn trailers_that_the_connection_field_names_end_here() {
    let world = World::start().await;
    let fields = format!("{CHUNKED}Connection: X-Sum, te\r\nConnection: x-two\r\nTE: trailers\r\n");
    let body = "2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\nX-Kept: 3\r\n\r\n";
    let routed = world.routes(&request("POST /", fields, body), "POST / hi").await;
    assert_eq!(routed.trailers, [("x-kept".to_owned(), "3".to_owned())]);
}

#[tokio::test]
async fn a_line_feed_within_trailers_smuggles_nothing() {
    let world = World::start().await;
    for trailers in ["X: 1\nY: 2\r\n\r\n", "X: 1\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let bytes = request("POST /", CHUNKED, format!("2\r\nhi\r\n0\r\n{trailers}"));
        let outcome = world.send(&bytes, 1).await;
        assert!(matches!(outcome.statuses[..], [200] | [400] | []), "{:?}", outcome.statuses);
        assert!(outcome.told().iter().all(|told| told == "POST / hi"), "{:?}", outcome.told());
    }
}
