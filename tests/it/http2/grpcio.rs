//! gRPC between makes: tonic on one side, grpcio, whose HTTP/2 is its own, on the other, and the
//! gateway between them. `grpc` has tonic on both sides, `tests/e2e/grpc.rs` grpcio.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::codegen::tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::world::config::{one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::grpc::{Caller, Talk, next, request};
use crate::world::unreachable::Refusing;
use crate::world::{STEP, eventually, within};

const H2: &str = "protocol = \"h2\"";
const LARGE: &str = "[downstream]\nmax-body = \"64MiB\"";

fn talk(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3"); // Debian's own has Debian's packages
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/grpc/talk.py"))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A server by grpcio; it ends with its standard input.
struct Server {
    address: SocketAddr,
    _process: Child,
}

impl Server {
    async fn start() -> Self {
        let spawned = talk(&["server"]).spawn();
        let mut process = spawned.expect("tests/run installs what the tests need");
        let output = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let line = within("the server", lines.next_line()).await.expect("its output");
        let line = line.expect("a line: tests/run installs what the server needs");
        Self { address: line.parse().expect("an address"), _process: process }
    }
}

#[tokio::test]
async fn a_client_by_grpcio_talks_to_a_server_by_tonic() {
    let server = Talk::start("tonic").await;
    let gone = Refusing::new();
    let (talking, lost) = (pool("talk", &[server.address], H2), pool("gone", &[gone.address], H2));
    let tenants = "[tenants.acme]\npool = \"talk\"\n[tenants.gone]\npool = \"gone\"\n";
    let gateway = Gateway::start_with(LARGE, &format!("{talking}{lost}{tenants}")).await;

    let ran = talk(&["client", &gateway.address().to_string()]).output();
    // It moves 32 MiB and makes 200 calls and more, all in builds without optimisation.
    let ran = timeout(Duration::from_secs(90), ran).await.expect("the client's end");
    let ran = ran.expect("tests/run installs what it needs");

    let (told, errors) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let told: Vec<&str> = told.lines().collect();
    // Whose clock strikes first is chance.
    let overdue = ["overdue: DEADLINE_EXCEEDED", "overdue: CANCELLED"];
    let is_overdue = |line: &&&str| overdue.iter().any(|start| line.starts_with(start));
    assert_eq!(told.iter().filter(is_overdue).count(), 1, "{told:?}\n{errors}");
    let others: Vec<&str> = told.iter().filter(|line| !is_overdue(line)).copied().collect();
    assert_eq!(others, EXPECTED, "{errors}");
    eventually("the end of all calls", || server.under_way(), |calls| *calls == 0).await;
}

/// What the client tells of each of its calls but the one that is late.
const EXPECTED: [&str; 15] = [
    "one: b'hello'",
    "down: [b'0', b'1', b'2']",
    "up: b'3 of 6 bytes'",
    "both, in turns: [b'one', b'', b'three']",
    "metadata: ['a, b; c', b'\\x00\\xff,\\n', 'tonic']",
    "16 MiB: True",
    "200 at once: True",
    "failed: NOT_FOUND 'nothing: 5 % of \u{e9}' {'x-why': 'because', 'grpc-status-details-bin': b'\\x00\\x01\\xff'}",
    "failed within: NOT_FOUND 'nothing: 5 % of \u{e9}' {'x-why': 'because', 'grpc-status-details-bin': b'\\x00\\x01\\xff'}",
    "failed while asked: NOT_FOUND 'nothing: 5 % of \u{e9}' {'x-why': 'because', 'grpc-status-details-bin': b'\\x00\\x01\\xff'}",
    "cancelled: CANCELLED",
    "nobody: UNIMPLEMENTED 'There is no such tenant: there is no tenant \"nobody\"' {}",
    "nobody's stream: UNIMPLEMENTED 'There is no such tenant: there is no tenant \"nobody\"' {}",
    "gone: UNAVAILABLE 'No endpoint could be reached' {}",
    "still here: b'hello'",
];

async fn calling() -> (Server, Gateway, Caller) {
    let server = Server::start().await;
    let gateway = Gateway::start_with(LARGE, &one_tenant_with(&[server.address], H2)).await;
    let caller = Caller::connect(gateway.address()).await;
    (server, gateway, caller)
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[track_caller]
fn assert_failure(status: &Status) {
    assert_eq!((status.code(), status.message()), (Code::NotFound, "nothing: 5 % of \u{e9}"));
    let metadata = status.metadata();
    assert_eq!(metadata.get("x-why").map(|why| why.as_bytes()), Some(&b"because"[..]));
    let details = metadata.get_bin("x-details-bin").and_then(|value| value.to_bytes().ok());
    assert_eq!(details.as_deref(), Some(&[0, 1, 0xff][..]));
}

#[tokio::test]
async fn a_client_by_tonic_makes_calls_of_every_kind_to_a_server_by_grpcio() {
    let (_server, _gateway, mut caller) = calling().await;
    let bytes = MetadataValue::from_bytes(&[0, 0xff, b',', b'\n', 7]);
    let mut asking = request(text("hello"));
    asking.metadata_mut().insert("x-word", "a, b; c=\"d\"".parse().expect("a value"));
    asking.metadata_mut().insert_bin("x-bytes-bin", bytes.clone());

    let said = caller.say(asking).await.expect("an answer");
    let metadata = said.metadata();
    assert_eq!(metadata.get("x-word").expect("a word"), "a, b; c=\"d\"");
    assert_eq!(metadata.get_bin("x-bytes-bin"), Some(&bytes));
    assert_eq!(metadata.get("x-server").expect("a name"), "grpcio");
    assert_eq!(said.into_inner(), "hello");

    let mut counted = caller.take("Count", request(text("3"))).await.expect("a stream");
    for expected in ["0", "1", "2"] {
        assert_eq!(next(counted.get_mut()).await.expect("no error"), Some(text(expected)));
    }
    assert_eq!(next(counted.get_mut()).await.expect("no error"), None);

    let parts = tokio_stream::iter(["a", "bc", "def"]).map(text);
    let sum = caller.sum(request(parts)).await.expect("an answer");
    assert_eq!(sum.into_inner(), "3 of 6 bytes");

    let (sender, messages) = mpsc::unbounded_channel();
    let chat = request(UnboundedReceiverStream::new(messages));
    let mut chat = caller.chat(chat).await.expect("a stream");
    for word in ["one", "", "three"] {
        sender.send(text(word)).expect("the call is there");
        let back = next(chat.get_mut()).await.expect("no error");
        assert_eq!(back, Some(text(word)), "it comes before the next is sent");
    }
    drop(sender);
    assert_eq!(next(chat.get_mut()).await.expect("no error"), None);

    let large = Bytes::from((0..16 << 20).map(|at: u32| (at ^ at >> 11) as u8).collect::<Vec<_>>());
    assert!(caller.say(request(large.clone())).await.expect("an answer").into_inner() == large);
}

#[tokio::test]
async fn calls_that_a_server_by_grpcio_fails_or_that_end_early_end_so_for_tonic() {
    let (_server, _gateway, mut caller) = calling().await;

    assert_failure(&caller.say(request(text("fail"))).await.expect_err("an error"));
    let mut counted = caller.take("Count", request(text("2 fail"))).await.expect("a stream");
    for expected in ["0", "1"] {
        assert_eq!(next(counted.get_mut()).await.expect("no error"), Some(text(expected)));
    }
    assert_failure(&next(counted.get_mut()).await.expect_err("an error"));
    let (sender, messages) = mpsc::unbounded_channel();
    let messages = UnboundedReceiverStream::new(messages);
    sender.send(text("fail")).expect("the call is there");
    let mut chat = caller.chat(request(messages)).await.expect("a stream");
    assert_failure(&next(chat.get_mut()).await.expect_err("an error"));

    let mut hasty = request(text("wait"));
    hasty.set_timeout(Duration::from_millis(200));
    let overdue = caller.say(hasty).await.expect_err("a deadline");
    assert!(matches!(overdue.code(), Code::DeadlineExceeded | Code::Cancelled), "{overdue:?}");
    drop((sender, chat));
    under_way(&mut caller, "0").await;
    let mut endless = caller.take("Count", request(text("100000000"))).await.expect("a stream");
    assert_eq!(next(endless.get_mut()).await.expect("no error"), Some(text("0")));
    under_way(&mut caller, "1").await;

    drop(endless);

    under_way(&mut caller, "0").await;
}

/// Waits until the server has so many calls that wait, count or chat.
async fn under_way(caller: &mut Caller, count: &str) {
    within("the end of a call", async {
        loop {
            let said = caller.say(request(text("under way?"))).await.expect("an answer");
            if said.into_inner() == count {
                return;
            }
            sleep(STEP).await;
        }
    })
    .await;
}
