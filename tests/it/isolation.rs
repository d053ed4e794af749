//! What tenants that share a pool cannot take from each other: retries, memory for replays, connections.
//! Places and turns are in `sharing`, limits in `tenant_limits` and `subject_limits`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::client::{Client, Frames, Hyper, get, head};
use crate::world::config::pool;
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::message::{Asked, payload};
use crate::world::narrow::Narrow;
use crate::world::origin::{Origin, Step};

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];

/// Without a floor and a share no bucket is ever filled again: it holds one retry in all.
const ONE_RETRY: &str = "eject = { failures = 0 }\n\
                         retry = { attempts = 2, backoff = \"0s\", budget = \"0%\", budget-floor = 0 }";

/// `acme` and `globex`, whose own pool is `app`.
fn tenants(acme: &str) -> String {
    format!("[tenants.globex]\npool = \"app\"\n[tenants.acme]\npool = \"app\"\n{acme}\n")
}

#[tokio::test]
async fn whoever_has_spent_its_retries_at_a_pool_leaves_all_others_theirs() {
    let sick = Origin::start([Step::answer(503, "")]).await;
    let pools = ["app", "other"].map(|name| pool(name, &[sick.address], ONE_RETRY)).concat();
    let route = |tenant: &str| {
        format!("[[tenants.{tenant}.routes]]\npath = \"/other\"\npool = \"other\"\n")
    };
    let routes = format!("{pools}{}{}{}", tenants(""), route("acme"), route("globex"));
    let gateway = Gateway::start_with_workers(2, "", &routes).await;
    let attempts = async |tenant: &str, path: &str| {
        let before = sick.asked().len();
        assert_eq!(get(gateway.address(), tenant, path).await.status, 503);
        sick.asked().len() - before
    };

    assert_eq!(attempts("acme", "/").await, 2);
    for _ in 0..20 {
        assert_eq!(attempts("acme", "/").await, 1, "over all workers there is one bucket");
    }

    for (tenant, path) in [("globex", "/"), ("acme", "/other"), ("globex", "/other")] {
        assert_eq!(attempts(tenant, path).await, 2, "{tenant} {path}");
        assert_eq!(attempts(tenant, path).await, 1, "{tenant} {path}");
    }
}

#[tokio::test]
async fn whoever_has_filled_its_memory_for_replays_leaves_all_others_theirs() {
    let busy = Origin::start([Step::answer(503, "busy")]).await;
    let good = Origin::saying("ok").await;
    let slow = Origin::start([Step::ok("slow").held()]).await;
    let keys = "balance = \"round-robin\"\neject = { failures = 0 }\nretry = { backoff = \"1ms\" }";
    let app = pool("app", &[busy.address, good.address], keys);
    let held = pool("slow", &[slow.address], "");
    let route = "[[tenants.acme.routes]]\npath = \"/slow\"\npool = \"slow\"\n";
    let routes = format!("{app}{held}{}{route}", tenants("replay-memory = \"8KiB\""));
    let gateway = Gateway::start(&routes).await;
    let body = payload(6 << 10);
    let put = |tenant: &str, path: &str| {
        let fields = format!("Host: a\r\nX-Tenant-ID: {tenant}\r\nContent-Length: {}", body.len());
        [format!("PUT {path} HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes(), &body].concat()
    };
    let mut client = Client::connect(gateway.address()).await;
    client.send(put("acme", "/slow")).await;
    slow.wait_for(1).await; // which is kept until there is an answer

    let mut seen = Vec::new();
    for tenant in ["acme", "globex"] {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let mut client = Client::connect(gateway.address()).await;
            client.send(put(tenant, "/")).await;
            statuses.push(client.answer_to("PUT").await.status);
        }
        statuses.sort_unstable();
        seen.push(statuses);
    }

    assert_eq!(seen, [[200, 200, 503, 503], [200; 4]]);
    slow.release();
    assert_eq!(client.answer_to("PUT").await.status, 200);
}

#[tokio::test]
async fn whoever_holds_connections_or_breaks_them_costs_others_no_request() {
    let origin = Origin::start([Step::ok("slow").held()]).await;
    let keys = "connections = { idle = 1 }\nretry = { attempts = 1 }";
    let routes = format!("{}{}", pool("app", &[origin.address], keys), tenants(""));
    let gateway = Gateway::start(&routes).await;
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", FIELDS)).await;
        held.push(client);
    }
    origin.wait_for(30).await;
    origin.rescript([Step::ok("quick")]);
    let globex = || get(gateway.address(), "globex", "/");

    let beside = join_all((0..10).map(|_| globex())).await;
    assert!(beside.iter().all(|answer| answer.status == 200), "{beside:?}");
    // Each of its connections to the endpoint breaks, while the other goes on.
    for client in held {
        drop(client);
        assert_eq!(globex().await.status, 200);
    }
    assert_eq!(globex().await.text(), "quick");
}

#[tokio::test]
async fn whoever_has_all_streams_of_a_connection_keeps_nobody_waiting_for_one() {
    let origin = Narrow::start().await;
    let keys = "protocol = \"h2\"\nretry = { attempts = 1 }";
    let routes = format!("{}{}", pool("app", &[origin.address], keys), tenants(""));
    let gateway = Gateway::start(&routes).await;
    let mut asking = JoinSet::new();
    for count in 1..=5 {
        ask(&mut asking, gateway.address(), if count < 5 { "acme" } else { "globex" }).await;
        // No answer comes before: nobody may wait behind another one.
        eventually("the request", || origin.asked(), |asked| *asked == count).await;
    }

    origin.release();

    assert_eq!(asking.join_all().await, [200; 5]);
}

async fn ask(asking: &mut JoinSet<u16>, address: SocketAddr, tenant: &'static str) {
    let mut client = Hyper::h2(address).await;
    let request = client.request("GET", tenant, "/", Frames::default());
    asking.spawn(async move { client.ask(request).await.status });
}

/// Whose requests came by each connection of an endpoint.
fn users(asked: &[Asked]) -> BTreeMap<usize, BTreeSet<String>> {
    let mut users: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for asked in asked {
        let tenant = asked.one("x-tenant-id").expect("a tenant");
        users.entry(asked.connection).or_default().insert(tenant);
    }
    users
}

const APART: &str = "connections = { per-tenant = true }";

#[tokio::test]
async fn where_each_tenant_has_connections_of_its_own_none_is_used_by_two() {
    let (h1, h2) = (Origin::saying("hello").await, H2Origin::saying("hello").await);
    let one = pool("app", &[h1.address], APART);
    let two = pool("two", &[h2.address], &format!("{APART}\nprotocol = \"h2\""));
    let route =
        |tenant: &str| format!("[[tenants.{tenant}.routes]]\npath = \"/two\"\npool = \"two\"\n");
    let routes = format!("{one}{two}{}{}{}", tenants(""), route("acme"), route("globex"));
    let gateway = Gateway::start_with_workers(1, "", &routes).await;

    for _ in 0..5 {
        for (tenant, path) in [("acme", "/"), ("globex", "/"), ("acme", "/two"), ("globex", "/two")]
        {
            assert_eq!(get(gateway.address(), tenant, path).await.status, 200, "{tenant} {path}");
        }
    }

    let own = |tenant: &str| BTreeSet::from([tenant.to_owned()]);
    let expected = BTreeMap::from([(0, own("acme")), (1, own("globex"))]);
    assert_eq!(users(&h1.asked()), expected, "each is used again");
    assert_eq!(users(&h2.asked()), expected);
}

/// What a connection of HTTP/2 has room for where nobody says otherwise (RFC 9113 §6.9.2).
const WINDOW: usize = 65_535;

/// An endpoint of HTTP/2 that reads no body of `acme`, and all others whole before it answers. Its connections
/// have room for 64 KiB that it has not read; how many of `acme` have come is told by `held`.
async fn serve_others(stream: TcpStream, held: Arc<AtomicUsize>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut answers = JoinSet::new();
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        let held = Arc::clone(&held);
        answers.spawn(async move {
            let is_acme = request.headers()["x-tenant-id"] == "acme";
            let mut body = request.into_body();
            while let Some(Ok(part)) = body.data().await {
                if is_acme {
                    held.fetch_add(part.len(), Ordering::Relaxed);
                    continue; // there is no room for more than the first 64 KiB
                }
                body.flow_control().release_capacity(part.len()).expect("room");
            }
            answer.send_response(http::Response::new(()), true).expect("an answer");
        });
    }
}

#[tokio::test]
async fn where_each_tenant_has_connections_of_its_own_no_body_waits_behind_one_of_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let mut serving = JoinSet::new();
    let held = Arc::new(AtomicUsize::new(0));
    let of_acme = Arc::clone(&held);
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve_others(stream, Arc::clone(&held)));
        }
    });
    let keys = format!("{APART}\nprotocol = \"h2\"\nretry = {{ attempts = 1 }}");
    let routes = format!("{}{}", pool("app", &[address], &keys), tenants(""));
    let gateway = Gateway::start_with_workers(1, "", &routes).await;
    let mut acme = Hyper::h2(gateway.address()).await;
    let request = acme.request("PUT", "acme", "/", Frames::sized(payload(1 << 20)));
    acme.send(request);
    // What the endpoint has room for is on its way, and no more is taken.
    let come = || of_acme.load(Ordering::Relaxed);
    eventually("the body of acme", come, |come| *come == WINDOW).await;

    let mut globex = Hyper::h2(gateway.address()).await;
    let request = globex.request("PUT", "globex", "/", Frames::sized(payload(200 << 10)));
    let answer = globex.ask(request).await;

    assert_eq!(answer.status, 200);
}
