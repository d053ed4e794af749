//! How a pool's traffic is spread: drains that are written, slow starts, priorities, zones, shards.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::world::client::{Client, get, head};
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::Refusing;

/// A tenant of a pool with these endpoints, each with what is said of it, in turn.
fn routes(endpoints: &[(SocketAddr, &str)], keys: &str) -> String {
    let list: Vec<String> = endpoints
        .iter()
        .map(|(address, said)| format!("{{ address = \"{address}\"{said} }}"))
        .collect();
    format!(
        "[pools.app]\nbalance = \"round-robin\"\nendpoints = [{}]\n{keys}\n\n\
         [tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n",
        list.join(", ")
    )
}

const DRAINING: &str = ", state = \"draining\"";

async fn three() -> [Origin; 3] {
    [Origin::saying("0").await, Origin::saying("1").await, Origin::saying("2").await]
}

/// How many requests each got of so many.
async fn shares<const N: usize>(
    gateway: &Gateway,
    origins: &[Origin; N],
    requests: usize,
) -> [usize; N] {
    let before = origins.each_ref().map(|origin| origin.asked().len());
    for _ in 0..requests {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    std::array::from_fn(|at| origins[at].asked().len() - before[at])
}

async fn shown(gateway: &Gateway) -> Value {
    gateway.admin("/api/v1/pools").await.json()[0].clone()
}

#[tokio::test]
async fn an_endpoint_that_is_written_as_draining_finishes_what_it_has_and_shows_what_is_left() {
    let slow = Origin::start([Step::ok("slow").held()]).await;
    let other = Origin::saying("b").await;
    let gateway = Gateway::start(&routes(&[(slow.address, "")], "")).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    slow.wait_for(1).await;

    let edited = routes(&[(slow.address, DRAINING), (other.address, "")], "");
    gateway.reload(&edited).await;
    let drained =
        format!("tenantry_endpoint_drained{{pool=\"app\",endpoint=\"{}\"}}", slow.address);
    gateway.metric_becomes(&drained, 1.0).await;
    for _ in 0..6 {
        assert_eq!(gateway.get("/").await.text(), "b");
    }
    let pool = shown(&gateway).await;
    assert_eq!(pool["draining"], json!({ "endpoints": 1, "in_flight": 1 }), "{pool}");
    let address = slow.address.to_string();
    let members = pool["members"].as_array().expect("members");
    let member = members.iter().find(|member| member["address"] == address.as_str());
    let member = member.expect("the member that is draining");
    assert_eq!((&member["state"], &member["drained"]["by"]), (&json!("drained"), &json!("source")));
    let left = "tenantry_pool_draining_requests{pool=\"app\"}";
    assert_eq!(gateway.metric(left).await, Some(1.0));
    let why = gateway.admin("/api/v1/explain?target=/&tenant=acme").await.json();
    let told = why["pool"]["endpoints"].to_string();
    assert!(told.contains("static says that it is draining"), "{told}");

    slow.release();
    assert_eq!(client.answer_to("GET").await.text(), "slow");
    gateway.metric_becomes(left, 0.0).await;
    eventually("its connection is closed", || slow.open(), |open| *open == 0).await;

    // An operator has nothing to say where it is written otherwise.
    let wish = json!({ "pool": "app", "address": address });
    let answer = gateway.tell("POST /api/v1/endpoints/undrain", &wish).await.json();
    assert!(answer["warning"].to_string().contains("draining"), "{answer}");

    slow.rescript([Step::ok("back")]);
    gateway.reload(&routes(&[(slow.address, ""), (other.address, "")], "")).await;
    gateway.metric_becomes(&drained, 0.0).await;
    let mut texts = Vec::new();
    for _ in 0..2 {
        texts.push(gateway.get("/").await.text());
    }
    texts.sort_unstable();
    assert_eq!(texts, ["b", "back"]);
}

#[tokio::test]
async fn a_watched_list_drains_an_endpoint_and_lets_it_in_again() {
    let origins = [Origin::saying("a").await, Origin::saying("b").await];
    let [first, second] = origins.each_ref().map(|origin| origin.address);
    let gateway = Gateway::start("[tenants]\n").await;
    let list = |state: &str| {
        let groups = json!([
            { "targets": [first.to_string()], "labels": { "__tenantry_state": state } },
            { "targets": [second.to_string()] },
        ]);
        fs::write(gateway.path("list.new"), groups.to_string()).expect("write the list");
        fs::rename(gateway.path("list.new"), gateway.path("list.json")).expect("rename it");
    };
    list("draining");
    let pool = "[pools.app]\nfile = \"list.json\"\nbalance = \"round-robin\"\n";
    gateway.reload(&format!("{pool}[tenants.acme]\npool = \"app\"\n")).await;
    let drained = format!("tenantry_endpoint_drained{{pool=\"app\",endpoint=\"{first}\"}}");
    gateway.metric_becomes(&drained, 1.0).await;
    assert_eq!(shares(&gateway, &origins, 6).await, [0, 6]);

    list("active");
    gateway.metric_becomes(&drained, 0.0).await;
    assert_eq!(shares(&gateway, &origins, 6).await, [3, 3]);

    list("draining");
    gateway.metric_becomes(&drained, 1.0).await;
    assert_eq!(shares(&gateway, &origins, 6).await, [0, 6]);
}

#[tokio::test]
async fn who_joins_a_pool_in_use_begins_with_a_small_share() {
    let origins = three().await;
    let [first, second, third] = origins.each_ref().map(|origin| (origin.address, ""));
    // So long that it stays at its least share while the test runs.
    let slow = "slow-start = { window = \"2h\", min = \"10%\" }";
    let gateway = Gateway::start(&routes(&[first, second], slow)).await;
    assert_eq!(shares(&gateway, &origins, 20).await, [10, 10, 0]);

    gateway.reload(&routes(&[first, second, third], slow)).await;
    gateway.metric_becomes("tenantry_pool_warming_members{pool=\"app\"}", 1.0).await;
    assert_eq!(shares(&gateway, &origins, 42).await, [20, 20, 2]);
    let pool = shown(&gateway).await;
    assert_eq!(pool["warming"], 1, "{pool}");
    assert!(pool["members"].to_string().contains("\"warmth\":10"), "{pool}");

    gateway.reload(&routes(&[first, second, third], "")).await;
    assert_eq!(shares(&gateway, &origins, 30).await, [10, 10, 10]);
}

#[tokio::test]
async fn the_next_priority_gets_what_the_first_cannot_bear() {
    let origins = three().await;
    let [first, second, third] = origins.each_ref().map(|origin| origin.address);
    let list =
        |state: &str| routes(&[(first, ""), (second, state), (third, ", priority = 1")], CHECKED);
    let gateway = Gateway::start(&list("")).await;
    assert_eq!(shares_of_root(&gateway, &origins, 20).await, [10, 10, 0]);

    origins[1].rescript([Step::answer(503, "")]);
    let part = "tenantry_pool_failover_ratio{pool=\"app\"}";
    gateway.metric_becomes(part, 0.3).await;
    assert_eq!(shares_of_root(&gateway, &origins, 40).await, [28, 0, 12]);
    let pool = shown(&gateway).await;
    assert_eq!(pool["priorities"][0]["share"], 0.7, "{pool}");
    assert_eq!(pool["priorities"][1]["share"], 0.3, "{pool}");

    // One that drains is none of its priority.
    gateway.reload(&list(DRAINING)).await;
    gateway.metric_becomes(part, 0.0).await;
    assert_eq!(shares_of_root(&gateway, &origins, 10).await, [10, 0, 0]);
}

/// A check that passes may take long, so that a busy machine takes nobody for down; those after one that has failed
/// come fast.
const CHECKED: &str = "health = { http = \"/check\", interval = \"2s\", timeout = \"2s\", \
                       fast-interval = \"20ms\", rise = 1, fall = 3 }";

/// As [`shares`], without the checks.
async fn shares_of_root<const N: usize>(
    gateway: &Gateway,
    origins: &[Origin; N],
    requests: usize,
) -> [usize; N] {
    let count =
        |origin: &Origin| origin.heads().iter().filter(|head| head.starts_with("GET / ")).count();
    let before = origins.each_ref().map(count);
    for _ in 0..requests {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    std::array::from_fn(|at| count(&origins[at]) - before[at])
}

#[tokio::test]
async fn requests_stay_in_the_own_zone_until_it_is_too_busy() {
    let origins = [Origin::saying("near").await, Origin::saying("far").await];
    let [near, far] = origins.each_ref().map(|origin| origin.address);
    let list =
        |keys: &str| routes(&[(near, ", zone = \"eu-1a\""), (far, ", zone = \"eu-1b\"")], keys);
    let one = "zones = { min-endpoints = 1, spill-above = 1 }";
    let gateway = Gateway::start_with("zone = \"eu-1a\"", &list(one)).await;
    assert_eq!(shares(&gateway, &origins, 10).await, [10, 0]);
    let leaves = "tenantry_pool_zone_spill_ratio{pool=\"app\"}";
    assert_eq!(gateway.metric(leaves).await, Some(0.0));

    // Eight that last: as many for each in the end.
    origins.iter().for_each(|origin| origin.rescript([Step::ok("late").held()]));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
        clients.push(client);
    }
    gateway.metric_becomes(leaves, 0.5).await;
    drop(clients);
    gateway.metric_becomes(leaves, 0.0).await;

    gateway.reload(&list("zones = { prefer = false }")).await;
    assert_eq!(gateway.metric(leaves).await, None);
}

#[tokio::test]
async fn each_tenant_has_a_few_endpoints_and_what_it_does_to_them_comes_to_no_others() {
    let origins = [
        Origin::saying("0").await,
        Origin::saying("1").await,
        Origin::saying("2").await,
        Origin::saying("3").await,
        Origin::saying("4").await,
        Origin::saying("5").await,
    ];
    let list: Vec<(SocketAddr, &str)> = origins.iter().map(|one| (one.address, "")).collect();
    let gateway = Gateway::start(&routes(&list, "shard = 2\neject = { failures = 0 }")).await;
    let served = shares(&gateway, &origins, 20).await;
    let own: Vec<usize> = (0..6).filter(|at| served[*at] > 0).collect();
    assert_eq!(own.len(), 2, "{served:?}");
    assert!(own.iter().all(|at| served[*at] == 10), "{served:?}");

    // One of them breaks its connections: retries find the other one.
    origins[own[0]].rescript([Step::reset()]);
    let after = shares(&gateway, &origins, 10).await;
    assert!((0..6).all(|at| own.contains(&at) == (after[at] > 0)), "{after:?}");

    // Both do: nobody else is tried.
    origins[own[1]].rescript([Step::reset()]);
    for _ in 0..5 {
        assert_eq!(gateway.get("/").await.status, 502);
    }
    let others = (0..6).filter(|at| !own.contains(at));
    assert_eq!(others.map(|at| origins[at].asked().len()).sum::<usize>(), 0);

    // Other tenants go on, who have others.
    let mut statuses = Vec::new();
    for tenant in ["acme", "globex"] {
        statuses.push(get(gateway.address(), tenant, "/").await.status);
    }
    assert_eq!(statuses[0], 502);
    let why = gateway.admin("/api/v1/explain?target=/&tenant=acme").await.json();
    let told = why["pool"]["endpoints"].to_string();
    assert_eq!(told.matches("not among the 2 of this tenant").count(), 4, "{told}");
    assert_eq!(shown(&gateway).await["shard"], 2);
}

/// Its own endpoints are gone; nobody is harmed by a request that comes nowhere.
#[tokio::test]
async fn a_tenant_whose_own_endpoints_refuse_connections_is_served_by_others() {
    let serves = Origin::saying("here").await;
    let refusing: [Refusing; 5] = std::array::from_fn(|_| Refusing::new());
    let mut list: Vec<(SocketAddr, &str)> = refusing.iter().map(|one| (one.address, "")).collect();
    list.push((serves.address, ""));
    let keys = "shard = 1\neject = { failures = 0 }\nretry = { attempts = 6, backoff = \"1ms\" }";
    let gateway = Gateway::start(&routes(&list, keys)).await;

    // Of so many tenants' own endpoints it is one at most that is well, and both find it.
    for tenant in ["acme", "globex", "acme", "globex"] {
        let answer = get(gateway.address(), tenant, "/").await;
        assert_eq!((answer.status, answer.text().as_ref()), (200, "here"), "{tenant}");
    }
}
