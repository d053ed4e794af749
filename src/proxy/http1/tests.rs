//! The wire beside a client that is a bare socket.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::base::memory::{Account, Memory};
use crate::base::purse::{Client, Purse};
use crate::base::socket::Socket;
use crate::http1::room::Room;
use crate::proxy::activity::Activity;
use crate::proxy::clock::Clock;
use crate::tls::stream::Stream;

use super::Body;
use super::request::{Head, Unread};
use super::wire::{BodyEnd, Bounds, Wire};

const BOUNDS: Bounds = Bounds { size: 4096, fields: 16 };

async fn streams() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap());
    let (far, near) = tokio::join!(far, listener.accept());
    (Stream::Plain(Socket::new(near.unwrap().0)), far.unwrap())
}

async fn pair() -> (Rc<Wire>, TcpStream) {
    let (stream, far) = streams().await;
    let activity = Activity::new(Clock::new());
    let shared = (Room::new(), Account::unlimited());
    (Wire::new(stream, Bytes::new(), activity, shared), far)
}

async fn next(wire: &Wire) -> Result<Option<Head>, Unread> {
    let purse = Purse::open(&Account::unlimited(), None, 0);
    std::future::poll_fn(|context| wire.poll_head(context, BOUNDS, &purse)).await
}

/// The next part of a body, in words.
async fn part(body: &Body) -> String {
    match std::future::poll_fn(|context| body.poll_frame(context)).await {
        None => "end".to_owned(),
        Some(Err(fault)) => format!("fault: {fault}"),
        Some(Ok(frame)) => String::from_utf8_lossy(frame.data_ref().unwrap()).into_owned(),
    }
}

async fn body_end(wire: &Wire) -> BodyEnd {
    std::future::poll_fn(|context| wire.poll_body_end(context)).await
}

#[tokio::test]
async fn a_body_that_outlives_its_request_takes_nothing_of_the_next_one() {
    let (wire, mut far) = pair().await;
    let put =
        |body: &str| format!("PUT / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    far.write_all((put("first") + &put("other")).as_bytes()).await.unwrap();

    next(&wire).await.unwrap().unwrap();
    let first = Body::of(&wire);
    assert_eq!(part(&first).await, "first");
    assert_eq!(body_end(&wire).await, BodyEnd::Whole);
    next(&wire).await.unwrap().unwrap();
    let other = Body::of(&wire);

    assert_eq!(part(&first).await, "end");
    assert!(first.is_end_stream() && !other.is_end_stream());
    drop(first);
    assert_eq!(part(&other).await, "other");
}

#[tokio::test]
async fn a_body_that_outlives_its_connection_keeps_no_socket_open() {
    let (wire, mut far) = pair().await;
    far.write_all(b"PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\npart").await.unwrap();
    next(&wire).await.unwrap().unwrap();
    let body = Body::of(&wire);
    assert_eq!(part(&body).await, "part");

    let (rest, ()) = tokio::join!(part(&body), async { drop(wire) });

    assert!(rest.starts_with("fault: "), "{rest}");
    assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_looks_like_chunks_behind_what_is_none_is_no_body() {
    let (wire, mut far) = pair().await;
    let bytes = b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n 2\r\nhi\r\n0\r\n\r\n";
    far.write_all(bytes).await.unwrap();
    next(&wire).await.unwrap().unwrap();
    drop(Body::of(&wire)); // refused, say

    assert_eq!(body_end(&wire).await, BodyEnd::Unread);
    assert_eq!(body_end(&wire).await, BodyEnd::Unread);
}

#[tokio::test]
async fn a_client_that_was_not_asked_for_its_body_is_not_asked_once_the_answer_begins() {
    let (wire, mut far) = pair().await;
    let head = b"PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    far.write_all(head).await.unwrap();
    next(&wire).await.unwrap().unwrap();
    let body = Body::of(&wire);

    assert!(wire.settle_body(), "the connection ends");

    assert!(part(&body).await.starts_with("fault: "));
    assert!(wire.activity.take_first().is_none());
}

#[tokio::test]
async fn a_head_comes_in_any_pieces_and_an_empty_line_may_stand_before_it() {
    let (wire, mut far) = pair().await;
    let bytes = b"\r\n\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n";
    let send = async {
        far.set_nodelay(true).unwrap();
        for byte in bytes {
            far.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };

    let (head, ()) = tokio::join!(next(&wire), send);

    let parts = head.unwrap().unwrap().parts;
    assert_eq!((parts.uri.path(), &parts.headers["host"]), ("/a", &"a".parse().unwrap()));
    assert!(wire.is_between_requests());
}

#[tokio::test]
async fn a_large_head_is_refused_where_memory_or_its_client_s_share_is_used_up_and_a_usual_one_is_not()
 {
    let (all, shared) = (Memory::new(64 << 10, 1), Memory::shared(1 << 20, 60 << 10, 1));
    let (all, shared) = (all.account(0), shared.account(0));
    let client = Client::new(1);
    let _others = (all.take(60 << 10), Purse::open(&shared, Some(&client), 60 << 10));
    let bounds = Bounds { size: 16 << 10, ..BOUNDS };
    for (account, size, refused) in [
        (&all, 1000, ""),
        (&all, 14_000, "Overloaded"),
        (&shared, 1000, ""),
        (&shared, 14_000, "ClientOverloaded"),
    ] {
        let (near, mut far) = streams().await;
        let own = (Room::new(), Arc::clone(account));
        let wire = Wire::new(near, Bytes::new(), Activity::new(Clock::new()), own);
        let purse = Purse::open(account, Some(&client), 0);
        let _exchange = purse.take(1 << 10); // what is left of a usual one has no room for a large head
        let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(size));
        far.write_all(head.as_bytes()).await.unwrap();

        let read = std::future::poll_fn(|context| wire.poll_head(context, bounds, &purse)).await;

        let why = read.err().map_or(String::new(), |unread| format!("{unread:?}"));
        assert_eq!(why, refused, "{size}");
    }
}

#[tokio::test]
async fn a_head_beyond_its_bounds_is_told_by_what_is_too_large() {
    for (begin, expected) in [("GET /", "Target"), ("GET / HTTP/1.1\r\nx: ", "TooLarge")] {
        let (wire, mut far) = pair().await;
        far.write_all(begin.as_bytes()).await.unwrap();
        far.write_all(&[b'a'; 5000]).await.unwrap();

        let unread = next(&wire).await.unwrap_err();

        assert!(format!("{unread:?}").starts_with(expected), "{unread:?}");
    }
}
