//! What is billed by: the generator's own counts against the files, over reloads, restarts and kills.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tenantry::control::generation::ReloadResult;

use crate::world::client::{Client, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::{STEP, eventually, within};

/// Four tenants; one of them may send two requests a minute.
fn routes(origin: &Origin, more: &str) -> String {
    format!(
        "{}\n[tenant]\nfrom = [{{ header = \"X-Tenant-ID\" }}]\n\
         [tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n\
         [tenants.narrow]\npool = \"app\"\nlimits = {{ requests = \"2/m\", burst = 2 }}\n{more}\n",
        pool("app", &[origin.address], "")
    )
}

const LEAVES: &str = "[tenants.leaves]\npool = \"app\"\n";

fn usage(interval: &str) -> String {
    format!(
        "[usage]\nfolder = \"usage\"\ngateway = \"edge-1\"\nflush-interval = \"{interval}\"\n\
         [drain]\naccept = \"10ms\"\n"
    )
}

/// What one tenant has sent and got, as the generator knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    requests: u64,
    sent: u64,
    got: u64,
    refused: u64,
}

#[derive(Debug, Default)]
struct Generator(BTreeMap<String, Sums>);

impl Generator {
    /// So many requests with a body, on a connection of their own.
    async fn send(&mut self, gateway: &Gateway, tenant: &str, requests: usize) {
        let mut client = Client::connect(gateway.address()).await;
        let sums = self.0.entry(tenant.to_owned()).or_default();
        for number in 0..requests {
            // Bodies of requests that are refused may be read or not.
            let body = "x".repeat(if tenant == "narrow" { 0 } else { number % 7 });
            let length = format!("Content-Length: {}", body.len());
            let fields = ["Host: a", &format!("X-Tenant-ID: {tenant}"), &length];
            let answer = client.ask(head("POST /", &fields) + &body).await;
            sums.requests += 1;
            sums.got += answer.body.len() as u64;
            match answer.status {
                200 => sums.sent += body.len() as u64,
                429 => sums.refused += 1,
                other => panic!("{other}"),
            }
        }
    }
}

/// What all files of a folder say.
fn exported(folder: &Path) -> BTreeMap<String, Sums> {
    let mut all = BTreeMap::<String, Sums>::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.ends_with(".ndjson") && !name.ends_with(".ndjson.partial") {
            continue;
        }
        // It may be renamed between the two calls: then its other name is read.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            assert_eq!(line["gateway"], "edge-1");
            let number = |key: &str| line[key].as_u64().expect("a number");
            let sums = all.entry(line["tenant"].as_str().expect("an id").to_owned()).or_default();
            sums.requests += number("requests");
            sums.sent += number("request_bytes");
            sums.got += number("response_bytes");
            let refused = line["refused"].as_object().expect("a table").values();
            sums.refused += refused.map(|count| count.as_u64().expect("a number")).sum::<u64>();
        }
    }
    all
}

#[tokio::test]
async fn the_files_have_each_request_over_reloads_and_restarts() {
    let origin = Origin::saying("hello").await;
    let mut generator = Generator::default();
    let mut gateway = Gateway::start_with_workers(2, &usage("1h"), &routes(&origin, LEAVES)).await;
    for round in 0..3 {
        generator.send(&gateway, "acme", 40).await;
        generator.send(&gateway, "globex", 7).await;
        generator.send(&gateway, "narrow", 5).await;
        if round == 0 {
            generator.send(&gateway, "leaves", 9).await;
        }
        // A tenant that is removed is billed for what it has used.
        let reloaded = gateway.reload(&routes(&origin, "")).await;
        assert!(matches!(reloaded, ReloadResult::Live { .. }), "{reloaded:?}");
        generator.send(&gateway, "acme", 11).await;
        let folder = gateway.stop_and_keep().await;
        assert_eq!(exported(&folder.path().join("usage")), generator.0, "round {round}");
        gateway = match Gateway::start_in(folder, 2, &usage("1h")).await {
            Ok(gateway) => gateway,
            Err(error) => panic!("the gateway does not start again: {error}"),
        };
    }
    let used: Value = gateway.admin("/api/v1/tenants/acme/usage").await.json();
    assert_eq!(used["since_start"]["requests"], 0);
    // Over the turn of an hour, the day has all of it but at midnight.
    assert!(used["day"]["requests"].as_u64().expect("a number") <= generator.0["acme"].requests);
}

#[tokio::test]
async fn the_last_requests_of_a_drain_are_in_the_files() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let gateway = Gateway::start_with(&usage("1h"), &routes(&origin, "")).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    eventually("the request at the origin", || origin.asked().len(), |asked| *asked == 1).await;

    let release = async {
        tokio::time::sleep(STEP).await;
        origin.release();
        client.answer_to("GET").await
    };
    let (folder, answer): (TempDir, _) = tokio::join!(gateway.stop_and_keep(), release);

    assert_eq!(answer.status, 200);
    let used = exported(&folder.path().join("usage"));
    assert_eq!((used["acme"].requests, used["acme"].got), (1, 4));
}

#[tokio::test]
async fn what_is_used_is_told_while_it_is_used() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(&usage("2s"), &routes(&origin, "")).await;
    let mut generator = Generator::default();
    generator.send(&gateway, "narrow", 5).await;

    within("the count", async {
        loop {
            let used: Value = gateway.admin("/api/v1/tenants/narrow/usage").await.json();
            if used["since_start"]["requests"] == 5 {
                assert_eq!(used["since_start"]["refused"]["tenant-rate-limited"], 3);
                assert_eq!(used["limits"][0]["limit"], "tenant");
                assert_eq!(used["limits"][0]["left"], 0);
                assert!(used["since_start"]["compute_microseconds"].as_u64() > Some(0));
                return;
            }
            tokio::time::sleep(STEP).await;
        }
    })
    .await;
    assert_eq!(gateway.admin("/api/v1/tenants/nobody/usage").await.status, 404);

    let folder = gateway.path("usage");
    eventually("the file", || exported(&folder), |used| *used == generator.0).await;
    gateway.metric_at_least("tenantry_usage_saves_total{result=\"ok\"}", 1.0).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_loses_nothing() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(&usage("2s"), &routes(&origin, "")).await;
    let (folder, aside) = (gateway.path("usage"), gateway.path("aside"));
    eventually("the folder", || folder.exists(), |there| *there).await;
    fs::rename(&folder, &aside).expect("move the folder");
    fs::write(&folder, "no folder").expect("write a file in its place");
    let mut generator = Generator::default();
    generator.send(&gateway, "acme", 12).await;
    gateway.metric_at_least("tenantry_usage_saves_total{result=\"failed\"}", 1.0).await;

    fs::remove_file(&folder).expect("remove the file");
    fs::rename(&aside, &folder).expect("move the folder back");

    eventually("the file", || exported(&folder), |used| *used == generator.0).await;
    assert_eq!(gateway.stop().await.cut_off, 0);
}
