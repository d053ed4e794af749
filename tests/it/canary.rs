//! The canary of a split: who gets it, and that one that fails gets nothing any more.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::world::client::ask;
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::{DEADLINE, STEP};

/// `acme` and `globex` use a set with this split; all of what `globex` asks for goes to the canary.
fn routes(stable: SocketAddr, canary: SocketAddr, weights: [u32; 2]) -> String {
    let keys = format!("eject = {{ failures = 0 }}\n{NO_RETRY}");
    let pools = format!("{}{}", pool("stable", &[stable], &keys), pool("canary", &[canary], &keys));
    let [stable, canary] = weights;
    format!(
        "{pools}[route-sets.shared]\n[[route-sets.shared.routes]]\nname = \"shop\"\n\
         [route-sets.shared.routes.split]\npools = {{ stable = {stable}, canary = {canary} }}\n\
         [route-sets.shared.routes.split.canary]\npool = \"canary\"\n\
         headers = {{ X-Canary = \"yes\" }}\ntenants = [\"globex\"]\n\
         rollback = {{ errors = \"20%\", requests = 10 }}\n\
         [tenants.acme]\npool = \"stable\"\nuse = [\"shared\"]\n\
         [tenants.globex]\npool = \"stable\"\nuse = [\"shared\"]\n"
    )
}

/// The status of an answer to this tenant, with this further field.
async fn status(gateway: &Gateway, tenant: &str, field: &str) -> u16 {
    let tenant = format!("X-Tenant-ID: {tenant}");
    ask(gateway.address(), "GET /", &["Host: a", &tenant, field]).await.status
}

async fn splits(gateway: &Gateway) -> Value {
    gateway.admin("/api/v1/splits").await.json()
}

/// Asks for the canary until the stable pool answers.
async fn until_rolled_back(gateway: &Gateway) {
    let started = Instant::now();
    while status(gateway, "acme", "X-Canary: yes").await != 200 {
        assert!(started.elapsed() < DEADLINE, "it is not rolled back: {}", splits(gateway).await);
        sleep(STEP).await;
    }
}

#[tokio::test]
async fn a_canary_is_for_who_asks_for_it_and_for_who_is_named_and_for_its_share() {
    let (stable, canary) = (Origin::saying("stable").await, Origin::saying("canary").await);
    let text = routes(stable.address, canary.address, [1, 0]);
    let gateway = Gateway::start(&text).await;
    let says = async |tenant: &str, field: &str| {
        let tenant = format!("X-Tenant-ID: {tenant}");
        ask(gateway.address(), "GET /", &["Host: a", &tenant, field]).await.text()
    };

    assert_eq!(says("acme", "X-Canary: yes").await, "canary");
    assert_eq!(says("acme", "X-Canary: no").await, "stable");
    assert_eq!(says("globex", "X-Other: 1").await, "canary");
    gateway.reload(&routes(stable.address, canary.address, [0, 1])).await;
    assert_eq!(says("acme", "X-Other: 1").await, "canary", "the share is changed live");
}

#[tokio::test]
async fn a_canary_that_fails_stays_rolled_back_until_its_split_is_reset_or_edited() {
    let (stable, canary) =
        (Origin::saying("stable").await, Origin::start([Step::answer(500, "")]).await);
    let text = routes(stable.address, canary.address, [0, 1]);
    let gateway = Gateway::start_with_workers(2, "", &text).await;
    assert_eq!(status(&gateway, "acme", "X-Other: 1").await, 500);

    until_rolled_back(&gateway).await;

    for (tenant, field) in [("acme", "X-Other: 1"), ("globex", "X-Other: 1")] {
        assert_eq!(status(&gateway, tenant, field).await, 200, "{tenant}");
    }
    let failed = canary.asked().len();
    let id = splits(&gateway).await[0]["id"].as_str().expect("an id").to_owned();
    let of = format!("split=\"{id}\",owner=\"route-sets.shared\",route=\"shop\"");
    let series =
        format!("tenantry_split_requests_total{{{of},side=\"canary\",outcome=\"failed\"}}");
    gateway.metric_becomes(&series, failed as f64).await;
    gateway.metric_becomes(&format!("tenantry_split_rolled_back{{{of}}}"), 1.0).await;
    let told = splits(&gateway).await;
    let split = &told[0];
    assert_eq!((&split["owner"], &split["route"]), (&json!("route-sets.shared"), &json!("shop")));
    assert_eq!((&split["state"], &split["canary"]), (&json!("rolled-back"), &json!("canary")));
    assert_eq!(split["rolled_back"]["reason"], "errors", "{told}");
    assert_eq!(split["shares"][0], json!({"pool": "canary", "weight": 1, "share": 0.0}));
    assert_eq!(split["shares"][1], json!({"pool": "stable", "weight": 0, "share": 1.0}));
    assert_eq!(split["requests"]["canary"]["failed"], failed);

    // Other pools, and so other routes, of the same split.
    gateway.reload(&text.replace("attempts = 1", "attempts = 2")).await;
    assert_eq!(status(&gateway, "acme", "X-Canary: yes").await, 200);
    gateway.kept("splits.json").await;
    let folder = gateway.stop_and_keep().await;
    let gateway = Gateway::start_in(folder, 2, "").await.expect("it starts again");
    assert_eq!(status(&gateway, "acme", "X-Canary: yes").await, 200);
    assert_eq!(splits(&gateway).await[0]["id"], json!(id));
    assert_eq!(canary.asked().len(), failed);

    let reset = format!("POST /api/v1/splits/{id}/reset");
    let answer = gateway.tell(&reset, &json!({})).await;
    assert_eq!((answer.status, &answer.json()["changed"]), (200, &json!(true)));
    assert_eq!(answer.json()["split"]["state"], "active");
    assert_eq!(status(&gateway, "acme", "X-Other: 1").await, 500);
    until_rolled_back(&gateway).await;
    gateway.reload(&routes(stable.address, canary.address, [1, 99])).await;
    assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 500, "it was edited");

    for odd in ["0123456789abcdef", "x", "..%2f", "%00"] {
        let line = format!("POST /api/v1/splits/{odd}/reset");
        let answer = gateway.tell(&line, &json!({})).await;
        assert_eq!(answer.json()["type"], "urn:tenantry:admin:unknown-split", "{odd}");
    }
}

#[tokio::test]
async fn a_stable_pool_that_fails_rolls_no_canary_back() {
    let (stable, canary) =
        (Origin::start([Step::answer(500, "")]).await, Origin::saying("canary").await);
    let gateway = Gateway::start(&routes(stable.address, canary.address, [1, 0])).await;
    for _ in 0..20 {
        assert_eq!(status(&gateway, "acme", "X-Canary: no").await, 500);
        assert_eq!(status(&gateway, "acme", "X-Canary: yes").await, 200);
    }

    let id = splits(&gateway).await[0]["id"].as_str().expect("an id").to_owned();
    for (side, outcome) in [("stable", "failed"), ("canary", "served")] {
        let of = format!("split=\"{id}\",owner=\"route-sets.shared\",route=\"shop\"");
        let series =
            format!("tenantry_split_requests_total{{{of},side=\"{side}\",outcome=\"{outcome}\"}}");
        gateway.metric_becomes(&series, 20.0).await;
    }
    assert_eq!(splits(&gateway).await[0]["state"], "active");
    assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 200);
}
