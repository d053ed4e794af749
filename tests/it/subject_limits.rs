//! Limits for each subject: who an API key, a token or a certificate says that somebody is.

use futures_util::future::join_all;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::identity::MadeKey;
use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};

const USAGE: &str = "/api/v1/tenants/acme/usage";

/// Keys of `acme`, `ci` and `shop`, and of `globex`, whose one is named `ci`, too. Both have the route set
/// `shared`.
struct World {
    origin: Origin,
    gateway: Gateway,
    routes: String,
    ci: MadeKey,
    shop: MadeKey,
    globex: MadeKey,
}

impl World {
    async fn new(workers: usize, acme: &str, shared: &str) -> Self {
        Self::with(Origin::saying("hello").await, workers, (acme, shared)).await
    }

    async fn with(origin: Origin, workers: usize, (acme, shared): (&str, &str)) -> Self {
        let [ci, shop, globex] = [MadeKey::new(), MadeKey::new(), MadeKey::new()];
        let pool = pool("app", &[origin.address], "");
        let routes = format!(
            "{pool}\n[[route-sets.shared.routes]]\npath = \"/shared\"\n{shared}\n\
             [tenants.globex]\npool = \"app\"\nuse = [\"shared\"]\n\
             [tenants.globex.keys.ci]\n{}\n[tenants.acme]\npool = \"app\"\nuse = [\"shared\"]\n{acme}\n\
             [tenants.acme.keys.ci]\n{}\n[tenants.acme.keys.shop]\n{}\n",
            globex.hash, ci.hash, shop.hash
        );
        let gateway = Gateway::start_with_workers(workers, "", &routes).await;
        Self { origin, gateway, routes, ci, shop, globex }
    }

    async fn ask(&self, tenant: &str, path: &str, fields: &[&str]) -> Answer {
        let named = format!("X-Tenant-ID: {tenant}");
        let fields = [&["Host: a", &named], fields].concat();
        ask(self.gateway.address(), &format!("GET {path}"), &fields).await
    }

    /// A client of `acme` that has asked with this key.
    async fn begin(&self, key: &MadeKey) -> Client {
        let mut client = Client::connect(self.gateway.address()).await;
        let fields = ["Host: a", "X-Tenant-ID: acme", &key.field()];
        client.send(head("GET /", &fields)).await;
        client
    }

    async fn statuses(&self, tenant: &str, path: &str, fields: &[&str], times: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..times {
            statuses.push(self.ask(tenant, path, fields).await.status);
        }
        statuses
    }
}

#[tokio::test]
async fn each_key_has_its_own_and_all_who_show_none_have_one() {
    let limits = "limits = { subject = { requests = \"2/h\", burst = 2 } }";
    let world = World::new(2, limits, "").await;
    let (ci, bearer, shop) = (world.ci.field(), world.ci.bearer(), world.shop.field());
    assert_eq!(world.ask("acme", "/", &[&ci]).await.status, 200);
    assert_eq!(world.ask("acme", "/", &[&bearer]).await.status, 200, "it is the same key");

    let h1 = world.ask("acme", "/", &[&ci]).await;
    let mut client = Hyper::h2(world.gateway.address()).await;
    let mut request = client.request("GET", "acme", "/", Frames::default());
    let value = HeaderValue::from_str(&world.ci.secret).expect("a key");
    request.headers_mut().insert("x-api-key", value);
    let h2 = client.ask(request).await;

    for answer in [h1, h2] {
        assert_eq!(answer.status, 429);
        assert_eq!(answer.problem().as_deref(), Some("subject-rate-limited"));
        let body = answer.json();
        assert_eq!(body["limit"], json!({"name": "subject", "allows": "2/h, 2 at once"}));
        let after: u64 = answer.one("retry-after").expect("a time").parse().expect("seconds");
        assert!((1700..=1800).contains(&after), "{after}");
        let policy = answer.one("ratelimit-policy");
        assert_eq!(policy.as_deref(), Some("\"subject\";q=2;w=3600"));
        assert_eq!(answer.one("ratelimit"), Some(format!("\"subject\";r=0;t={after}")));
        assert!(!answer.text().contains(&world.ci.secret), "{}", answer.text());
    }
    assert_eq!(world.statuses("acme", "/", &[&shop], 3).await, [200, 200, 429]);
    assert_eq!(world.statuses("acme", "/", &[], 3).await, [200, 200, 429]);
    assert_eq!(world.ask("globex", "/", &[]).await.status, 200, "it has no limits");

    let answers = "tenantry_gateway_answers_total{problem=\"subject-rate-limited\"}";
    world.gateway.metric_becomes(answers, 4.0).await;
    let metrics = world.gateway.admin("/metrics").await.text();
    let log = world.gateway.logs("\"problem\":\"subject-rate-limited\"", 4).await;
    for secret in [&world.ci.secret, &world.shop.secret] {
        let digits = &secret[secret.len() - 32..];
        assert!(!log.contains(digits) && !metrics.contains(digits));
    }
    assert_eq!(world.origin.asked().len(), 7);
}

#[tokio::test]
async fn over_all_workers_each_key_gets_not_one_more_and_not_one_less() {
    let limits = "limits = { subject = { requests = \"12/h\", burst = 12 } }";
    let world = World::new(4, limits, "").await;

    let clients = (0..20).map(|number| {
        let key = if number % 2 == 0 { &world.ci } else { &world.shop };
        let fields = ["Host: a".to_owned(), "X-Tenant-ID: acme".to_owned(), key.field()];
        let address = world.gateway.address();
        async move {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let mut client = Client::connect(address).await;
            let mut served = 0;
            for _ in 0..3 {
                served += usize::from(client.ask(head("GET /", &fields)).await.status == 200);
            }
            served
        }
    });
    let served = join_all(clients).await;

    let of = |first: usize| served.iter().skip(first).step_by(2).sum::<usize>();
    assert_eq!([of(0), of(1)], [12, 12]);
}

#[tokio::test]
async fn each_key_has_so_many_requests_under_way_and_takes_none_of_another_s() {
    let origin = Origin::start([Step::ok("slow").held()]).await;
    let limits = "limits = { fields = \"always\", subject = { concurrency = 2 } }";
    let world = World::with(origin, 4, (limits, "")).await;
    let mut clients = vec![world.begin(&world.ci).await, world.begin(&world.ci).await];
    world.origin.wait_for(2).await;

    let field = world.ci.field();
    for _ in 0..6 {
        let refused = world.ask("acme", "/", &[&field]).await;
        assert_eq!(refused.problem().as_deref(), Some("subject-concurrency-limited"));
        let limit = &refused.json()["limit"];
        assert_eq!(*limit, json!({"name": "subject-concurrency", "allows": "2 at once"}));
        assert_eq!(refused.one("retry-after").as_deref(), Some("1"));
        let policy = "\"subject-concurrency\";q=2;qu=\"concurrent-requests\"";
        assert_eq!(refused.one("ratelimit-policy").as_deref(), Some(policy));
        assert_eq!(refused.one("ratelimit").as_deref(), Some("\"subject-concurrency\";r=0"));
    }
    clients.push(world.begin(&world.shop).await);
    world.origin.wait_for(3).await;
    let answers = "tenantry_gateway_answers_total{problem=\"subject-concurrency-limited\"}";
    world.gateway.metric_becomes(answers, 6.0).await;
    world.gateway.logs("\"problem\":\"subject-concurrency-limited\"", 6).await;
    let usage = world.gateway.admin(USAGE).await.json();
    let rows = usage["limits"].as_array().expect("a list").iter();
    let rows: Vec<(&Value, &Value)> = rows.map(|row| (&row["subject"], &row["used"])).collect();
    assert!(rows.contains(&(&json!("ci"), &json!(2))), "{usage}");

    clients.iter().for_each(|_| world.origin.release());
    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.status, 200);
    }
    world.origin.rescript([Step::ok("quick")]);
    assert_eq!(world.statuses("acme", "/", &[&field], 5).await, [200; 5]);
}

#[tokio::test]
async fn who_waits_for_another_request_of_its_key_goes_when_that_ends() {
    let origin = Origin::start([Step::ok("slow").held(), Step::ok("next")]).await;
    let limits = "limits = { subject = { concurrency = 1, overflow = \"wait\", wait = \"30s\", \
                  waiting = 1 } }";
    let world = World::with(origin, 2, (limits, "")).await;
    let mut first = world.begin(&world.ci).await;
    world.origin.wait_for(1).await;
    let mut second = world.begin(&world.ci).await;
    let waits = "tenantry_limit_waits_total{limit=\"subject-concurrency\"}";
    world.gateway.metric_becomes(waits, 1.0).await;

    assert_eq!(world.ask("acme", "/", &[&world.ci.field()]).await.status, 429);
    assert_eq!(world.ask("acme", "/", &[&world.shop.field()]).await.text(), "next");
    world.origin.release();

    assert_eq!(first.answer_to("GET").await.text(), "slow");
    assert_eq!(second.answer_to("GET").await.text(), "next");
}

#[tokio::test]
async fn the_quota_of_each_key_is_kept_over_a_restart() {
    let limits = "limits = { subject = { quota = \"2/month\" } }";
    let world = World::new(2, limits, "").await;
    let (ci, shop) = (world.ci.field(), world.shop.field());
    assert_eq!(world.statuses("acme", "/", &[&ci], 2).await, [200, 200]);
    assert_eq!(world.statuses("acme", "/", &[&shop], 1).await, [200]);

    let World { origin: _origin, gateway, .. } = world;
    let folder = gateway.stop_and_keep().await;
    let kept = std::fs::read_to_string(folder.path().join("state/quotas.json")).expect("a file");
    assert!(!kept.contains("shop"), "{kept}");
    let gateway = Gateway::start_in(folder, 2, "").await.expect("a gateway");
    let told = async |field: &str| {
        let fields = ["Host: a", "X-Tenant-ID: acme", field];
        ask(gateway.address(), "GET /", &fields).await
    };

    let refused = told(&ci).await;
    assert_eq!(refused.problem().as_deref(), Some("subject-quota-used-up"));
    let limit = &refused.json()["limit"];
    assert_eq!(*limit, json!({"name": "subject-quota", "allows": "2/month"}));
    let after: u64 = refused.one("retry-after").expect("a time").parse().expect("seconds");
    assert_eq!(refused.one("ratelimit"), Some(format!("\"subject-quota\";r=0;t={after}")));
    assert_eq!([told(&shop).await.status, told(&shop).await.status], [200, 429]);
    let usage = gateway.admin(USAGE).await.json();
    let rows = usage["limits"].as_array().expect("a list").iter();
    let rows: Vec<(&Value, &Value)> = rows.map(|row| (&row["limit"], &row["used"])).collect();
    assert_eq!(rows.iter().filter(|row| **row == (&json!("subject-quota"), &json!(2))).count(), 2);
}

#[tokio::test]
async fn a_route_that_tenants_share_counts_the_keys_of_each_by_themselves() {
    let shared = "limits = { subject = { requests = \"2/h\", burst = 2 } }";
    let world = World::new(1, "", shared).await;

    for (tenant, key) in [("acme", &world.ci), ("globex", &world.globex), ("acme", &world.shop)] {
        let field = key.field();
        let told = world.statuses(tenant, "/shared", &[&field], 3).await;
        assert_eq!(told, [200, 200, 429], "{tenant}");
        assert_eq!(world.ask(tenant, "/", &[&field]).await.status, 200, "another route");
    }
    let field = world.ci.field();
    let refused = world.ask("acme", "/shared", &[&field]).await;
    assert_eq!(refused.problem().as_deref(), Some("route-subject-rate-limited"));
    let foreign = world.ask("globex", "/shared", &[&field]).await;
    assert_eq!(foreign.problem().as_deref(), Some("other-tenant"), "it takes nothing of anybody");
}

#[tokio::test]
async fn a_key_that_takes_the_place_of_another_has_what_that_has_left() {
    let limits = "limits = { subject = { requests = \"3/h\", burst = 3 } }";
    let world = World::new(1, limits, "").await;
    let (ci, shop) = (world.ci.field(), world.shop.field());
    assert_eq!(world.statuses("acme", "/", &[&ci], 2).await, [200, 200]);
    let new = MadeKey::new();
    let beside =
        format!("{}[tenants.acme.keys.next]\nsubject = \"ci\"\n{}\n", world.routes, new.hash);

    world.gateway.reload(&beside).await;

    let new = new.field();
    assert_eq!(world.statuses("acme", "/", &[&new], 2).await, [200, 429]);
    assert_eq!(world.ask("acme", "/", &[&ci]).await.status, 429, "it is one subject");
    assert_eq!(world.ask("acme", "/", &[&shop]).await.status, 200);
}

#[tokio::test]
async fn what_each_key_has_used_is_told_by_its_subject() {
    let limits = "authenticate = [\"api-key\"]\n\
                  limits = { subject = { requests = \"4/h\", burst = 4 } }";
    let shared = "limits = { subject = { requests = \"2/h\", burst = 2 } }";
    let world = World::new(1, limits, shared).await;
    let told = async || {
        let used: Value = world.gateway.admin(USAGE).await.json();
        let limits = used["limits"].as_array().expect("a list").clone();
        let row = |row: &Value| {
            let text = |key: &str| row[key].as_str().map(str::to_owned);
            let number = |key: &str| row[key].as_u64();
            (text("limit"), text("route"), text("subject"), number("used"), number("left"))
        };
        limits.iter().map(row).collect::<Vec<_>>()
    };
    let row = |limit: &str, route: Option<&str>, subject: &str, used: u64, left: u64| {
        let own = |text: &str| Some(text.to_owned());
        (own(limit), route.map(str::to_owned), own(subject), Some(used), Some(left))
    };
    let shared = Some("/shared");
    let whole = [
        row("subject", None, "ci", 0, 4),
        row("subject", None, "shop", 0, 4),
        row("route-subject", shared, "ci", 0, 2),
        row("route-subject", shared, "shop", 0, 2),
    ];
    assert_eq!(told().await, whole);

    let ci = world.ci.field();
    assert_eq!(world.statuses("acme", "/shared", &[&ci], 3).await, [200, 200, 429]);
    assert_eq!(world.ask("acme", "/", &[&ci]).await.status, 200);
    assert_eq!(world.ask("acme", "/", &[]).await.status, 401, "it takes nothing");

    let used = [
        row("subject", None, "ci", 3, 1),
        whole[1].clone(),
        row("route-subject", shared, "ci", 2, 0),
        whole[3].clone(),
    ];
    for _ in 0..2 {
        assert_eq!(told().await, used, "nothing is taken by looking");
    }
}

#[tokio::test]
async fn of_more_than_64_keys_no_more_than_64_are_told() {
    for (asks, rows) in [("authenticate = [\"api-key\"]\n", 64), ("", 64 + 1)] {
        let key = |number| format!("[tenants.acme.keys.k{number}]\n{}\n", MadeKey::new().hash);
        let keys: String = (0..70).map(key).collect();
        let acme = format!("{asks}limits = {{ subject = {{ requests = \"4/h\" }} }}\n{keys}");
        let world = World::new(1, &acme, "").await;

        let used: Value = world.gateway.admin(USAGE).await.json();

        assert_eq!(used["limits"].as_array().map(Vec::len), Some(rows), "{used}");
    }
}
