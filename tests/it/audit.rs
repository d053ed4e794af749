//! The audit log: who has changed what, in a file.

use std::fs;

use serde_json::{Value, json};

use crate::world::client::{Client, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;

const ADMIN: &str = "0000000000000000";
const CUSTOMER: &str = "3333333333333333";

async fn guarded() -> (Gateway, Origin) {
    let origin = Origin::saying("a").await;
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = format!("root admin {ADMIN}\nshop tenant:shop {CUSTOMER}\n");
    fs::write(folder.path().join("admin.tokens"), tokens).expect("write the tokens");
    let routes = one_tenant(&[origin.address]);
    fs::write(folder.path().join("routes.toml"), routes).expect("write the routes");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntoken-file = \"admin.tokens\"\n\
                 audit-log = \"audit.log\"\ntenant-keys = [\"cors\"]\n";
    (Gateway::start_in(folder, 1, admin).await.expect("it starts"), origin)
}

async fn send(gateway: &Gateway, token: &str, line: &str, body: &Value) -> Answer {
    let address = gateway.app.admin_address().expect("there is an admin API");
    let body = body.to_string();
    let length = format!("Content-Length: {}", body.len());
    let token = format!("Authorization: Bearer {token}");
    let kind = "Content-Type: application/json";
    let all = ["Host: localhost", kind, &length, &token, "X-Request-ID: mine"];
    Client::connect(address).await.ask(head(line, &all) + &body).await
}

fn lines(gateway: &Gateway) -> Vec<Value> {
    let text = fs::read_to_string(gateway.path("audit.log")).expect("the audit log");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn of(gateway: &Gateway, event: &str) -> Vec<Value> {
    lines(gateway).into_iter().filter(|line| line["event"] == event).collect()
}

#[tokio::test]
async fn each_change_is_in_the_file_once_it_is_answered_with_who_and_what_and_no_secret() {
    let (gateway, _origin) = guarded().await;
    let secret = "do-not-tell-anybody";
    let table = json!({"pool": "app", "error-pages": {"503": {"body": secret}}});

    let new = send(&gateway, ADMIN, "PUT /api/v1/tenants/shop", &table).await;
    assert_eq!((new.status, new.one("x-request-id").as_deref()), (201, Some("mine")));

    let line = of(&gateway, "request").pop().expect("a line");
    assert_eq!((&line["who"], &line["role"]), (&json!("root"), &json!("admin")));
    assert_eq!((&line["from"], &line["id"]), (&json!("127.0.0.1"), &json!("mine")));
    // printf %s 0000000000000000 | sha256sum
    assert_eq!(line["shown"], "token fcdb4b42");
    assert_eq!((&line["method"], &line["tenant"]), (&json!("PUT"), &json!("shop")));
    assert_eq!((&line["path"], &line["status"]), (&json!("/api/v1/tenants/shop"), &json!(201)));
    assert_eq!(line["generation"], json!({"before": 1, "after": 2}));
    assert_eq!(line["keys"]["added"], json!(["error-pages.503.body", "pool"]));

    let as_customer =
        async |line: &str, body: Value| send(&gateway, CUSTOMER, line, &body).await.status;
    let cors = json!({"cors": {"origins": ["https://a.example"]}});
    assert_eq!(as_customer("PATCH /api/v1/tenants/shop?dry_run=1", cors.clone()).await, 200);
    assert_eq!(as_customer("PATCH /api/v1/tenants/shop", json!({"pool": "b"})).await, 403);
    assert_eq!(as_customer("PATCH /api/v1/tenants/shop", json!({"cors": 1})).await, 422);
    assert_eq!(as_customer("DELETE /api/v1/tenants/acme", json!({})).await, 404);
    assert_eq!(send(&gateway, "wrong", "POST /api/v1/reload", &json!({})).await.status, 401);
    let late = json!({"pool": "app"});
    assert_eq!(send(&gateway, ADMIN, "PUT /api/v1/tenants/acme", &late).await.status, 409);
    let drain = json!({"pool": "app", "address": "127.0.0.1:9"});
    assert_eq!(send(&gateway, ADMIN, "POST /api/v1/endpoints/drain", &drain).await.status, 404);
    assert_eq!(send(&gateway, ADMIN, "GET /api/v1/tenants/shop", &json!({})).await.status, 200);

    let told: Vec<(Value, Value)> = of(&gateway, "request")
        .iter()
        .map(|line| (line["who"].clone(), line["status"].clone()))
        .collect();
    let who = |who: Option<&str>, status: u16| (json!(who), json!(status));
    let shop = Some("shop");
    assert_eq!(
        told,
        [
            who(Some("root"), 201),
            who(shop, 200),
            who(shop, 403),
            who(shop, 422),
            who(shop, 404),
            who(None, 401),
            who(Some("root"), 409),
            who(Some("root"), 404),
        ]
    );
    let all = of(&gateway, "request");
    assert_eq!(all[1]["dry_run"], true);
    assert_eq!(all[1]["generation"], json!({"before": 2, "after": 2}));
    for refused in [2, 3, 4, 6, 7] {
        assert_eq!(all[refused]["generation"], json!({"before": 2, "after": 2}), "{refused}");
    }
    assert_eq!(all[7]["about"], "127.0.0.1:9 of the pool app");
    let text = fs::read_to_string(gateway.path("audit.log")).expect("the audit log");
    for secret in [secret, ADMIN, CUSTOMER, "a.example"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

#[tokio::test]
async fn whoever_has_no_token_fills_nothing_at_paths_that_are_open() {
    let (gateway, _origin) = guarded().await;
    let address = gateway.app.admin_address().expect("there is an admin API");
    let mut client = Client::connect(address).await;

    for path in ["/healthz", "/readyz", "/"].iter().cycle().take(1000) {
        let line = format!("POST {path}");
        let answer = client.ask(head(&line, &["Host: localhost", "Content-Length: 0"])).await;
        assert_eq!(answer.status, 405, "{path}");
    }

    // All that was told before it is told by then.
    assert_eq!(send(&gateway, ADMIN, "POST /api/v1/reload", &json!({})).await.status, 200);
    let told: Vec<Value> = of(&gateway, "request");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["who"], "root");
}

#[tokio::test]
async fn edits_of_files_and_files_that_are_refused_are_in_the_audit_log() {
    let (gateway, origin) = guarded().await;
    let routes = one_tenant(&[origin.address]);

    gateway.reload(&format!("{routes}[tenants.globex]\npool = \"app\"\n")).await;
    gateway.reload("nonsense").await;
    let folder = gateway.stop_and_keep().await; // which writes all of it

    let text = fs::read_to_string(folder.path().join("audit.log")).expect("the audit log");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let live = of("generation");
    assert_eq!((&live[0]["who"], &live[0]["generation"]["after"]), (&json!("start"), &json!(1)));
    let is_edit = |line: &&&Value| line["generation"] == json!({"before": 1, "after": 2});
    let edit = live.iter().find(is_edit).expect("the edit");
    // The watcher may have been faster than who asked.
    assert!([json!("signal"), json!("files")].contains(&edit["who"]), "{edit}");
    assert_eq!(edit["diff"]["tenants"]["added"]["first"], json!(["globex"]));
    let refused = of("files-refused");
    assert!(refused[0]["problems"].as_u64() >= Some(1), "{text}");
    assert!(refused[0]["about"].as_str().expect("a file").ends_with("routes.toml"));
}
