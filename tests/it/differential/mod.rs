//! The same odd bytes through Tenantry, nginx and HAProxy. docs/differential.md shows the outcomes side
//! by side (`TENANTRY_RENEW=1` writes it anew); what this test asserts holds for any version of the
//! peers: Tenantry passes on nothing that both of them refuse, save what is argued for here.

mod corpus;
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
const ARGUED: &[(&str, &str)] = &[];

/// A proxy with an origin of its own.
struct Side {
    address: SocketAddr,
    origin: Origin,
}

impl Side {
    async fn ask(&self, bytes: &[u8], silence: Duration) -> Outcome {
        let before = self.whole();
        let client = client(self.address, bytes, silence).await;
        Outcome { client, requests: self.whole() - before }
    }

    /// Requests that the origin has had whole: one that broke off is told of whenever it does.
    fn whole(&self) -> usize {
        self.origin.asked().iter().filter(|asked| asked.whole).count()
    }
}

/// What becomes of a case at each proxy. Where ours looks laxer all are asked again, with more patience: who
/// had no core was silent, too, and its request came to its origin when the next case had begun.
async fn asked(sides: &[Side; 3], name: &str, bytes: &[u8], is_laxer: IsLaxer) -> [Outcome; 3] {
    let [ours, nginx, haproxy] = sides;
    let ask = async |silence| {
        let all = tokio::join!(
            ours.ask(bytes, silence),
            nginx.ask(bytes, silence),
            haproxy.ask(bytes, silence)
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
        Side { address: gateway.address(), origin: ours },
        Side { address: nginx.address, origin: second },
        Side { address: haproxy.address, origin: third },
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
        rows.push((*name, asked(&sides, name, &odd.bytes(), passes_on_more).await));
    }

    let is_wrong = |(name, all): &&(&str, _)| !is_argued(name) && passes_on_more(all);
    let laxer: Vec<_> = rows.iter().filter(is_wrong).collect();
    assert!(laxer.is_empty(), "{laxer:#?}");
    renew("requests", &rows);
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
        rows.push((*name, asked(&sides, name, ask, takes_for_good).await));
    }

    let is_wrong = |(name, all): &&(&str, _)| !is_argued(name) && takes_for_good(all);
    let laxer: Vec<_> = rows.iter().filter(is_wrong).collect();
    assert!(laxer.is_empty(), "{laxer:#?}");
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
    std::fs::write(path, format!("{before}{begin}\n{table}\n{end}{after}"))
        .expect("write the page");
}

/// 300 ms without a byte: who has not answered by then waits for more.
const SILENCE: Duration = Duration::from_millis(300);
/// Longer than a loaded machine stands still, twice: what comes late of the first try falls into the second.
const LONGER: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(6)];
