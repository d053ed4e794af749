//! Bytes that nobody planned: known good and known hostile messages, cut, joined and bent by a seeded
//! generator, so that a failure comes back with its number. `TENANTRY_MUTATIONS` sets how many.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::client::get;
use crate::world::config::{NO_RETRY, one_tenant, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::Origin;
use crate::world::recorder::Recorder;
use crate::world::within;

const REQUESTS: [&str; 12] = [
    "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nAccept: */*\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nTransfer-Encoding: chunked\r\n\r\n\
     5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nContent-Length: 4\r\n\
     Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /inner HTTP/1.1\r\nHost: b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nContent-Length: 30\r\nContent-Length: 0\
     \r\n\r\nGET /inner HTTP/1.1\r\nHost: b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nTransfer-Encoding : chunked\r\n\r\n\
     0\r\n\r\nGET /inner HTTP/1.1\r\nX-Tenant-ID: acme\r\nHost: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nConnection: X-Tenant-ID, close\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nConnection: Upgrade\r\n\
     Upgrade: websocket\r\n\r\n\u{81}\u{5}hello",
    "PUT / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nExpect: 100-continue\r\n\
     Content-Length: 5\r\n\r\nhello",
    "GET http://a/%2e%2e/x HTTP/1.0\r\nX-Tenant-ID: acme\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n\
     GET /two HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nX_Tenant_ID: other\r\n\r\n",
];

const ANSWERS: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: a\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
    "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\n",
];

/// What parsers disagree about.
const TROUBLE: [&[u8]; 16] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x0b",
    b"\xff",
    b"0",
    b"\r\n\r\n",
    b"-",
    b"+",
    b"chunked",
];

fn mutations() -> u64 {
    let asked = std::env::var("TENANTRY_MUTATIONS").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(400)
}

/// One of the seeds, bent a few times.
fn mutated(seeds: &[&str], number: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number);
    let pick = |random: &mut fastrand::Rng| seeds[random.usize(..seeds.len())].as_bytes().to_vec();
    let mut bytes = pick(&mut random);
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..12)).min(bytes.len());
        match random.u8(..6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, random.choice(TROUBLE).unwrap_or(b"").iter().copied())),
            2 => bytes.extend_from_within(at..end),
            3 => {
                let other = pick(&mut random);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.usize(..=other.len())..]);
            }
            4 => bytes[at..end].reverse(),
            _ => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.u32(..8)),
        }
    }
    bytes
}

/// Sends bytes, ends its side if it is to, and reads all that comes.
async fn say(address: SocketAddr, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let both = async {
        // A refusal may come before all is sent.
        drop(writing.write_all(bytes).await);
        if ends {
            drop(writing.shutdown().await);
        }
        drop(reading.read_to_end(&mut answer).await);
    };
    within("the end of a connection", both).await;
    answer
}

#[tokio::test]
async fn mutated_requests_reach_an_origin_as_the_gateway_introduced_them_or_not_at_all() {
    let recorder = Recorder::start().await; // reads strictly, or fails the test
    let gateway = Gateway::start(&one_tenant(&[recorder.address])).await;
    for number in 0..mutations() {
        let request = mutated(&REQUESTS, number);

        let answer = say(gateway.address(), &request, true).await;

        let shown = String::from_utf8_lossy(&request).into_owned();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{number}: {shown:?}");
        for asked in recorder.take().await {
            // A request that came in within another one has not been through the gateway's hands.
            for own in ["x-request-id", "x-forwarded-for", "x-tenant-id"] {
                assert_eq!(asked.all(own).len(), 1, "{number}: {shown:?}");
            }
            assert!(asked.all("x-invalid").is_empty(), "{number}: {shown:?}");
            assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"], "{number}: {shown:?}");
            assert_eq!(asked.all("x-tenant-id"), ["acme"], "{number}: {shown:?}");
        }
        if number % 50 == 0 {
            assert_eq!(gateway.get("/").await.status, 200, "after {number}");
        }
    }
    assert_eq!(gateway.metric("tenantry_task_panics_total").await, Some(0.0));
}

/// An endpoint that says the bytes of now to each connection, whatever it asks, and closes.
struct Parrot {
    address: SocketAddr,
    words: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Parrot {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("an address");
        let words = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&words);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let words = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let mut asked = [0; 4096];
                drop(stream.read(&mut asked).await);
                drop(stream.write_all(&words).await);
                drop(stream.shutdown().await);
                drop(stream.read(&mut asked).await);
            }
        });
        Self { address, words, _tasks: tasks }
    }
}

#[tokio::test]
async fn mutated_answers_bring_one_answer_or_none_and_harm_no_other_pool() {
    let (parrot, sound) = (Parrot::start().await, Origin::saying("hello").await);
    let routes = format!(
        "{}{}[tenants.acme]\npool = \"odd\"\n[tenants.calm]\npool = \"sound\"\n",
        pool("odd", &[parrot.address], &format!("{NO_RETRY}\neject = {{ failures = 0 }}")),
        pool("sound", &[sound.address], ""),
    );
    let gateway = Gateway::start(&routes).await;
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nConnection: close\r\n\r\n";
    for number in 0..mutations() {
        let words = mutated(&ANSWERS, number);
        let shown = String::from_utf8_lossy(&words).into_owned();
        *parrot.words.lock().unwrap_or_else(PoisonError::into_inner) = words;

        let answer = say(gateway.address(), ask, false).await;

        assert!(answer.starts_with(b"HTTP/1.1 "), "{number}: {shown:?}");
        // Fields of ours are in each final head: as many as there are final answers.
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.matches("x-request-id: ").count() <= 1, "{number}: {shown:?} gave {text:?}");
        if number % 50 == 0 {
            let calm = get(gateway.address(), "calm", "/").await;
            assert_eq!(calm.status, 200, "after {number}");
        }
    }
    assert_eq!(gateway.metric("tenantry_task_panics_total").await, Some(0.0));
}
