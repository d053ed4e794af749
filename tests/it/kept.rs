//! Tenants that are kept by the admin API: sent as JSON, served at once, there after a restart.

use std::fs;

use serde_json::{Value, json};

use crate::world::client::{Client, get, head};
use crate::world::config::{one_tenant, pool};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;

/// A request to the admin API with these fields.
async fn send(gateway: &Gateway, line: &str, fields: &[&str], body: &Value) -> Answer {
    let address = gateway.app.admin_address().expect("there is an admin API");
    let body = body.to_string();
    let length = format!("Content-Length: {}", body.len());
    let mut all = vec!["Host: localhost", "Content-Type: application/merge-patch+json", &length];
    all.extend(fields);
    Client::connect(address).await.ask(head(line, &all) + &body).await
}

async fn served_by(gateway: &Gateway, tenant: &str) -> (u16, String) {
    let answer = get(gateway.address(), tenant, "/").await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn a_tenant_that_is_sent_is_served_at_once_and_after_a_restart() {
    let (first, second) = (Origin::saying("a").await, Origin::saying("b").await);
    let routes = one_tenant(&[first.address]) + &pool("other", &[second.address], "");
    let gateway = Gateway::start(&routes).await;
    assert_eq!(served_by(&gateway, "globex").await.0, 404);

    let new = gateway.tell("PUT /api/v1/tenants/globex", &json!({"pool": "app"})).await;

    assert_eq!(new.status, 201, "{}", new.text());
    assert_eq!(new.one("location").as_deref(), Some("/api/v1/tenants/globex"));
    assert_eq!(served_by(&gateway, "globex").await, (200, "a".to_owned()));
    let told = new.json();
    assert_eq!(told["generation"], gateway.status().await["generation"]);
    assert_eq!((&told["changed"], &told["dry_run"]), (&json!(true), &json!(false)));

    let read = gateway.admin("/api/v1/tenants/globex").await;
    let tag = read.one("etag").expect("a tag");
    assert_eq!(Some(&tag), new.one("etag").as_ref());
    assert_eq!(read.json()["kept"]["definition"], json!({"pool": "app"}));
    assert_eq!(
        (&read.json()["kept"]["state"], &read.json()["state"]),
        (&json!("served"), &json!("active"))
    );
    let filed = gateway.admin("/api/v1/tenants/acme").await.json();
    assert_eq!(filed["kept"], Value::Null);

    let patch = json!({"pool": "other", "routes": [{"path": "/app/*", "pool": "app"}]});
    let if_match = format!("If-Match: {tag}");
    let line = "PATCH /api/v1/tenants/globex";
    let told = send(&gateway, "PATCH /api/v1/tenants/globex?dry_run=1", &[], &patch).await.json();
    assert_eq!(told["routes"]["added"], json!(["/app/*"]));
    assert_eq!(told["diff"][0], json!({"key": "pool", "before": "\"app\"", "after": "\"other\""}));
    assert_eq!(served_by(&gateway, "globex").await.1, "a");
    let patched = send(&gateway, line, &[&if_match], &patch).await;
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(served_by(&gateway, "globex").await.1, "b");
    let late = send(&gateway, line, &[&if_match], &json!({"pool": null})).await;
    assert_eq!((late.status, &late.json()["type"]), (412, &json!("urn:tenantry:admin:changed")));

    let folder = gateway.stop_and_keep().await;
    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts again");
    assert_eq!(served_by(&gateway, "globex").await.1, "b");
    assert_eq!(get(gateway.address(), "globex", "/app/x").await.text(), "a");
    assert_eq!(served_by(&gateway, "acme").await.1, "a");

    let gone = gateway.tell("DELETE /api/v1/tenants/globex", &json!({})).await;
    assert_eq!((gone.status, &gone.json()["definition"]), (200, &Value::Null));
    assert_eq!(served_by(&gateway, "globex").await.0, 404);
    let again = gateway.tell("DELETE /api/v1/tenants/globex", &json!({})).await;
    assert_eq!(
        (again.status, &again.json()["type"]),
        (404, &json!("urn:tenantry:admin:unknown-tenant"))
    );
}

#[tokio::test]
async fn a_tenant_that_is_wrong_is_answered_with_all_that_is_wrong_with_it() {
    let origin = Origin::saying("a").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let put = async |body: &Value| gateway.tell("PUT /api/v1/tenants/globex", body).await;

    let refused = put(&json!({"pol": "app", "routes": [{"path": "x", "pool": "shop"}]})).await;

    assert_eq!(refused.status, 422, "{}", refused.text());
    let told = refused.json();
    assert_eq!(told["type"], "urn:tenantry:admin:tenant-refused");
    let keys = told["problems"].as_array().expect("a list").iter();
    let keys: Vec<&str> = keys.map(|problem| problem["key"].as_str().expect("a key")).collect();
    assert_eq!(keys, ["pol", "routes[0].path", "routes[0].pool"]);
    assert_eq!(told["problems"][0]["hint"], "did you mean \"pool\"?");
    assert_eq!(served_by(&gateway, "globex").await.0, 404);

    for (line, body, status, kind) in [
        ("PUT /api/v1/tenants/acme", json!({"pool": "app"}), 409, "defined-in-file"),
        ("PUT /api/v1/tenants/a%20b", json!({"pool": "app"}), 422, "bad-tenant-id"),
        ("PUT /api/v1/tenants/globex", json!([]), 422, "bad-body"),
        ("PUT /api/v1/tenants/globex?dry_run=2", json!({}), 400, "bad-query"),
        ("PATCH /api/v1/tenants/globex", json!({}), 404, "unknown-tenant"),
        ("PUT /api/v1/tenants/globex", json!({"x": "y".repeat(300_000)}), 413, "large-body"),
    ] {
        let refused = gateway.tell(line, &body).await;
        let kind = format!("urn:tenantry:admin:{kind}");
        assert_eq!((refused.status, refused.json()["type"].as_str()), (status, Some(&*kind)));
    }
    let place = gateway.tell("PUT /api/v1/tenants/acme", &json!({})).await.json();
    assert!(place["place"].as_str().expect("a place").contains("routes.toml:"), "{place}");
    assert_eq!(gateway.status().await["generation"], 1);
}

#[tokio::test]
async fn a_file_that_defines_a_tenant_of_the_api_wins_and_that_is_told() {
    let (first, second) = (Origin::saying("a").await, Origin::saying("b").await);
    let routes = one_tenant(&[first.address]) + &pool("other", &[second.address], "");
    let gateway = Gateway::start(&routes).await;
    gateway.tell("PUT /api/v1/tenants/globex", &json!({"pool": "app"})).await;

    gateway.reload(&format!("{routes}[tenants.globex]\npool = \"other\"\n")).await;

    assert_eq!(served_by(&gateway, "globex").await.1, "b");
    let config = gateway.admin("/api/v1/config").await.json();
    assert_eq!(config["kept"]["shadowed"], json!(["globex"]));
    assert!(!config["files"].to_string().contains("api:"), "{config}");
    let shown = gateway.admin("/api/v1/tenants/globex").await.json();
    assert_eq!(shown["kept"]["state"], "shadowed");
    let series = "tenantry_stored_tenants{state=\"shadowed\"}";
    assert_eq!(gateway.metric(series).await, Some(1.0));

    gateway.reload(&routes).await;
    assert_eq!(served_by(&gateway, "globex").await.1, "a");
    assert_eq!(gateway.metric(series).await, Some(0.0));
}

#[tokio::test]
async fn a_store_that_is_damaged_keeps_nobody_from_starting() {
    let origin = Origin::saying("a").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    gateway.tell("PUT /api/v1/tenants/globex", &json!({"pool": "app"})).await;
    let folder = gateway.stop_and_keep().await;
    fs::write(folder.path().join("state/tenants.redb"), [7; 9000]).expect("damage it");

    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");

    assert_eq!(served_by(&gateway, "acme").await.0, 200);
    assert_eq!(served_by(&gateway, "globex").await.0, 404);
    assert_eq!(gateway.metric("tenantry_store_damaged").await, Some(1.0));
    let config = gateway.admin("/api/v1/config").await.json();
    assert!(config["kept"]["trouble"].as_str().expect("it is told").contains("put aside"));
    let back = gateway.tell("PUT /api/v1/tenants/globex", &json!({"pool": "app"})).await;
    assert_eq!(back.status, 201);
    assert_eq!(served_by(&gateway, "globex").await.0, 200);
}

const TENANT_TOKEN: &str = "3333333333333333";
const ADMIN_TOKEN: &str = "0000000000000000";

/// A gateway with tokens of an admin, of a viewer and of the tenant `shop`, which may change a few keys.
async fn guarded(origin: &Origin) -> Gateway {
    guarded_with(origin, "").await
}

/// As [`guarded`], with further lines in `[admin]`.
async fn guarded_with(origin: &Origin, more: &str) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens =
        format!("{ADMIN_TOKEN}\neye viewer 2222222222222222\nshop tenant:shop {TENANT_TOKEN}\n");
    fs::write(folder.path().join("admin.tokens"), tokens).expect("write the tokens");
    let routes = one_tenant(&[origin.address]) + &pool("secret-pool", &[origin.address], "");
    fs::write(folder.path().join("routes.toml"), routes).expect("write the routes");
    let keys = "\"cors\", \"routes\", \"error-pages\", \"limits.requests\"";
    let admin = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\ntoken-file = \"admin.tokens\"\n\
         tenant-keys = [{keys}]\n{more}"
    );
    Gateway::start_in(folder, 1, &admin).await.expect("it starts")
}

async fn send_as(gateway: &Gateway, token: &str, line: &str, body: &Value) -> Answer {
    send(gateway, line, &[&format!("Authorization: Bearer {token}")], body).await
}

#[tokio::test]
async fn a_customer_edits_its_own_tenant_within_bounds_and_hears_of_nothing_else() {
    let origin = Origin::saying("a").await;
    let gateway = guarded(&origin).await;
    let as_tenant =
        async |line: &str, body: Value| send_as(&gateway, TENANT_TOKEN, line, &body).await;
    for id in ["shop", "rival"] {
        let table = json!({"pool": "app"});
        let line = format!("PUT /api/v1/tenants/{id}");
        assert_eq!(send_as(&gateway, ADMIN_TOKEN, &line, &table).await.status, 201);
    }
    let own = "PATCH /api/v1/tenants/shop";

    let page = json!({"error-pages": {"503": {"body": "later"}}});
    let done = as_tenant(own, page.clone()).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(as_tenant("GET /api/v1/tenants/shop", json!({})).await.status, 200);

    let beyond = as_tenant(own, json!({"pool": "secret-pool", "limits": {"concurrency": 9}})).await;
    assert_eq!(beyond.status, 403, "{}", beyond.text());
    assert_eq!(beyond.json()["keys"], json!(["limits.concurrency", "pool"]));
    let beyond = as_tenant("PUT /api/v1/tenants/shop", json!({})).await;
    assert_eq!(beyond.json()["type"], "urn:tenantry:admin:beyond-bounds");
    assert_eq!(as_tenant("DELETE /api/v1/tenants/shop", json!({})).await.status, 403);
    assert_eq!(as_tenant("PUT /api/v1/tenants/rival", json!({})).await.status, 404);
    assert_eq!(as_tenant("GET /api/v1/tenants/acme", json!({})).await.status, 404);
    assert_eq!(as_tenant("GET /api/v1/history", json!({})).await.status, 403);

    // Pools of others are refused in the same words whether there are such or not.
    let route = |pool: &str| json!({"routes": [{"path": "/x", "pool": pool}]});
    let others = [route("secret-pool"), route("there-is-none")];
    let refused =
        [as_tenant(own, others[0].clone()).await, as_tenant(own, others[1].clone()).await];
    assert_eq!(refused[0].json(), refused[1].json());
    assert_eq!(refused[0].json()["keys"], json!(["routes[0].pool"]));
    // What is wrong is told by key, and neither pools nor other tenants are.
    for patch in [json!({"routes": [{"path": "x", "pool": "app"}]})] {
        let refused = as_tenant(own, patch).await;
        let text = refused.text();
        assert_eq!(refused.status, 422, "{text}");
        for secret in ["secret-pool", "rival", "acme", "routes.toml", "api:tenants"] {
            assert!(!text.contains(secret), "{secret} is told: {text}");
        }
    }
    let shown = send_as(&gateway, ADMIN_TOKEN, "GET /api/v1/tenants/shop", &json!({})).await.json();
    let expected = json!({"pool": "app", "error-pages": page["error-pages"]});
    assert_eq!(shown["kept"]["definition"], expected);
}

#[tokio::test]
async fn a_customer_takes_out_what_it_may_set_and_goes_on_from_there() {
    let origin = Origin::saying("a").await;
    let gateway = guarded(&origin).await;
    let table = json!({"pool": "app"});
    let line = "PUT /api/v1/tenants/shop";
    assert_eq!(send_as(&gateway, ADMIN_TOKEN, line, &table).await.status, 201);
    let as_tenant =
        async |line: &str, body: Value| send_as(&gateway, TENANT_TOKEN, line, &body).await;

    for (line, body) in [
        ("PATCH /api/v1/tenants/shop", json!({"limits": {"requests": "5/s"}})),
        ("PATCH /api/v1/tenants/shop", json!({"limits": {"requests": null}})),
        ("PATCH /api/v1/tenants/shop", json!({"limits": {"requests": "5/s"}})),
        ("PATCH /api/v1/tenants/shop", json!({"limits": null})),
        (line, table.clone()),
    ] {
        let done = as_tenant(line, body.clone()).await;
        assert_eq!(done.status, 200, "{line} {body}: {}", done.text());
    }
}

/// A gateway with tenants of two plans, `shop` of `free` and `rival` of `pro`, and a token of each.
async fn of_two_plans(origin: &Origin) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = format!(
        "{ADMIN_TOKEN}\nshop tenant:shop {TENANT_TOKEN}\nrival tenant:rival {RIVAL_TOKEN}\n"
    );
    fs::write(folder.path().join("admin.tokens"), tokens).expect("write the tokens");
    let plans = "[plans.free]\npool = \"app\"\ntenant-keys = []\n[plans.pro]\npool = \"app\"\n\
                 limits.requests = \"50/s\"\ntenant-keys = [\"cors\", \"limits.requests\"]\n";
    let routes = one_tenant(&[origin.address]) + plans;
    fs::write(folder.path().join("routes.toml"), routes).expect("write the routes");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntoken-file = \"admin.tokens\"\n\
                 tenant-keys = [\"cors\", \"error-pages\"]\n";
    let gateway = Gateway::start_in(folder, 1, admin).await.expect("it starts");
    for (id, plan) in [("shop", "free"), ("rival", "pro")] {
        let line = format!("PUT /api/v1/tenants/{id}");
        let made = send_as(&gateway, ADMIN_TOKEN, &line, &json!({ "plan": plan })).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    gateway
}

const RIVAL_TOKEN: &str = "4444444444444444";

#[tokio::test]
async fn what_a_customer_may_change_is_what_its_plan_says() {
    let origin = Origin::saying("a").await;
    let gateway = of_two_plans(&origin).await;
    let shop = async |body: Value| {
        send_as(&gateway, TENANT_TOKEN, "PATCH /api/v1/tenants/shop", &body).await
    };
    let rival = async |body: Value| {
        send_as(&gateway, RIVAL_TOKEN, "PATCH /api/v1/tenants/rival", &body).await
    };
    let cors = json!({"cors": {"origins": ["https://a.example"]}});

    let (of_free, of_pro) = (shop(cors.clone()).await, rival(cors.clone()).await);

    assert_eq!(of_pro.status, 200, "{}", of_pro.text());
    assert_eq!(of_free.status, 403, "{}", of_free.text());
    let told = of_free.json();
    assert_eq!(told["type"], "urn:tenantry:admin:beyond-bounds");
    assert_eq!(told["keys"], json!(["cors.origins"]));
    // The list of [admin] is not joined, nor does a token write its own or choose another plan.
    for (body, key) in [
        (json!({"error-pages": {"503": {"body": "later"}}}), "error-pages.503.body"),
        (json!({"tenant-keys": ["error-pages"]}), "tenant-keys"),
        (json!({"plan": "free"}), "plan"),
        (json!({"limits": {"requests": "51/s"}}), "limits.requests"),
    ] {
        let refused = rival(body.clone()).await;
        assert_eq!((refused.status, &refused.json()["keys"][0]), (403, &json!(key)), "{body}");
    }
    assert_eq!(rival(json!({"limits": {"requests": "50/s"}})).await.status, 200);
    // Somebody who runs the gateway gives one tenant more than its plan.
    let line = "PATCH /api/v1/tenants/shop";
    let own = json!({"tenant-keys": ["cors"]});
    assert_eq!(send_as(&gateway, ADMIN_TOKEN, line, &own).await.status, 200);
    assert_eq!(shop(cors).await.status, 200);
}

#[tokio::test]
async fn the_history_tells_who_and_goes_back() {
    let origin = Origin::saying("a").await;
    let gateway = guarded(&origin).await;
    let as_admin =
        async |line: &str, body: Value| send_as(&gateway, ADMIN_TOKEN, line, &body).await;
    as_admin("PUT /api/v1/tenants/shop", json!({"pool": "app"})).await;
    let patch = json!({"routes": [{"path": "/x", "pool": "app"}]});
    send_as(&gateway, TENANT_TOKEN, "PATCH /api/v1/tenants/shop", &patch).await;

    let listed = as_admin("GET /api/v1/history", json!({})).await.json();
    let newest = &listed["generations"][0];
    assert_eq!(newest["generation"], 3);
    assert_eq!(newest["by"], json!({"kind": "tenant", "name": "shop", "from": "127.0.0.1"}));
    assert_eq!(newest["diff"]["tenants"]["changed"], json!({"count": 1, "first": ["shop"]}));
    let one = as_admin("GET /api/v1/history/3", json!({})).await.json();
    assert_eq!(one["tenants"][0]["before"], json!({"pool": "app"}));
    assert_eq!(one["tenants"][0]["after"]["routes"], patch["routes"]);
    assert_eq!(as_admin("GET /api/v1/history/99", json!({})).await.status, 404);
    assert_eq!(as_admin("GET /api/v1/history/x", json!({})).await.status, 400);

    let told = as_admin("POST /api/v1/rollback/2?dry_run=1", json!({})).await.json();
    assert_eq!((&told["restored"], &told["generation"]), (&json!(["shop"]), &json!(3)));
    let told = as_admin("POST /api/v1/rollback/1", json!({})).await.json();
    assert_eq!((&told["removed"], &told["warning"]), (&json!(["shop"]), &Value::Null));
    assert_eq!(served_by(&gateway, "shop").await.0, 404);
    let viewer = send_as(&gateway, "2222222222222222", "POST /api/v1/rollback/2", &json!({})).await;
    assert_eq!(viewer.status, 403);
}

#[tokio::test]
async fn many_small_patches_make_no_tenant_that_is_larger_than_one_may_be_sent() {
    let origin = Origin::saying("a").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    gateway.tell("PUT /api/v1/tenants/globex", &json!({"pool": "app"})).await;
    let page = |status: &str| json!({"error-pages": {status: {"body": "x".repeat(150_000)}}});

    let line = "PATCH /api/v1/tenants/globex";
    assert_eq!(gateway.tell(line, &page("502")).await.status, 200);
    let refused = gateway.tell(line, &page("503")).await;

    assert_eq!(refused.status, 413, "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:tenantry:admin:large-tenant");
}

#[tokio::test]
async fn a_customer_whose_tenant_does_not_fit_hears_of_no_pool_and_of_nobody_else() {
    let origin = Origin::saying("a").await;
    let gateway = guarded(&origin).await;
    let table = json!({"pool": "secret-pool"});
    send_as(&gateway, ADMIN_TOKEN, "PUT /api/v1/tenants/shop", &table).await;
    let folder = gateway.stop_and_keep().await;
    let routes = one_tenant(&[origin.address]) + &pool("globex-internal", &[origin.address], "");
    fs::write(folder.path().join("routes.toml"), routes).expect("write the routes");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntoken-file = \"admin.tokens\"\n";
    let gateway = Gateway::start_in(folder, 1, admin).await.expect("it starts");

    let told = send_as(&gateway, TENANT_TOKEN, "GET /api/v1/tenants/shop", &json!({})).await;

    assert_eq!(told.json()["kept"]["state"], "unfit", "{}", told.text());
    assert!(!told.text().contains("globex-internal"), "{}", told.text());
    assert_eq!(told.json()["kept"]["problems"][0]["key"], "pool");
    let whole = send_as(&gateway, ADMIN_TOKEN, "GET /api/v1/tenants/shop", &json!({})).await;
    assert!(whole.text().contains("globex-internal"));
}

#[tokio::test]
async fn a_customer_that_asks_for_many_changes_is_told_to_wait_and_nobody_else_is() {
    let origin = Origin::saying("a").await;
    let more = "tenant-changes = { requests = \"1/h\", burst = 2 }\n";
    let gateway = guarded_with(&origin, more).await;
    let line = "PATCH /api/v1/tenants/shop";
    let table = json!({"pool": "app"});
    let new = send_as(&gateway, ADMIN_TOKEN, "PUT /api/v1/tenants/shop", &table).await;
    assert_eq!(new.status, 201);

    let wrong = json!({"cors": {"origin": 5}});
    for _ in 0..2 {
        assert_eq!(send_as(&gateway, TENANT_TOKEN, line, &wrong).await.status, 422);
    }
    let refused = send_as(&gateway, TENANT_TOKEN, line, &wrong).await;

    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:tenantry:admin:too-many-changes");
    let wait: u64 = refused.one("retry-after").expect("how long").parse().expect("seconds");
    assert!((3500..=3601).contains(&wait), "{wait}");
    let look = "GET /api/v1/tenants/shop";
    assert_eq!(send_as(&gateway, TENANT_TOKEN, look, &json!({})).await.status, 200);
    for _ in 0..3 {
        assert_eq!(send_as(&gateway, ADMIN_TOKEN, line, &json!({})).await.status, 200);
    }
}

#[tokio::test]
async fn a_customer_changes_the_one_key_of_its_limits_that_is_its_own() {
    let origin = Origin::saying("a").await;
    let gateway = guarded(&origin).await;
    let table = json!({"pool": "app", "limits": {"requests": "5/s", "concurrency": 9}});
    send_as(&gateway, ADMIN_TOKEN, "PUT /api/v1/tenants/shop", &table).await;
    let patch = async |limits: Value| {
        let line = "PATCH /api/v1/tenants/shop";
        send_as(&gateway, TENANT_TOKEN, line, &json!({ "limits": limits })).await
    };

    assert_eq!(patch(json!({"requests": "7/s"})).await.status, 200);
    let refused = patch(json!({"requests": "8/s", "concurrency": 10})).await;

    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(refused.json()["keys"], json!(["limits.concurrency"]));
    assert_eq!(patch(Value::Null).await.json()["keys"], json!(["limits.concurrency"]));
}
