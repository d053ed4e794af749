//! Tenants and routes that are worked on: what is refused, who is let in, what goes on.

use http::header::ACCEPT;

use crate::world::client::{Client, Frames, Hyper, ask, get, head};
use crate::world::config::{one_tenant, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};

/// A tenant `acme` in this state, and a tenant `other`, which is served.
fn worked_on(origin: &Origin, keys: &str) -> String {
    let pool = pool("app", &[origin.address], "");
    format!("{pool}[tenants.other]\npool = \"app\"\n[tenants.acme]\npool = \"app\"\n{keys}\n")
}

#[tokio::test]
async fn a_tenant_that_is_worked_on_is_answered_503_and_nobody_else() {
    let origin = Origin::saying("hello").await;
    let keys = "state = \"maintenance\"\nmaintenance = { retry-after = \"90s\" }";
    let gateway = Gateway::start(&worked_on(&origin, keys)).await;

    let refused = gateway.get("/").await;
    let other = get(gateway.address(), "other", "/").await;

    assert_eq!((refused.status, refused.problem().as_deref()), (503, Some("maintenance")));
    assert_eq!(refused.all("retry-after"), ["90"]);
    assert_eq!(refused.json()["tenant"], "acme");
    assert_eq!((other.status, other.text().as_str()), (200, "hello"));
    assert_eq!(origin.asked().len(), 1, "nothing of the tenant reaches the endpoint");
    let status = gateway.admin("/api/v1/status").await.json();
    assert_eq!(status["tenants"]["maintenance"], 1);
    assert_eq!(status["in_maintenance"][0], "tenants.acme");
    assert_eq!(gateway.metric("tenantry_tenants{state=\"maintenance\"}").await, Some(1.0));
    let answers = "tenantry_gateway_answers_total{problem=\"maintenance\"}";
    gateway.metric_becomes(answers, 1.0).await;
}

#[tokio::test]
async fn a_route_that_is_worked_on_leaves_the_others_alone() {
    let origin = Origin::saying("hello").await;
    let keys = "[[tenants.acme.routes]]\npath = \"/x/*\"\nstate = \"maintenance\"\n\
                [[tenants.acme.routes]]\npath = \"/y\"\nstate = \"maintenance\"\nredirect = { to = \"/z\" }";
    let gateway = Gateway::start(&worked_on(&origin, keys)).await;

    for (path, status) in [("/x/1", 503), ("/y", 503), ("/", 200), ("/xy", 200)] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        let again = (status == 503).then(|| "300".to_owned());
        assert_eq!(answer.one("retry-after"), again, "{path}");
    }
    assert_eq!(gateway.metric("tenantry_routes_in_maintenance").await, Some(2.0));
    let status = gateway.admin("/api/v1/status").await.json();
    assert_eq!(status["in_maintenance"][0], "tenants.acme.routes: /x/*");
}

#[tokio::test]
async fn clients_that_are_let_in_are_served_all_the_same() {
    let origin = Origin::saying("hello").await;
    for (allow, status) in [("127.0.0.0/8", 200), ("10.0.0.0/8", 503)] {
        let keys =
            format!("state = \"maintenance\"\nmaintenance = {{ allow = [\"::1\", \"{allow}\"] }}");
        let gateway = Gateway::start(&worked_on(&origin, &keys)).await;
        assert_eq!(gateway.get("/").await.status, status, "{allow}");
    }
}

#[tokio::test]
async fn the_page_for_maintenance_goes_before_those_for_the_status() {
    let origin = Origin::saying("hello").await;
    let keys = "state = \"maintenance\"\n\
         error-pages = { 503 = { body = \"busy\" }, maintenance = { body = \"back soon\" } }";
    let gateway = Gateway::start(&worked_on(&origin, keys)).await;

    let html = ["Host: a", "X-Tenant-ID: acme", "Accept: text/html"];
    assert_eq!(ask(gateway.address(), "GET /", &html).await.text(), "back soon");
    let mut h2 = Hyper::h2(gateway.address()).await;
    let mut request = h2.request("GET", "acme", "/", Frames::default());
    request.headers_mut().insert(ACCEPT, "application/json".parse().expect("a value"));
    assert_eq!(h2.ask(request).await.problem().as_deref(), Some("maintenance"));
}

#[tokio::test]
async fn a_request_that_is_under_way_when_work_begins_is_answered_whole() {
    let origin = Origin::start([Step::ok("hello").held()]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    crate::world::eventually("the request", || origin.asked().len(), |asked| *asked == 1).await;

    gateway.reload(&(one_tenant(&[origin.address]) + "state = \"maintenance\"\n")).await;
    assert_eq!(gateway.get("/").await.status, 503);
    origin.release();

    let answer = client.answer_to("GET").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let next = client.ask(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    assert_eq!(next.status, 503, "the next one on the same connection is refused");
    gateway.reload(&one_tenant(&[origin.address])).await;
    origin.rescript([Step::ok("back")]);
    assert_eq!(gateway.get("/").await.text(), "back");
}
