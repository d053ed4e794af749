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
                 limits.requests = \"50/s\"\ntenant-keys = [\"cors\", \"limits.requests\", \"limits.burst\"]\n";
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

/// As [`of_two_plans`], where `rival` has set `40/s` itself.
async fn with_a_number_of_its_own(origin: &Origin) -> Gateway {
    let gateway = of_two_plans(origin).await;
    let line = "PATCH /api/v1/tenants/rival";
    let own = json!({"limits": {"requests": "40/s"}});
    let done = send_as(&gateway, RIVAL_TOKEN, line, &own).await;
    assert_eq!(done.status, 200, "{}", done.text());
    gateway
}

/// Writes `text` in the routes for `old`, and has them loaded.
async fn rewrite(gateway: &Gateway, old: &str, text: &str) {
    let routes = fs::read_to_string(gateway.path("routes.toml")).expect("read the routes");
    assert!(routes.contains(old), "{routes}");
    fs::write(gateway.path("routes.toml"), routes.replace(old, text)).expect("write the routes");
    let done = send_as(gateway, ADMIN_TOKEN, "POST /api/v1/reload", &json!({})).await;
    assert_eq!(done.status, 200, "{}", done.text());
}

const OF_FREE: &str = "[plans.free]\npool = \"app\"\n";

#[tokio::test]
async fn a_tenant_is_not_moved_to_a_plan_below_its_own_numbers_unless_these_are_told_of() {
    let origin = Origin::saying("a").await;
    let gateway = with_a_number_of_its_own(&origin).await;
    rewrite(&gateway, OF_FREE, &format!("{OF_FREE}limits.requests = \"5/s\"\n")).await;
    let operator = async |line: &str, body: Value| {
        send_as(&gateway, ADMIN_TOKEN, &format!("{line}rival"), &body).await
    };
    let shown = async || {
        let shown = operator("GET /api/v1/tenants/", json!({})).await.json();
        (shown["kept"]["definition"].clone(), shown["kept"]["set_by_tenant"].clone())
    };
    let (patch, put) = ("PATCH /api/v1/tenants/", "PUT /api/v1/tenants/");
    let whole = json!({"plan": "free", "limits": {"requests": "40/s"}});

    for (line, body) in [(patch, json!({"plan": "free"})), (put, whole.clone())] {
        let refused = operator(line, body).await;
        let told = refused.json();
        assert_eq!(refused.status, 409, "{told}");
        assert_eq!(told["type"], "urn:tenantry:admin:above-plan");
        let number = |key: &str, value: &str, bound: &str| json!({"key": key, "value": value, "bound": bound});
        let expected =
            json!([number("limits.requests", "40/s", "5/s"), number("limits.burst", "40", "5")]);
        assert_eq!((&told["plan"], &told["numbers"]), (&json!("free"), &expected));
        let detail = told["detail"].as_str().expect("a detail");
        assert!(detail.contains("limits.requests = 40/s") && detail.contains("null"), "{detail}");
    }
    let line = "PATCH /api/v1/tenants/rival?dry_run=1";
    let dry = send_as(&gateway, ADMIN_TOKEN, line, &json!({"plan": "free"})).await;
    assert_eq!(dry.status, 409, "{}", dry.text());
    assert_eq!(
        shown().await,
        (json!({"plan": "pro", "limits": {"requests": "40/s"}}), json!(["limits.requests"]))
    );

    // It is said what is meant: the plan's, or the same number.
    let line = "PATCH /api/v1/tenants/rival?dry_run=1";
    let without = json!({"plan": "free", "limits": {"requests": null}});
    assert_eq!(send_as(&gateway, ADMIN_TOKEN, line, &without).await.status, 200);
    assert_eq!(operator(patch, whole.clone()).await.status, 200);
    assert_eq!(shown().await, (whole, json!([])));
}

#[tokio::test]
async fn a_number_that_an_operator_has_written_survives_a_lower_plan() {
    let origin = Origin::saying("a").await;
    let gateway = with_a_number_of_its_own(&origin).await;
    rewrite(&gateway, OF_FREE, &format!("{OF_FREE}limits.requests = \"5/s\"\n")).await;
    let line = "PATCH /api/v1/tenants/rival";
    let limits = |requests: &str| json!({"limits": {"requests": requests}});

    // Be it the same: it is the operator's from now on. Nothing else of the tenant is other.
    let taken = send_as(&gateway, ADMIN_TOKEN, line, &limits("40/s")).await.json();
    assert_eq!((&taken["changed"], &taken["diff"]), (&json!(true), &json!([])));
    let moved = send_as(&gateway, ADMIN_TOKEN, line, &json!({"plan": "free"})).await;
    assert_eq!(moved.status, 200, "{}", moved.text());
    assert_eq!(moved.json()["definition"]["limits"]["requests"], "40/s");
    let config = send_as(&gateway, ADMIN_TOKEN, "GET /api/v1/config", &json!({})).await.json();
    assert_eq!(config["kept"]["warning_count"], 0);

    // What was granted beyond the plan and is lowered by the tenant is granted still.
    send_as(&gateway, ADMIN_TOKEN, line, &json!({"plan": "pro", "limits": {"requests": "90/s"}}))
        .await;
    assert_eq!(send_as(&gateway, RIVAL_TOKEN, line, &limits("80/s")).await.status, 200);
    assert_eq!(send_as(&gateway, ADMIN_TOKEN, line, &json!({"plan": "free"})).await.status, 200);
}

#[tokio::test]
async fn a_plan_that_is_lowered_in_a_file_is_taken_and_numbers_above_it_are_told() {
    let origin = Origin::saying("a").await;
    let gateway = with_a_number_of_its_own(&origin).await;
    let kept = async |gateway: &Gateway| {
        let line = "GET /api/v1/config";
        send_as(gateway, ADMIN_TOKEN, line, &json!({})).await.json()["kept"].clone()
    };
    assert_eq!(kept(&gateway).await["warnings"], json!([]));

    rewrite(&gateway, "\"50/s\"", "\"20/s\"").await;

    let told = kept(&gateway).await;
    assert_eq!(told["warning_count"], 2, "{told}");
    let first = &told["warnings"][0];
    assert_eq!(first["file"], "api:tenants/rival");
    assert_eq!(first["key"], "tenants.rival.limits.requests");
    let what = first["what"].as_str().expect("what it is");
    for word in ["\"rival\"", "40/s", "\"pro\"", "20/s"] {
        assert!(what.contains(word), "{word} is not in {what}");
    }
    let series = "tenantry_tenants_above_plan";
    let metrics = async |gateway: &Gateway| {
        send_as(gateway, ADMIN_TOKEN, "GET /metrics", &json!({})).await.text()
    };
    assert!(metrics(&gateway).await.contains(&format!("{series} 1\n")));

    // To write out what followed from its own number makes it no grant.
    let line = "PATCH /api/v1/tenants/rival";
    let written = json!({"limits": {"burst": 40}});
    let taken = send_as(&gateway, RIVAL_TOKEN, line, &written).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(kept(&gateway).await["warning_count"], 2);

    // Who wrote what is known to the next start, too.
    let folder = gateway.stop_and_keep().await;
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntoken-file = \"admin.tokens\"\n";
    let gateway = Gateway::start_in(folder, 1, admin).await.expect("it starts again");
    assert_eq!(kept(&gateway).await["warning_count"], 2);
    let own = json!({"limits": {"requests": null, "burst": null}});
    assert_eq!(send_as(&gateway, ADMIN_TOKEN, line, &own).await.status, 200);
    assert_eq!(kept(&gateway).await["warnings"], json!([]));
    assert!(metrics(&gateway).await.contains(&format!("{series} 0\n")));
}

#[tokio::test]
async fn a_roll_back_brings_back_who_had_written_what() {
    let origin = Origin::saying("a").await;
    let gateway = with_a_number_of_its_own(&origin).await;
    let as_admin = async |line: &str, body: Value| {
        let done = send_as(&gateway, ADMIN_TOKEN, line, &body).await;
        assert_eq!(done.status, 200, "{}", done.text());
        done.json()
    };
    let own = "GET /api/v1/tenants/rival";
    let marks = async || as_admin(own, json!({})).await["kept"]["set_by_tenant"].clone();
    let marked = as_admin("GET /api/v1/config", json!({})).await["generation"].clone();
    as_admin("PATCH /api/v1/tenants/rival", json!({"limits": {"requests": "45/s"}})).await;
    assert_eq!(marks().await, json!([]));
    as_admin("DELETE /api/v1/tenants/rival", json!({})).await;
    let line = "PUT /api/v1/tenants/rival";
    let made = send_as(&gateway, ADMIN_TOKEN, line, &json!({"plan": "pro"})).await;
    assert_eq!(made.status, 201);
    assert_eq!(marks().await, json!([]), "a new one has none");

    as_admin(&format!("POST /api/v1/rollback/{marked}"), json!({})).await;

    assert_eq!(marks().await, json!(["limits.requests"]));
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
