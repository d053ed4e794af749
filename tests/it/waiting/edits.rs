//! Edits while requests wait, and what a pool has beside `wait`.

use crate::world::client::ask;
use crate::world::config::{one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};

use super::{CHECKED, FIELDS, WAITING, asking, became, becomes, checked_by, down};

#[tokio::test]
async fn an_edit_that_keeps_the_members_reaches_those_who_wait() {
    let origin = Origin::start([Step::answer(503, "")]).await;
    let gateway = down(origin.address, "\"1h\"").await;
    let mut waiting = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let keys = format!(
        "{CHECKED}\nwait = {{ time = \"2h\", at-once = 1 }}\ntimeouts = {{ total = \"0s\" }}\n\
         balance = \"random\""
    );
    gateway.reload(&one_tenant_with(&[origin.address], &keys)).await;
    assert_eq!(gateway.metric(WAITING).await, Some(1.0));
    origin.rescript([Step::ok("back")]);

    assert_eq!(waiting.answer_to("GET").await.text(), "back");
    gateway.metric_becomes(&became("released"), 1.0).await;
}

#[tokio::test]
async fn who_waits_in_a_pool_that_has_nobody_wait_any_more_is_sent_as_without() {
    let origin = Origin::start([Step::answer(503, "ill")]).await;
    let gateway = down(origin.address, "\"1h\"").await;
    let mut waiting = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let keys = format!("{CHECKED}\ntimeouts = {{ total = \"0s\" }}");
    gateway.reload(&one_tenant_with(&[origin.address], &keys)).await;

    // All that there is: the pool panics.
    assert_eq!(gateway.get("/").await.text(), "ill");
    assert_eq!(waiting.answer_to("GET").await.text(), "ill");
    gateway.metric_becomes(WAITING, 0.0).await;
}

#[tokio::test]
async fn who_waits_in_a_pool_that_is_taken_away_is_answered_once_its_time_is_over() {
    let origin = Origin::start([Step::answer(503, "ill")]).await;
    let other = Origin::saying("other").await;
    let gateway = down(origin.address, "\"2s\"").await;
    let mut waiting = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let routes = pool("other", &[other.address], "");
    gateway.reload(&format!("{routes}[tenants.acme]\npool = \"other\"\n")).await;

    assert_eq!(gateway.get("/").await.text(), "other");
    assert_eq!(waiting.answer_to("GET").await.text(), "ill", "it was tried at last");
}

#[tokio::test]
async fn a_pool_that_takes_few_at_once_takes_no_more_after_a_wait() {
    let checks = Origin::start([Step::answer(503, "")]).await;
    let origin = Origin::start([Step::ok("back").held()]).await;
    let keys = format!(
        "{}\nwait = \"1h\"\nconcurrency = 1\nqueue = {{ length = 9, wait = \"1h\" }}\n\
         timeouts = {{ total = \"0s\" }}",
        checked_by(&checks)
    );
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;
    becomes(&gateway, "down").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(asking(&gateway, "acme", "/").await);
    }
    gateway.metric_becomes(WAITING, 3.0).await;
    let pools = gateway.admin("/api/v1/pools").await.json();
    assert_eq!(pools[0]["concurrency"]["requests"], 0, "who waits has no place: {pools}");

    checks.rescript([Step::ok("")]);

    origin.wait_for(1).await;
    gateway.metric_becomes("tenantry_queue_waiting_requests{pool=\"app\"}", 2.0).await;
    assert_eq!(origin.asked().len(), 1);
    for _ in 0..3 {
        origin.release();
    }
    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.text(), "back");
    }
}

#[tokio::test]
async fn a_client_whose_endpoint_stays_away_is_kept_at_the_one_that_comes_back() {
    let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
    let sticky = "sticky = { cookie = \"stay\", keys = [\"0123456789abcdef0123456789abcdef\"] }";
    let keys = format!("{CHECKED}\n{sticky}\nwait = \"1h\"\ntimeouts = {{ total = \"0s\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[one.address, two.address], &keys)).await;
    let kept = ask(gateway.address(), "GET /", FIELDS).await;
    let set = kept.one("set-cookie").unwrap_or_default();
    let cookie = format!("Cookie: {}", set.split(';').next().unwrap_or_default());
    let (own, other) = if kept.text() == "one" { (&one, &two) } else { (&two, &one) };
    for origin in [own, other] {
        origin.rescript([Step::answer(503, "")]);
    }
    for origin in [own, other] {
        let up = format!("tenantry_endpoint_up{{pool=\"app\",endpoint=\"{}\"}}", origin.address);
        gateway.metric_becomes(&up, 0.0).await;
    }
    let back = async {
        gateway.metric_becomes(WAITING, 1.0).await;
        other.rescript([Step::ok("other")]);
    };

    let fields = [FIELDS, &[cookie.as_str()]].concat();
    let client = ask(gateway.address(), "GET /", &fields);
    let (answer, ()) = tokio::join!(client, back);

    assert_eq!((answer.status, answer.text()), (200, "other".to_owned()));
    assert!(answer.one("set-cookie").is_some(), "it is kept there from now on");
}
