//! RFC 9112 sections 2.2, 5 and 6: how a request is told from the next.

use crate::world::client::Client;

use super::{SMUGGLED, World, get, request};

#[tokio::test]
async fn a_transfer_coding_in_disguise_is_refused() {
    let world = World::start().await;
    let disguises: &[&[u8]] = &[
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunkedx\r\n",
        b"Transfer-Encoding: chunk\r\n",
        b"Transfer-Encoding: \"chunked\"\r\n",
        b"Transfer-Encoding: 'chunked'\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity, chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: ,chunked\r\n",
        b"Transfer-Encoding: chunked,\r\n",
        b"Transfer-Encoding: chunked chunked\r\n",
        b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: \xffchunked\r\n",
        b"Transfer-Encoding: chunked\xa0\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding: chunked\x0c\r\n",
        b"Transfer-Encoding: chunked\0\r\n",
        b"Transfer-Encoding: chunked\r\r\n",
        b"Transfer-Encoding: \rchunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer-Encoding:\n\tchunked\r\n",
        b"X: 1\r\n Transfer-Encoding: chunked\r\n",
        b"X: 1\rTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding\t: chunked\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"\x00Transfer-Encoding: chunked\r\n",
        b"Transfer\xadEncoding: chunked\r\n",
        b"Transfer Encoding: chunked\r\n",
        b"Transfer-Encoding\r\n : chunked\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ];
    for disguise in disguises {
        let body = format!("0\r\n\r\n{SMUGGLED}");
        let length = format!("Content-Length: {}\r\n", body.len());
        for fields in [disguise.to_vec(), [length.as_bytes(), disguise].concat()] {
            world.refuses(&request("POST /", fields, "0\r\n\r\n")).await;
        }
    }
}

#[tokio::test]
async fn a_coding_that_is_chunked_is_read_as_such_however_it_is_written() {
    let world = World::start().await;
    for coding in ["chunked", "Chunked", "CHUNKED", "\tchunked", "chunked \t", "  chunked"] {
        for name in ["Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING"] {
            let bytes = request("POST /", format!("{name}:{coding}\r\n"), "2\r\nhi\r\n0\r\n\r\n");
            world.routes(&bytes, "POST / hi").await;
        }
    }
}

#[tokio::test]
async fn a_name_that_some_take_for_a_framing_field_passes_by_no_request() {
    let world = World::start().await;
    for name in ["Transfer_Encoding", "Transfer.Encoding", "Content_Length", "content!length"] {
        let bytes = request("POST /", format!("{name}: 5\r\nContent-Length: 2\r\n"), "hi");
        let routed = world.routes(&bytes, "POST / hi").await;
        assert_eq!(routed.all(&name.to_ascii_lowercase()), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn a_length_that_is_no_number_or_several_is_refused() {
    let world = World::start().await;
    let bad: &[&str] = &[
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2.0\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2,\r\n",
        "Content-Length: 2;\r\n",
        "Content-Length: \"2\"\r\n",
        "Content-Length:\r\n",
        "Content-Length: two\r\n",
        "Content-Length: 1e1\r\n",
        "Content-Length: 1_0\r\n",
        "Content-Length: \u{0662}\r\n",
        "Content-Length: 18446744073709551618\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length: 2\0\r\n",
        "Content-Length: \u{b}2\r\n",
        "Content-Length : 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: x\r\n",
        "Content-Length: 2\r\nContent-Length:\r\n",
        "Content-Length:\r\n 2\r\n",
    ];
    for fields in bad {
        world.refuses(&request("POST /", fields, "hi")).await;
    }
}

#[tokio::test]
async fn lengths_that_agree_are_one_and_leading_zeros_are_a_number() {
    let world = World::start().await;
    for fields in ["Content-Length: 2\r\nContent-Length: 2\r\n", "Content-Length: 0002\r\n"] {
        let routed = world.routes(&request("POST /", fields, "hi"), "POST / hi").await;
        assert_eq!(routed.all("content-length").len(), 1);
    }
}

#[tokio::test]
async fn a_length_beside_chunks_loses_and_ends_the_connection() {
    let world = World::start().await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = format!("Content-Length: {}\r\n", 5 + SMUGGLED.len());
    for fields in [format!("{length}{chunked}"), format!("{chunked}{length}")] {
        let bytes = request("POST /", fields, format!("0\r\n\r\n{SMUGGLED}"));
        let outcome = world.send(&bytes, 2).await;
        assert_eq!((outcome.statuses, outcome.closed), (vec![200], true));
        assert_eq!(outcome.routed[0].told(), "POST / ");
    }
}

#[tokio::test]
async fn a_coding_in_http10_is_refused() {
    let world = World::start().await;
    let bytes = b"POST / HTTP/1.0\r\nHost: a\r\nX-Tenant-ID: acme\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    world.refuses(bytes).await;
}

#[tokio::test]
async fn a_head_with_bytes_or_lines_that_mean_two_things_is_refused() {
    let world = World::start().await;
    let bad: &[&[u8]] = &[
        b"X: a\0b\r\n",
        b"X: a\rb\r\n",
        b"X: a\r\r\n",
        b"X: a\x01b\r\n",
        b"X: a\x7fb\r\n",
        b"X\0: a\r\n",
        b"X : a\r\n",
        b"X\t: a\r\n",
        b": a\r\n",
        b"no colon\r\n",
        b"X: a\r\n folded\r\n",
        b"X: a\r\n\tfolded\r\n",
        b"X(y): a\r\n",
        b"X\xe9: a\r\n",
        b"X: a\r\n\r X: b\r\n",
    ];
    for fields in bad {
        world.refuses(&request("GET /", fields, "")).await;
    }
    world.refuses(b"GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n").await;
}

#[tokio::test]
async fn a_bare_line_feed_never_makes_another_request_upstream() {
    let world = World::start().await;
    let outcome = world.send(&request("GET /one", "X: 1\nX-Two: 2\n", ""), 1).await;
    // RFC 9112 section 2.2 allows both; the endpoint gets lines that end as they must.
    assert!(matches!(outcome.statuses[0], 200 | 400), "{:?}", outcome.statuses);
    for message in outcome.routed {
        assert_eq!((message.all("x"), message.all("x-two")), (vec!["1"], vec!["2"]));
    }
}

#[tokio::test]
async fn empty_lines_before_a_request_are_passed_over() {
    let world = World::start().await;
    world.routes(&[b"\r\n\r\n".to_vec(), get("/a")].concat(), "GET /a").await;
}

#[tokio::test]
async fn requests_that_come_at_once_are_as_many_upstream_and_in_their_order() {
    let world = World::start().await;
    let put = request("PUT /b", "Content-Length: 2\r\n", "hi");
    let post = request("POST /c", "Transfer-Encoding: chunked\r\n", "2\r\nho\r\n0\r\n\r\n");
    let outcome = world.send(&[get("/a"), put, post, get("/d")].concat(), 4).await;
    assert_eq!(outcome.statuses, [200; 4]);
    assert_eq!(outcome.told(), ["GET /a", "PUT /b hi", "POST /c ho", "GET /d"]);
}

#[tokio::test]
async fn a_bad_request_behind_a_good_one_takes_nothing_from_it() {
    let world = World::start().await;
    let bad: &[&[u8]] = &[
        b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
        b"hello\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    ];
    for second in bad {
        let bytes = [get("/good"), second.to_vec(), SMUGGLED.into()].concat();
        let outcome = world.send(&bytes, 3).await;
        assert_eq!((outcome.statuses.as_slice(), outcome.closed), (&[200, 400][..], true));
        assert_eq!(outcome.told(), ["GET /good"]);
    }
}

#[tokio::test]
async fn what_follows_a_request_that_asked_for_the_end_is_no_request() {
    let world = World::start().await;
    let last = request("GET /last", "Connection: close\r\n", "");
    let outcome = world.send(&[last, SMUGGLED.into()].concat(), 2).await;
    assert_eq!((outcome.statuses, outcome.closed), (vec![200], true));
    assert_eq!(outcome.last.all("connection"), ["close"]);
    assert_eq!(outcome.routed.len(), 1);
}

#[tokio::test]
async fn a_version_that_is_none_is_refused() {
    let world = World::start().await;
    for version in
        ["HTTP/1", "HTTP/1.", "HTTP/1.2", "HTTP/11", "HTTP/2.0", "http/1.1", "HTTP/1.1 x", ""]
    {
        world
            .refuses(format!("GET / {version}\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n").as_bytes())
            .await;
    }
}

#[tokio::test]
async fn a_client_that_closes_within_its_body_has_sent_no_request() {
    let world = World::start().await;
    for (fields, part) in [
        ("Content-Length: 10\r\n", "half"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n0\r\n"),
    ] {
        let mut client = Client::connect(world.gateway.address()).await;
        client.send(request("PUT /cut", fields, part)).await;
        drop(client);
        let outcome = world.send(&get("/next"), 1).await;
        assert_eq!(outcome.told(), ["GET /next"], "{part:?}");
    }
}
