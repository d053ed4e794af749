//! Bodies that are kept for a retry in a file.

use std::fs::{self, File, OpenOptions};

use crate::world::client::{Client, head};
use crate::world::config::one_tenant_with;
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::message::{Answer, payload};
use crate::world::origin::{Origin, Step};

const KEYS: &str = "balance = \"round-robin\"\neject = { failures = 0 }\n\
                    retry = { backoff = \"1ms\", replay = \"8MiB\" }";

/// 128 KiB: as much is written at once, and less only before the body is sent again.
const PIECE: usize = 128 << 10;

fn spills(result: &str) -> String {
    format!("tenantry_replay_spills_total{{pool=\"app\",result=\"{result}\"}}")
}

async fn start(replay: &str) -> (Origin, Origin, Gateway) {
    let (bad, good) =
        (Origin::start([Step::answer(503, "busy")]).await, Origin::saying("ok").await);
    let routes = one_tenant_with(&[bad.address, good.address], KEYS);
    let more = format!("[replay-files]\nfolder = \"kept\"\nmemory = \"64KiB\"\n{replay}");
    let gateway = Gateway::start_with(&more, &routes).await;
    (bad, good, gateway)
}

async fn put(gateway: &Gateway, body: &[u8]) -> Answer {
    let length = format!("Content-Length: {}", body.len());
    let fields = ["Host: a", "X-Tenant-ID: acme", &length];
    let mut client = Client::connect(gateway.address()).await;
    client.send([head("PUT /", &fields).as_bytes(), body].concat()).await;
    client.answer_to("PUT").await
}

#[tokio::test]
async fn a_body_beyond_the_memory_is_kept_in_a_file_that_leaves_nothing_behind() {
    let (bad, good, gateway) = start("").await;
    let body = payload(3_000_000);

    for _ in 0..4 {
        assert_eq!(put(&gateway, &body).await.status, 200);
    }

    assert!(good.wait_for(4).await.iter().all(|asked| asked.body == body));
    let failed = bad.asked();
    assert!(!failed.is_empty() && failed.iter().all(|asked| asked.body == body));
    gateway.metric_at_least(&spills("kept"), 4.0).await;
    gateway.metric_becomes("tenantry_replay_files{pool=\"app\"}", 0.0).await;
    let left = fs::read_dir(gateway.path("kept")).expect("the folder").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_chunked_body_with_trailers_is_sent_again_whole() {
    let (bad, good, gateway) = start("").await;
    let body = payload(300_000);
    let chunks = body
        .chunks(7_001)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    let fields = [
        "Host: a",
        "X-Tenant-ID: acme",
        "TE: trailers",
        "Connection: TE",
        "Transfer-Encoding: chunked",
    ];
    let request: Vec<u8> = head("PUT /", &fields)
        .into_bytes()
        .into_iter()
        .chain(chunks)
        .chain(*b"0\r\nX-Sum: 1\r\n\r\n")
        .collect();
    for _ in 0..2 {
        let mut client = Client::connect(gateway.address()).await;
        assert_eq!(client.ask(&request).await.status, 200);
    }

    let asked = good.wait_for(2).await;
    assert!(asked.iter().all(|asked| asked.body == body && asked.trailers["x-sum"] == "1"));
    assert!(!bad.asked().is_empty());
}

#[tokio::test]
async fn where_there_is_no_room_a_body_is_passed_on_and_not_kept() {
    for (replay, result) in [("space = \"100KiB\"", "space"), ("folder", "failed")] {
        let (bad, good, gateway) = start(if replay == "folder" { "" } else { replay }).await;
        if replay == "folder" {
            fs::remove_dir(gateway.path("kept")).expect("an empty folder");
        }
        let body = payload(1_000_000);
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(put(&gateway, &body).await.status);
        }

        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 503, 503], "{replay}");
        assert!(good.asked().iter().chain(&bad.asked()).all(|asked| asked.body == body));
        gateway.metric_becomes(&spills(result), 4.0).await;
        let refused = "tenantry_retries_refused_total{pool=\"app\",reason=\"body_too_large\"}";
        gateway.metric_becomes(refused, 2.0).await;
        gateway.metric_becomes("tenantry_replay_files{pool=\"app\"}", 0.0).await;
    }
}

#[tokio::test]
async fn a_disk_that_refuses_the_last_piece_costs_the_retry_alone() {
    let (bad, good, gateway) = start("space = \"100KiB\"").await;
    let body = payload(220_000);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(put(&gateway, &body).await.status);
    }

    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503]);
    assert!(good.asked().iter().chain(&bad.asked()).all(|asked| asked.body == body));
    let refused = "tenantry_retries_refused_total{pool=\"app\",reason=\"body_too_large\"}";
    gateway.metric_becomes(refused, 2.0).await;
}

#[tokio::test]
async fn more_than_replay_says_is_not_kept() {
    let (_bad, good, gateway) = start("").await;
    let body = payload((8 << 20) + 1);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(put(&gateway, &body).await.status);
    }

    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    assert!(good.asked().iter().all(|asked| asked.body == body));
    gateway.metric_becomes("tenantry_replay_files{pool=\"app\"}", 0.0).await;
}

/// The file without a name in this folder that this process has open, for a test to write to.
fn opened(folder: &std::path::Path) -> Option<File> {
    let open = fs::read_dir("/proc/self/fd").expect("the files that are open");
    let mut paths = open.filter_map(|entry| Some(entry.ok()?.path()));
    let path = paths.find(|path| fs::read_link(path).is_ok_and(|to| to.starts_with(folder)))?;
    OpenOptions::new().write(true).open(path).ok()
}

/// The answer to a request whose body is kept in a file that is cut off before it is read again, with this field.
pub(crate) async fn lost(field: &str) -> Answer {
    let steps = [Step::answer(503, "busy").held(), Step::ok("ok")];
    let origin = Origin::start(steps).await;
    let routes = one_tenant_with(&[origin.address], KEYS);
    let more = "[replay-files]\nfolder = \"kept\"\nmemory = \"0B\"";
    let gateway = Gateway::start_with(more, &routes).await;
    let body = payload(PIECE + 1000);
    let (piece, rest) = body.split_at(PIECE);
    let length = format!("Content-Length: {}", body.len());
    let fields = ["Host: a", "X-Tenant-ID: acme", &length, field];
    let mut client = Client::connect(gateway.address()).await;
    client.send([head("PUT /", &fields).as_bytes(), piece].concat()).await;

    let folder = fs::canonicalize(gateway.path("kept")).expect("the folder");
    let file = eventually("the file", || opened(&folder), Option::is_some).await.expect("a file");
    let size = || file.metadata().expect("its size").len();
    eventually("the piece", size, |size| *size == PIECE as u64).await;
    // The rest waits for more to come: nothing is written any more.
    client.send(rest).await;
    origin.wait_for(1).await;
    file.set_len(0).expect("cut it off");
    origin.release();
    client.answer_to("PUT").await
}

#[tokio::test]
async fn a_body_that_cannot_be_read_again_is_told_as_the_gateways_fault_and_not_the_endpoints() {
    let answer = lost("X-Other: x").await;

    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("replay-lost")));
    assert_eq!(answer.one("retry-after").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_second_attempt_beside_a_slow_one_has_the_body_from_its_file() {
    let (slow, good) = (Origin::saying("slow").await, Origin::saying("good").await);
    let keys = "balance = \"round-robin\"\neject = { failures = 0 }\n\
                retry = { replay = \"8MiB\", \
                hedge = { after = \"p95\", floor = \"1s\", methods = [\"GET\", \"PUT\"] } }";
    let routes = one_tenant_with(&[slow.address, good.address], keys);
    let more = "[replay-files]\nfolder = \"kept\"\nmemory = \"64KiB\"";
    let gateway = Gateway::start_with(more, &routes).await;
    for _ in 0..120 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    slow.rescript([Step::stall()]);
    let body = payload(600_000);
    let won = "tenantry_hedges_total{pool=\"app\",result=\"won\"}";

    // Where a busy machine takes too long to send all of it there is none.
    let mut times = 0;
    while gateway.metric(won).await.unwrap_or_default() < 1.0 {
        let answer = put(&gateway, &body).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "good"));
        times += 1;
        assert!(times < 1_000, "no second attempt is made");
    }

    assert!(good.asked().last().is_some_and(|asked| asked.body == body));
    gateway.metric_at_least(&spills("kept"), 1.0).await;
    gateway.metric_becomes("tenantry_replay_files{pool=\"app\"}", 0.0).await;
}
