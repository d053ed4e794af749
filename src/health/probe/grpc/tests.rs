//! The health service of gRPC, as scripted servers speak it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::request::Parts;
use proptest::prelude::{any, prop, proptest};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::base::tasks::Tasks;
use crate::config::spec::ProbeSpec;

use super::super::build;
use super::*;

/// What a server answers.
#[derive(Clone, Default)]
struct Answer {
    head: Vec<(&'static str, &'static str)>,
    status: u16,
    parts: Vec<Vec<u8>>,
    trailers: Option<Vec<(&'static str, &'static str)>>,
}

impl Answer {
    /// A call that succeeds with this message, in these parts.
    fn of(parts: &[&[u8]]) -> Self {
        Self {
            head: vec![("content-type", "application/grpc")],
            status: 200,
            parts: parts.iter().map(|part| part.to_vec()).collect(),
            trailers: Some(vec![("grpc-status", "0")]),
        }
    }

    /// A call that fails, in its head alone.
    fn failed(fields: &[(&'static str, &'static str)]) -> Self {
        let head = [&[("content-type", "application/grpc+proto")][..], fields].concat();
        Self { head, status: 200, parts: Vec::new(), trailers: None }
    }
}

type Heard = Arc<Mutex<Vec<(Parts, Vec<u8>)>>>;

/// A server that answers each call like this, one connection after the other.
async fn server(answer: Answer) -> (SocketAddr, Heard, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    let mut tasks = Tasks::new("test");
    tasks.spawn(|_stop| async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                // Drives the connection while the body is read.
                let (head, mut body) = request.into_parts();
                let mut read = Vec::new();
                let reading = async {
                    while let Some(Ok(data)) = body.data().await {
                        read.extend_from_slice(&data);
                    }
                };
                tokio::select! {
                    () = reading => {}
                    _ = std::future::poll_fn(|context| connection.poll_closed(context)) => {}
                }
                noted.lock().unwrap().push((head, read));
                let mut response = Response::builder().status(answer.status);
                for (name, value) in &answer.head {
                    response = response.header(*name, *value);
                }
                let ends = answer.parts.is_empty() && answer.trailers.is_none();
                let mut sending = respond.send_response(response.body(()).unwrap(), ends).unwrap();
                for part in &answer.parts {
                    sending.send_data(part.clone().into(), false).unwrap();
                }
                if let Some(trailers) = &answer.trailers {
                    let fields = trailers.iter().map(|(name, value)| {
                        (HeaderName::from_static(name), HeaderValue::from_static(value))
                    });
                    sending.send_trailers(fields.collect()).unwrap();
                }
            }
        }
    });
    (address, heard, tasks)
}

fn spec(service: &str) -> ProbeSpec {
    ProbeSpec::Grpc { service: service.to_owned(), host: None, headers: Vec::new() }
}

async fn asked(service: &str, answer: Answer) -> Result<(), String> {
    let (address, _heard, _tasks) = server(answer).await;
    let probe = build(&spec(service), Way::default());
    let check = timeout(Duration::from_secs(20), probe.check(address.into()));
    check.await.expect("the probe hangs").map_err(|error| error.to_string())
}

/// A message with this status, behind its prefix.
fn word(status: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, 2, 0x08, status]
}

#[tokio::test]
async fn a_call_names_the_service_and_a_service_that_serves_passes() {
    let (address, heard, _tasks) = server(Answer::of(&[&word(1)])).await;
    let host = Some(HeaderValue::from_static("shop.internal"));
    let headers = vec![("x-key".parse().unwrap(), HeaderValue::from_static("secret"))];
    let spec = ProbeSpec::Grpc { service: "shop.Cart".to_owned(), host, headers };

    assert_eq!(build(&spec, Way::default()).check(address.into()).await, Ok(()));

    let heard = heard.lock().unwrap();
    let (head, body) = &heard[0];
    assert_eq!((&head.method, head.uri.path()), (&Method::POST, "/grpc.health.v1.Health/Check"));
    assert_eq!(head.uri.authority().unwrap(), "shop.internal");
    let fields = ["content-type", "te", "user-agent", "x-key"].map(|name| &head.headers[name]);
    assert_eq!(fields, ["application/grpc", "trailers", "tenantry-health", "secret"]);
    assert_eq!(body, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
}

#[tokio::test]
async fn the_server_as_a_whole_is_asked_for_by_an_empty_message() {
    let (address, heard, _tasks) = server(Answer::of(&[&word(1)])).await;

    assert_eq!(build(&spec(""), Way::default()).check(address.into()).await, Ok(()));

    assert_eq!(heard.lock().unwrap()[0].1, b"\0\0\0\0\0");
}

#[tokio::test]
async fn each_status_but_serving_fails_with_its_name() {
    let says = |status: u8| asked("s", Answer::of(&[&word(status)]));
    let reason = |said: &str| Err(format!("the health service says {said}, expected SERVING"));

    assert_eq!(says(1).await, Ok(()));
    assert_eq!(says(0).await, reason("UNKNOWN"));
    assert_eq!(asked("s", Answer::of(&[&[0; 5]])).await, reason("UNKNOWN"), "as proto3 leaves out");
    assert_eq!(says(2).await, reason("NOT_SERVING"));
    assert_eq!(says(9).await, reason("9"));
    assert_eq!(says(3).await, Err("the health service does not know \"s\"".to_owned()));
}

#[tokio::test]
async fn a_call_that_fails_tells_why() {
    let failed = |service: &'static str, fields: &[(&'static str, &'static str)]| {
        asked(service, Answer::failed(fields))
    };
    let unknown = "the health service does not know \"shop.Cart\"";
    assert_eq!(failed("shop.Cart", &[("grpc-status", "5")]).await, Err(unknown.to_owned()));
    let whole = "the health service says nothing of the server as a whole: name a service";
    assert_eq!(failed("", &[("grpc-status", "5")]).await, Err(whole.to_owned()));
    let none = "there is no health service: grpc.health.v1.Health/Check is UNIMPLEMENTED";
    assert_eq!(failed("s", &[("grpc-status", "12")]).await, Err(none.to_owned()));
    let message = ("grpc-message", "the cart is at 5 %25%0a%C3%A9");
    let told = "the health service fails: gRPC status 14 UNAVAILABLE: the cart is at 5 % \u{e9}";
    assert_eq!(failed("s", &[("grpc-status", "14"), message]).await, Err(told.to_owned()));
    let told = "the health service fails: gRPC status 99 UNKNOWN";
    assert_eq!(failed("s", &[("grpc-status", "99")]).await, Err(told.to_owned()));

    let trailers = Some(vec![("grpc-status", "12")]);
    let behind = Answer { trailers, ..Answer::of(&[]) };
    assert_eq!(asked("s", behind).await, Err(none.to_owned()));
}

#[tokio::test]
async fn what_is_no_answer_of_the_health_service_fails() {
    let page = Answer { head: vec![("content-type", "text/html")], ..Answer::of(&[b"hello"]) };
    let error = "no valid HTTP answer: content-type \"text/html\" is not gRPC";
    assert_eq!(asked("s", page).await, Err(error.to_owned()));
    let moved = Answer { status: 302, ..Answer::of(&[]) };
    assert_eq!(asked("s", moved).await, Err("status 302, expected 200, as gRPC has it".to_owned()));
    let silent = Answer { trailers: Some(Vec::new()), ..Answer::of(&[&word(1)]) };
    assert_eq!(asked("s", silent).await, Err("no valid HTTP answer: no grpc-status".to_owned()));
    let large = asked("s", Answer::of(&[&[0; 600], &[0; 600]])).await;
    assert_eq!(large, Err("no valid HTTP answer: a message of over 1024 bytes".to_owned()));
    for message in [&b""[..], b"\0\0\0", b"\x01\0\0\0\x02\x08\x01", b"\0\0\0\0\x09\x08\x01"] {
        let error = asked("s", Answer::of(&[message])).await.unwrap_err();
        assert!(error.starts_with("no valid HTTP answer: no health message: "), "{error}");
    }
}

#[tokio::test]
async fn a_message_may_come_in_parts_and_with_fields_that_nobody_knows() {
    let parts: [&[u8]; 3] = [b"\0\0\0", b"\0\x06\x08\x01", b"\x12\x02hi"];
    assert_eq!(asked("s", Answer::of(&parts)).await, Ok(()));
}

proptest! {
    #[test]
    fn whatever_comes_is_read_without_a_panic(
        message in prop::collection::vec(any::<u8>(), 0..64),
        reason in prop::collection::vec(32u8..=255, 0..600),
    ) {
        drop(read(&message));
        if let Ok(value) = HeaderValue::from_bytes(&reason) {
            let text = decoded(&value);
            assert!(text.len() <= 3 * LONGEST_REASON && !text.contains(char::is_control));
        }
    }
}
