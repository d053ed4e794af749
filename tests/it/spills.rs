//! Bodies that are kept for a retry in a file.

use std::fs;

use crate::world::client::{Client, head};
use crate::world::config::one_tenant_with;
use crate::world::gateway::Gateway;
use crate::world::message::{Answer, payload};
use crate::world::origin::{Origin, Step};

const KEYS: &str = "balance = \"round-robin\"\neject = { failures = 0 }\n\
                    retry = { backoff = \"1ms\", replay = \"8MiB\" }";

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
