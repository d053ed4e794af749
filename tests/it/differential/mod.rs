//! The same odd bytes through Tenantry, nginx and HAProxy. docs/differential.md shows the outcomes side
//! by side (`TENANTRY_RENEW=1` writes it anew); what this test asserts holds for any version of the
//! peers: Tenantry passes on nothing that both of them refuse, save what is argued for here.

mod corpus;
mod frames;
mod peers;
mod seen;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};

use corpus::{ANSWERS, REQUESTS};
use peers::Peer;
use seen::{BROKEN_OFF, CLOSED, End, WAITS, told};

/// What became of one case at one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// What the client got: the statuses of its answers and whether the last one broke off, or why there
    /// is none.
    client: String,
    /// How many requests the origin took this for.
    requests: usize,
}

impl Outcome {
    /// The client can tell that it has no answer, or not the whole of one.
    fn is_refused(&self) -> bool {
        self.client.starts_with('5') || self.client == CLOSED || self.client.ends_with(BROKEN_OFF)
    }

    /// It still waits for an answer, or for the rest of one.
    fn is_open(&self) -> bool {
        self.client.ends_with(WAITS)
    }
}

/// Passed on though both peers refuse it, and why that is right.
const ARGUED: &[(&str, &str)] = &[
    (":path in trailers", PSEUDO),
    (":status in trailers", PSEUDO),
    (
        "content-length in trailers",
        "RFC 9110 6.5.1 forbids to merge it, not to drop it: it is dropped, and the request goes on framed by its DATA",
    ),
];

const PSEUDO: &str = "the library that reads HTTP/2 drops the field before anybody could tell; no endpoint sees it, and \
                      the request was routed by its head";

/// A proxy with an origin of its own.
struct Side {
    address: SocketAddr,
    /// Where it takes HTTP/2 without TLS.
    http2: SocketAddr,
    origin: Origin,
}

/// What a client sends.
#[derive(Clone, Copy)]
enum Sent<'b> {
    Http1(&'b [u8]),
    /// Frames of stream 1, after the hello.
    Http2(&'b [u8]),
}

impl Side {
    async fn ask(&self, sent: Sent<'_>, silence: Duration) -> Outcome {
        let before = self.whole();
        let client = match sent {
            Sent::Http1(bytes) => client(self.address, bytes, silence).await,
            Sent::Http2(bytes) => frames::client(self.http2, bytes, silence).await,
        };
        Outcome { client, requests: self.whole() - before }
    }

    /// Requests that the origin has had whole: one that broke off is told of whenever it does.
    fn whole(&self) -> usize {
        self.origin.asked().iter().filter(|asked| asked.whole).count()
    }
}

/// What becomes of a case at each proxy. Where ours looks laxer all are asked again, with more patience: who
/// had no core was silent, too, and its request came to its origin when the next case had begun.
async fn asked(sides: &[Side; 3], name: &str, sent: Sent<'_>, is_laxer: IsLaxer) -> [Outcome; 3] {
    let [ours, nginx, haproxy] = sides;
    let ask = async |silence| {
        let all = tokio::join!(
            ours.ask(sent, silence),
            nginx.ask(sent, silence),
            haproxy.ask(sent, silence)
        );
        [all.0, all.1, all.2]
    };
    let mut outcomes = ask(SILENCE).await;
    for silence in LONGER {
        if is_argued(name) || !is_laxer(&outcomes) {
            break;
        }
        outcomes = ask(silence).await;
    }
    outcomes
}

/// Whether ours takes what both peers refuse.
type IsLaxer = fn(&[Outcome; 3]) -> bool;

fn is_not_taken(all: &[Outcome; 3]) -> bool {
    all.iter().any(|one| one.client != "200" || one.requests != 1)
}

fn passes_on_more([ours, nginx, haproxy]: &[Outcome; 3]) -> bool {
    ours.requests > nginx.requests.max(haproxy.requests)
}

fn takes_for_good([ours, nginx, haproxy]: &[Outcome; 3]) -> bool {
    let good = |peer: &Outcome| !peer.is_refused() && !peer.is_open();
    !ours.is_refused() && !good(nginx) && !good(haproxy)
}

fn is_argued(name: &str) -> bool {
    ARGUED.iter().any(|(argued, _)| *argued == name)
}

/// Sends bytes and tells what comes back, until the end or until nothing comes for so long.
async fn client(address: SocketAddr, bytes: &[u8], silence: Duration) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    drop(stream.write_all(bytes).await);
    let mut got = Vec::new();
    let mut part = [0; 1024];
    let end = loop {
        match timeout(silence, stream.read(&mut part)).await {
            Err(_) => break End::Open,
            Ok(Ok(0)) => break End::Orderly,
            Ok(Err(_)) => break End::Reset,
            Ok(Ok(read)) => got.extend_from_slice(&part[..read]),
        }
    };
    told(&got, end)
}

async fn sides(origins: [Origin; 3]) -> ([Side; 3], Gateway, [Peer; 2]) {
    let [ours, second, third] = origins;
    let routes =
        one_tenant_with(&[ours.address], &format!("{NO_RETRY}\neject = {{ failures = 0 }}"));
    let gateway = Gateway::start(&routes).await;
    let nginx = Peer::nginx(second.address).await;
    let haproxy = Peer::haproxy(third.address).await;
    let sides = [
        Side { address: gateway.address(), http2: gateway.address(), origin: ours },
        Side { address: nginx.address, http2: nginx.http2, origin: second },
        Side { address: haproxy.address, http2: haproxy.http2, origin: third },
    ];
    (sides, gateway, [nginx, haproxy])
}

async fn three(step: &Step) -> [Origin; 3] {
    [
        Origin::start([step.clone()]).await,
        Origin::start([step.clone()]).await,
        Origin::start([step.clone()]).await,
    ]
}

#[tokio::test]
async fn nothing_odd_is_passed_on_that_both_nginx_and_haproxy_refuse() {
    let (sides, _gateway, _peers) = sides(three(&Step::ok("ok")).await).await;
    let mut rows = Vec::new();
    for (name, odd) in REQUESTS {
        let sent = Sent::Http1(&odd.bytes());
        rows.push((*name, asked(&sides, name, sent, passes_on_more).await));
    }
    none_is_laxer(&rows, passes_on_more);
    renew("requests", &rows);
}

#[tokio::test]
async fn nothing_odd_of_http2_is_passed_on_that_both_nginx_and_haproxy_refuse() {
    let (sides, _gateway, _peers) = sides(three(&Step::ok("ok")).await).await;
    let mut rows = Vec::new();
    // All three speak it: none is stricter only since it takes nothing.
    let (plain, frames) = &frames::requests()[0];
    let outcomes = asked(&sides, plain, Sent::Http2(frames), is_not_taken).await;
    assert!(!is_not_taken(&outcomes), "{plain}: {outcomes:?}");
    for (name, frames) in frames::requests() {
        rows.push((name, asked(&sides, name, Sent::Http2(&frames), passes_on_more).await));
    }
    none_is_laxer(&rows, passes_on_more);
    renew("http2", &rows);
}

fn none_is_laxer(rows: &[(&str, [Outcome; 3])], is_laxer: IsLaxer) {
    let is_wrong = |(name, all): &&(&str, _)| !is_argued(name) && is_laxer(all);
    let laxer: Vec<_> = rows.iter().filter(is_wrong).collect();
    assert!(laxer.is_empty(), "{laxer:#?}");
}

#[tokio::test]
async fn no_odd_answer_is_taken_for_good_that_both_nginx_and_haproxy_refuse() {
    let (sides, _gateway, _peers) = sides(three(&Step::ok("ok")).await).await;
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nConnection: close\r\n\r\n";
    let mut rows = Vec::new();
    for (name, answer) in ANSWERS {
        for side in &sides {
            side.origin.rescript([Step::raw(*answer).and_close()]);
        }
        rows.push((*name, asked(&sides, name, Sent::Http1(ask), takes_for_good).await));
    }
    none_is_laxer(&rows, takes_for_good);
    renew("answers", &rows);
}

/// Writes the table's part where that is asked for.
fn renew(part: &str, rows: &[(&str, [Outcome; 3])]) {
    if std::env::var_os("TENANTRY_RENEW").is_none() {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/differential.md");
    let page = std::fs::read_to_string(path).expect("docs/differential.md");
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->"));
    let (before, rest) = page.split_once(&begin).expect("the part's begin");
    let (_, after) = rest.split_once(&end).expect("the part's end");
    let mut table =
        String::from("| Case | Tenantry | nginx | HAProxy |\n| --- | --- | --- | --- |\n");
    for (name, outcomes) in rows {
        let shown = outcomes.each_ref().map(|outcome| match outcome.requests {
            1 if part == "answers" => outcome.client.clone(),
            requests => format!("{}, {requests} on", outcome.client),
        });
        writeln!(table, "| {name} | {} |", shown.join(" | ")).expect("write to a string");
    }
    let argued = ARGUED.iter().filter(|(name, _)| rows.iter().any(|(row, _)| row == name));
    for (at, (name, why)) in argued.enumerate() {
        let first = if at == 0 { "\nLaxer than both:\n\n" } else { "" };
        writeln!(table, "{first}- {name}: {why}.").expect("write to a string");
    }
    std::fs::write(path, format!("{before}{begin}\n{table}\n{end}{after}"))
        .expect("write the page");
}

/// 300 ms without a byte: who has not answered by then waits for more.
const SILENCE: Duration = Duration::from_millis(300);
/// Longer than a loaded machine stands still, twice: what comes late of the first try falls into the second.
const LONGER: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(6)];
