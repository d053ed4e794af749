//! A connection beside an endpoint that is a bare socket.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body::{Body, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::base::memory::{Account, Memory};
use crate::base::socket::Socket;
use crate::base::tasks::LocalTasks;
use crate::model::ids::Label;
use crate::telemetry::meter::Meter;
use crate::tls::stream::Stream;
use crate::upstream::{Call, Fields, HeadLimits};

use crate::http1::Fault;

use crate::http1::room::{AnswerHead, Room};

use super::{Line, Open, Wire};

/// Gives its parts one by one, whatever the head says of them.
#[derive(Debug)]
struct Said(std::vec::IntoIter<Bytes>);

impl Said {
    fn of(parts: &[&'static [u8]]) -> Self {
        let parts: Vec<Bytes> = parts.iter().map(|part| Bytes::from_static(part)).collect();
        Self(parts.into_iter())
    }
}

impl Body for Said {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|part| Ok(Frame::data(part))))
    }
}

async fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn over(near: TcpStream) -> Wire<Said> {
    let limits = HeadLimits { size: 64 << 10, fields: 256 };
    let shared = (Room::new(), Account::unlimited());
    Wire::new(Stream::Plain(Socket::new(near)), shared, limits)
}

async fn wire() -> (Wire<Said>, TcpStream) {
    let (near, far) = streams().await;
    (over(near), far)
}

static NONE: Fields = Vec::new();

fn ignore(_: AnswerHead) {}

fn call(head: &Parts) -> Call<'_> {
    Call { head, added: &NONE, interim: &ignore }
}

fn put(length: usize) -> Parts {
    let request = Request::put("/").header("host", "a").header("content-length", length);
    request.body(()).unwrap().into_parts().0
}

#[tokio::test]
async fn a_body_of_another_length_than_its_head_says_ends_the_request() {
    for parts in [&[b"123".as_slice()][..], &[b"1234567", b"12345"]] {
        let (mut wire, _far) = wire().await;
        wire.begin(call(&put(5)), Said::of(parts)).unwrap();

        let polled =
            std::future::poll_fn(|context| Poll::Ready(wire.poll_answer(context, &ignore))).await;

        assert!(matches!(polled, Poll::Ready(Err(Fault::Unsendable(_)))), "{parts:?}: {polled:?}");
    }
}

#[tokio::test]
async fn nothing_may_come_before_an_answer_however_it_comes() {
    for pieces in [&["\r\n", "\r\n"][..], &["\r\n\r\n"], &["\r"], &["\n", "x"]] {
        let (mut wire, mut far) = wire().await;
        wire.begin(call(&put(0)), Said::of(&[])).unwrap();
        let saying = async {
            for piece in pieces {
                far.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        };
        let answering = std::future::poll_fn(|context| wire.poll_answer(context, &ignore));

        let (answer, ()) = tokio::join!(answering, saying);

        let refused = matches!(answer, Err(Fault::Syntax(_) | Fault::Head(_)));
        assert!(refused, "{pieces:?}: {answer:?}");
    }
}

#[tokio::test]
async fn chunks_go_on_coming_where_memory_is_short() {
    let memory = Memory::new(100_000, 1);
    let account = memory.account(0);
    let _others = account.take(60_000);
    assert!(account.is_tight());
    let (near, mut far) = streams().await;
    let limits = HeadLimits { size: 64 << 10, fields: 256 };
    let mut wire: Wire<Said> =
        Wire::new(Stream::Plain(Socket::new(near)), (Room::new(), account), limits);
    wire.begin(call(&put(0)), Said::of(&[])).unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    std::future::poll_fn(|context| wire.poll_answer(context, &ignore)).await.unwrap();

    // Each is read by itself, to the end of its line, and taken before the next one comes.
    for _ in 0..10 {
        far.write_all(b"4\r\npart\r\n").await.unwrap();
        let part = std::future::poll_fn(|context| wire.poll_frame(context)).await;
        assert_eq!(part.unwrap().unwrap().into_data().unwrap(), "part");
    }
    far.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(std::future::poll_fn(|context| wire.poll_frame(context)).await.is_none());
}

/// Asks, and tells whether all of the answer, which has come to `near` by then, was read with its head.
async fn comes_whole(
    wire: &mut Wire<Said>,
    (near, far): (&std::net::TcpStream, &mut TcpStream),
    size: usize,
) -> bool {
    wire.begin(call(&put(0)), Said::of(&[])).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    let answer = [head.as_bytes(), &vec![7; size]].concat();
    far.write_all(&answer).await.unwrap();
    while near.peek(&mut vec![0; answer.len()]).unwrap_or(0) < answer.len() {
        tokio::task::yield_now().await;
    }
    std::future::poll_fn(|context| wire.poll_answer(context, &ignore)).await.unwrap();
    let whole = wire.take_rest();
    let mut body = whole.clone().unwrap_or_default().to_vec();
    while let Some(frame) = std::future::poll_fn(|context| wire.poll_frame(context)).await {
        body.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    assert_eq!(body, vec![7; size]);
    assert!(wire.is_reusable());
    whole.is_some()
}

#[tokio::test]
async fn an_answer_as_long_as_the_last_one_comes_in_one_read() {
    const LONG: usize = 16 << 10;
    let (near, mut far) = streams().await;
    let near = near.into_std().unwrap();
    let mut wire = over(TcpStream::from_std(near.try_clone().unwrap()).unwrap());
    let mut ask = async |size| comes_whole(&mut wire, (&near, &mut far), size).await;

    assert!(!ask(LONG).await, "nothing is known yet");
    assert!(ask(LONG).await && ask(LONG / 2).await && ask(3).await);
    assert!(!ask(LONG).await, "the last one was short");
}

#[tokio::test]
async fn a_flood_of_interim_answers_is_no_answer() {
    for (times, taken) in [(32, true), (33, false)] {
        let (mut wire, mut far) = wire().await;
        wire.begin(call(&put(0)), Said::of(&[])).unwrap();
        let flood = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(times);
        let last = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        far.write_all((flood + last).as_bytes()).await.unwrap();

        let answer = std::future::poll_fn(|context| wire.poll_answer(context, &ignore)).await;

        assert_eq!(answer.is_ok(), taken, "{times}: {answer:?}");
    }
}

/// More than sockets hold.
static LARGE: [u8; 32 << 20] = [7; 32 << 20];

/// A line whose answer has come while the endpoint takes no more of the request, its endpoint, and
/// the pool that counts it as open.
async fn answered_early(tasks: &Rc<RefCell<LocalTasks>>) -> (Line<Said>, TcpStream, Label) {
    let (wire, mut far) = wire().await;
    let pool = Label { name: "shop".into(), slot: 0 };
    let open = Open::count(&Rc::new(Meter::new(0, mpsc::channel(1).0)), &pool);
    let mut line = Line::new(wire, Rc::clone(tasks), open);
    let answering = async {
        far.read_u8().await.unwrap();
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let head = put(LARGE.len());
    let (answer, ()) = tokio::join!(line.send(call(&head), Said::of(&[&LARGE])), answering);
    assert_eq!((answer.unwrap().status().as_u16(), line.is_sent()), (200, false));
    tokio::task::yield_now().await; // who sends the rest waits for room by now
    (line, far, pool)
}

#[tokio::test]
async fn who_sends_the_rest_of_a_request_ends_with_its_connection() {
    let ending = async {
        let tasks = Rc::new(RefCell::new(LocalTasks::new("test")));
        let (line, _far, _) = answered_early(&tasks).await;

        drop(line);

        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(tasks.borrow_mut().running(), 0);
    };
    LocalSet::new().run_until(ending).await;
}

#[tokio::test]
async fn a_connection_that_sends_the_rest_of_a_request_counts_as_open_until_it_closes() {
    let finishing = async {
        let tasks = Rc::new(RefCell::new(LocalTasks::new("test")));
        let (line, mut far, pool) = answered_early(&tasks).await;

        line.finish();

        tokio::task::yield_now().await;
        assert!(Arc::strong_count(&pool.name) > 1, "nobody counts it");
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(&LARGE[..1000]) && rest.len() > LARGE.len());
        tokio::task::yield_now().await;
        assert_eq!((tasks.borrow_mut().running(), Arc::strong_count(&pool.name)), (0, 1));
    };
    LocalSet::new().run_until(finishing).await;
}

#[tokio::test]
async fn what_an_endpoint_says_before_the_first_request_is_no_answer() {
    let (near, mut far) = streams().await;
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    near.peek(&mut [0]).await.unwrap();
    let mut wire = over(near);

    let begun = wire.begin(call(&put(5)), Said::of(&[b"12345"]));

    assert!(matches!(begun, Err(Fault::Head(_))), "{begun:?}");
    assert!(!wire.is_reusable() && !wire.has_begun());
}
