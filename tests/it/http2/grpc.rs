//! gRPC from end to end: a client and a server that are tonic's, and the gateway between them.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::world::client::{Frames, Hyper};
use crate::world::config::{NO_RETRY, one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::grpc::{Caller, POURED, Talk, failure, next, request};
use crate::world::tls::Certificates;
use crate::world::unreachable::Refusing;
use crate::world::{eventually, resting, within};

const H2: &str = "protocol = \"h2\"";

async fn start() -> (Talk, Gateway, Caller) {
    let server = Talk::start("one").await;
    let downstream = "[downstream]\nmax-body = \"64MiB\"";
    let gateway = Gateway::start_with(downstream, &one_tenant_with(&[server.address], H2)).await;
    let caller = Caller::connect(gateway.address()).await;
    (server, gateway, caller)
}

fn text(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

/// A stream of messages that the test sends one by one.
fn sending() -> (mpsc::UnboundedSender<Bytes>, UnboundedReceiverStream<Bytes>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver))
}

#[track_caller]
fn assert_failure(status: &Status) {
    let expected = failure();
    assert_eq!((status.code(), status.message()), (expected.code(), expected.message()));
    assert_eq!(status.details(), expected.details());
    assert_eq!(status.metadata().get("x-why"), expected.metadata().get("x-why"));
}

#[tokio::test]
async fn calls_of_every_kind_pass() {
    let (_server, _gateway, mut caller) = start().await;

    let said = caller.say(request(text("hello"))).await.expect("an answer");
    assert_eq!(said.into_inner(), "hello");

    let mut counted =
        caller.take("Count", request(text("3"))).await.expect("a stream").into_inner();
    for expected in ["0", "1", "2"] {
        assert_eq!(next(&mut counted).await.expect("no error"), Some(text(expected)));
    }
    assert_eq!(next(&mut counted).await.expect("no error"), None);

    let parts = tokio_stream::iter(["a", "bc", "def"]).map(text);
    let sum = caller.sum(request(parts)).await.expect("an answer");
    assert_eq!(sum.into_inner(), "3 of 6 bytes");

    let (sender, messages) = sending();
    let mut chat = caller.chat(request(messages)).await.expect("a stream").into_inner();
    for word in ["one", "", "three"] {
        sender.send(text(word)).expect("the call is there");
        let back = next(&mut chat).await.expect("no error");
        assert_eq!(back, Some(text(word)), "it comes before the next is sent");
    }
    drop(sender);
    assert_eq!(next(&mut chat).await.expect("no error"), None);
}

#[tokio::test]
async fn an_error_comes_with_its_message_details_and_metadata() {
    let (_server, _gateway, mut caller) = start().await;

    // Of trailers alone, after some messages, and while the client still sends.
    let said = caller.say(request(text("fail"))).await;
    let mut counted = caller.take("Count", request(text("2 fail"))).await.expect("a stream");
    let (sender, messages) = sending();
    let mut chat = caller.chat(request(messages)).await.expect("a stream");
    sender.send(text("fail")).expect("the call is there");

    assert_failure(&said.expect_err("an error"));
    for expected in ["0", "1"] {
        assert_eq!(next(counted.get_mut()).await.expect("no error"), Some(text(expected)));
    }
    assert_failure(&next(counted.get_mut()).await.expect_err("an error"));
    assert_failure(&next(chat.get_mut()).await.expect_err("an error"));
    let said = caller.say(request(text("still here"))).await.expect("an answer");
    assert_eq!(said.into_inner(), "still here");
}

#[tokio::test]
async fn metadata_passes_both_ways_as_text_and_as_bytes() {
    let (_server, _gateway, mut caller) = start().await;
    let bytes = MetadataValue::from_bytes(&[0, 0xff, b',', b'\n', 7]);
    let mut asking = request(text("hello"));
    asking.metadata_mut().insert("x-word", "a, b; c=\"d\"".parse().expect("a value"));
    asking.metadata_mut().insert_bin("x-bytes-bin", bytes.clone());

    let said = caller.say(asking).await.expect("an answer");

    let metadata = said.metadata();
    assert_eq!(metadata.get("x-word").expect("a word"), "a, b; c=\"d\"");
    assert_eq!(metadata.get_bin("x-bytes-bin"), Some(&bytes));
    assert_eq!(metadata.get("x-server").expect("a name"), "one");
}

#[tokio::test]
async fn a_call_past_its_deadline_and_one_that_is_cancelled_end_at_the_server() {
    let (server, _gateway, mut caller) = start().await;
    let mut patient = request(text("hello"));
    patient.set_timeout(Duration::from_secs(20));
    let said = caller.say(patient).await.expect("an answer");
    // What is left of it, in milliseconds.
    let told = said.metadata().get("x-timeout").expect("the deadline").to_str().expect("text");
    let left: u32 = told.trim_end_matches('m').parse().expect("milliseconds");
    assert!((1..=20_000).contains(&left), "{told}");

    let mut hasty = request(text("wait"));
    hasty.set_timeout(Duration::from_millis(200));
    let overdue = caller.say(hasty).await.expect_err("a deadline");
    assert!(matches!(overdue.code(), Code::DeadlineExceeded | Code::Cancelled), "{overdue:?}");
    let pouring = caller.take("Pour", request(text("1000000"))).await.expect("a stream");
    eventually("the pouring alone", || server.under_way(), |calls| *calls == 1).await;

    drop(pouring);

    eventually("the end of all calls", || server.under_way(), |calls| *calls == 0).await;
}

#[tokio::test]
async fn messages_of_16_mib_pass_both_ways() {
    let (_server, _gateway, mut caller) = start().await;
    let message: Vec<u8> = (0..16 << 20).map(|at: u32| (at ^ at >> 11) as u8).collect();
    let message = Bytes::from(message);

    let said = caller.say(request(message.clone())).await.expect("an answer");

    assert!(said.into_inner() == message);
}

#[tokio::test]
async fn hundreds_of_calls_at_once_share_a_connection() {
    let (_server, gateway, caller) = start().await;
    let calls = (0..300).map(|number| {
        let mut caller = caller.clone();
        async move {
            let said = caller.say(request(text(number.to_string()))).await.expect("an answer");
            assert_eq!(said.into_inner(), number.to_string());
        }
    });

    let mut under_way = tokio::task::JoinSet::from_iter(calls);
    within("all answers", async {
        while let Some(ended) = under_way.join_next().await {
            ended.expect("a call");
        }
    })
    .await;

    let series = format!("tenantry_downstream_connections{{listener=\"{}\"}}", gateway.address());
    gateway.metric_becomes(&series, 1.0).await;
}

#[tokio::test]
async fn a_stream_goes_on_while_its_route_moves_and_the_next_call_takes_the_new_one() {
    let (first, second) = (Talk::start("first").await, Talk::start("second").await);
    let gateway = Gateway::start(&one_tenant_with(&[first.address], H2)).await;
    let mut caller = Caller::connect(gateway.address()).await;
    let (sender, messages) = sending();
    let mut chat = caller.chat(request(messages)).await.expect("a stream");

    for (turn, server) in [&second, &first, &second].into_iter().enumerate() {
        let routes = format!(
            "{}[tenants.acme]\npool = \"other-{turn}\"\n",
            pool(&format!("other-{turn}"), &[server.address], H2)
        );
        gateway.reload(&routes).await;
        sender.send(text("word")).expect("the call is there");
        assert_eq!(next(chat.get_mut()).await.expect("no error"), Some(text("word")), "{turn}");
    }

    let said = caller.say(request(text("hello"))).await.expect("an answer");
    assert_eq!(chat.metadata().get("x-server").expect("a name"), "first");
    assert_eq!(said.metadata().get("x-server").expect("a name"), "second");
    drop(sender);
    assert_eq!(next(chat.get_mut()).await.expect("no error"), None);
}

#[tokio::test]
async fn a_slow_reader_of_messages_stops_the_server_and_gets_all_of_them() {
    let (server, _gateway, mut caller) = start().await;
    const ALL: usize = 1_000;
    let poured = caller.take("Pour", request(text(ALL.to_string()))).await.expect("a stream");

    let made = resting("the end of the pouring", || server.poured()).await;
    let mut poured = poured.into_inner();
    let mut came = 0;
    while let Some(message) = next(&mut poured).await.expect("no error") {
        assert_eq!(message.len(), POURED);
        came += 1;
    }

    // The windows and buffers of tonic and of the gateway: some MiB of 62.
    assert!(made < ALL / 8, "{made} messages of {ALL} went somewhere");
    assert_eq!(came, ALL);
}

#[tokio::test]
async fn what_the_gateway_answers_itself_is_a_status_of_grpc() {
    let gone = Refusing::new();
    let routes = one_tenant_with(&[gone.address], &format!("{H2}\n{NO_RETRY}"));
    let others = "[[tenants.nowhere.routes]]\npath = \"/other\"\npool = \"app\"\n\
                  [tenants.late]\npool = \"app\"\nstate = \"suspended\"\n";
    let routes = format!("{routes}\n{others}");
    let gateway = Gateway::start(&routes).await;
    let mut caller = Caller::connect(gateway.address()).await;
    let cases = [
        ("nobody", Code::Unimplemented, "There is no such tenant: "),
        ("nowhere", Code::Unimplemented, "No route takes this request"),
        ("late", Code::PermissionDenied, "The tenant is suspended"),
        ("a b", Code::Internal, "The request does not name one valid tenant: "),
        ("acme", Code::Unavailable, "No endpoint could be reached"),
    ];

    for (tenant, code, message) in cases {
        let mut asking = request(text("hello"));
        asking.metadata_mut().insert("x-tenant-id", tenant.parse().expect("a value"));
        let status = caller.say(asking).await.expect_err("an error");
        assert_eq!(status.code(), code, "{tenant}: {status:?}");
        assert!(status.message().starts_with(message), "{tenant}: {status:?}");
        for told in ["proxy-status", "x-request-id"] {
            assert!(status.metadata().contains_key(told), "{tenant}: {status:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_call_of_grpc_is_answered_with_a_problem_document() {
    let gateway = Gateway::start("# nobody").await;
    let ask = async |mut client: Hyper, kind: &'static str| {
        let mut asking = client.request("POST", "nobody", "/talk.Talk/Say", Frames::default());
        asking.headers_mut().insert("content-type", HeaderValue::from_static(kind));
        let answer = client.ask(asking).await;
        (answer.status, answer.one("grpc-status"), answer.problem(), answer.body.is_empty())
    };
    let (h1, h2) = (Hyper::h1, Hyper::h2);
    let address = gateway.address();

    let called = ask(h2(address).await, "application/grpc+proto").await;
    let others = [
        ask(h2(address).await, "application/grpc-web").await,
        ask(h2(address).await, "application/json").await,
        ask(h1(address).await, "application/grpc").await,
    ];

    assert_eq!(called, (200, Some("12".to_owned()), None, true));
    let unknown = (404, None, Some("tenant-unknown".to_owned()), false);
    assert_eq!(others, [unknown.clone(), unknown.clone(), unknown]);
}

#[tokio::test]
async fn calls_pass_with_tls_on_both_sides() {
    let certificates = Certificates::of(&["127.0.0.1", "a.example"]);
    let server = Talk::start_tls("secure", certificates.server(&["h2"])).await;
    let keys = format!("{H2}\ntls = {{ ca = \"{}\" }}", certificates.ca());
    let routes = one_tenant_with(&[server.address], &keys);
    let gateway = Gateway::start_with(&certificates.listener(), &routes).await;
    let stream = certificates.connect(gateway.address(), "a.example", &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut caller = Caller::over(stream).await;

    let said = caller.say(request(text("hello"))).await.expect("an answer");
    let failed = caller.say(request(text("fail"))).await.expect_err("an error");

    assert_eq!(said.metadata().get("x-server").expect("a name"), "secure");
    assert_eq!(said.into_inner(), "hello");
    assert_failure(&failed);
}
