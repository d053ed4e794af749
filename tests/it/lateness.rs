//! Endpoints that are later than the others, time after time, and how requests go round them by default.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::world::client::{Client, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::{eventually, within};

const LATE: &str = "tenantry_pool_late_members{pool=\"app\"}";

/// Half a second beside some milliseconds: late on any machine.
const SLOW: Duration = Duration::from_millis(500);

async fn three() -> [Origin; 3] {
    [Origin::saying("one").await, Origin::saying("two").await, Origin::saying("three").await]
}

fn routes(origins: &[Origin], keys: &str) -> String {
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let pool = pool("app", &addresses, &format!("eject = {{ failures = 0 }}\n{keys}"));
    format!("{pool}\n[tenants.acme]\npool = \"app\"\n")
}

/// Served by a gateway that knows how long they usually take.
async fn known(origins: &[Origin], keys: &str) -> Gateway {
    let gateway = Gateway::start(&routes(origins, keys)).await;
    for _ in 0..30 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    gateway
}

/// Where the members are that are late: a pause of the machine may make others so, too, for two seconds.
async fn late(gateway: &Gateway) -> Vec<String> {
    let pools: Value = gateway.admin("/api/v1/pools").await.json();
    let members = pools[0]["members"].as_array().expect("members");
    let late = members.iter().filter(|member| member["late"] == true);
    late.map(|member| member["address"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn an_endpoint_that_is_late_time_after_time_gets_next_to_nothing_by_default() {
    let origins = three().await;
    let gateway = known(&origins, "").await;
    let slow = &origins[1];
    slow.rescript([Step::ok("two").taking(SLOW)]);

    let mut asked = 0;
    while !late(&gateway).await.contains(&slow.address.to_string()) {
        gateway.get("/").await;
        asked += 1;
        assert!(asked < 200, "nobody notices");
    }
    gateway.metric_at_least(LATE, 1.0).await;

    let before = slow.asked().len();
    for _ in 0..30 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    let met = slow.asked().len() - before;
    assert!(met <= 4, "{met} of 30, of which each third would meet it");
}

#[tokio::test]
async fn what_is_given_up_after_too_long_makes_its_endpoint_late() {
    let origins = three().await;
    let keys = "timeouts = { attempt = \"400ms\" }\nretry = { attempts = 1 }";
    let gateway = known(&origins, keys).await;
    origins[2].rescript([Step::stall()]);
    let stalled = origins[2].address.to_string();

    let mut failed = 0;
    while !late(&gateway).await.contains(&stalled) {
        failed += usize::from(gateway.get("/").await.status != 200);
        assert!(failed <= 3, "{failed} have met it, and nobody notices");
    }
}

#[tokio::test]
async fn clients_that_leave_after_too_long_make_an_endpoint_late() {
    let origins = three().await;
    let gateway = known(&origins, "").await;
    origins.iter().for_each(|origin| origin.rescript([Step::stall()]));
    let asked = || origins.iter().map(|origin| origin.asked().len()).sum::<usize>();

    // Of seven one at least has had three.
    for _ in 0..7 {
        let before = asked();
        let mut client = Client::connect(gateway.address()).await;
        client.send(&head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
        eventually("it is asked", asked, |now| *now > before).await;
        sleep(SLOW / 2).await; // at least so long: late on any machine
    }

    let found = async {
        while late(&gateway).await.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    within("one is late", found).await;
}

#[tokio::test]
async fn a_balancer_that_goes_by_other_things_calls_nobody_late() {
    let origins = three().await;
    let gateway = known(&origins, "balance = \"round-robin\"").await;
    origins[1].rescript([Step::ok("two").taking(SLOW)]);

    for _ in 0..12 {
        assert_eq!(gateway.get("/").await.status, 200);
    }

    assert!(late(&gateway).await.is_empty());
}
