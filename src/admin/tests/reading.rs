//! What operators read: who may, in which pieces, and not twice.

use super::*;
use crate::base::tokens::Form;

const TOKEN: &str = "0123456789abcdef";

async fn guarded(public_metrics: bool) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    std::fs::write(&path, format!("# ours\n{TOKEN}\nfedcba9876543210\n")).unwrap();
    let tokens = Tokens::read(&path, Form::Roles).unwrap();
    let access = (Some(tokens), public_metrics);
    (World::guarded(LIMITS, Reach::ThisMachine, access).await, folder)
}

async fn with_token(world: &World, path: &str, shown: &str) -> Answer {
    world.ask_with("GET", path, &format!("Host: localhost\r\nAuthorization: {shown}\r\n")).await
}

#[tokio::test]
async fn nobody_without_a_token_gets_more_than_probes() {
    let (world, _folder) = guarded(false).await;
    for endpoint in super::super::ENDPOINTS {
        let answer = world.get(endpoint.path).await;
        let is_page = ["/", "/dashboard.css", "/dashboard.js"].contains(&endpoint.path);
        if is_page || ["/healthz", "/readyz"].contains(&endpoint.path) {
            assert_ne!(answer.status, 401, "{}", endpoint.path);
            continue;
        }
        assert_eq!(answer.status, 401, "{}", endpoint.path);
        assert!(answer.head.contains("www-authenticate: bearer realm="), "{}", answer.head);
        assert!(answer.problem()["detail"].as_str().unwrap().contains("Authorization: Bearer"));
    }
    // Which paths there are is no stranger's business.
    assert_eq!(world.get("/nowhere").await.status, 401);
    assert_eq!(world.ask("POST", "/api/v1/reload").await.status, 401);
}

#[tokio::test]
async fn a_token_lets_in_and_a_wrong_one_is_told_and_counted() {
    let (world, _folder) = guarded(false).await;
    let path = "/api/v1/status";

    assert_eq!(with_token(&world, path, &format!("Bearer {TOKEN}")).await.status, 200);
    assert_eq!(with_token(&world, path, "Bearer fedcba9876543210").await.status, 200);
    // any:0123456789abcdef
    assert_eq!(with_token(&world, path, "Basic YW55OjAxMjM0NTY3ODlhYmNkZWY=").await.status, 200);
    let wrong = with_token(&world, path, "Bearer 0123456789abcdeg").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.problem()["detail"].as_str().unwrap().contains("is not in the gateway's token"));
    let two = format!("Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}");
    assert_eq!(with_token(&world, path, &two).await.status, 401);

    let metrics = with_token(&world, "/metrics", &format!("bearer {TOKEN}")).await.body;
    assert!(metrics.contains("tenantry_admin_refused_total{reason=\"bad_token\"} 1"), "{metrics}");
    assert!(metrics.contains("tenantry_admin_refused_total{reason=\"no_token\"} 1"), "{metrics}");
}

/// The browser would ask for a name and a password, over the page's own form.
#[tokio::test]
async fn who_shows_many_wrong_tokens_is_told_to_wait_and_probes_are_answered() {
    let (world, _folder) = guarded(false).await;
    let path = "/api/v1/status";
    for _ in 0..10 {
        assert_eq!(with_token(&world, path, "Bearer 0000000000000000").await.status, 401);
    }

    let limited = with_token(&world, path, "Bearer 0000000000000000").await;
    let right = with_token(&world, path, &format!("Bearer {TOKEN}")).await;

    assert_eq!(limited.problem()["type"], "urn:tenantry:admin:too-many-wrong-tokens");
    assert!(limited.head.contains("\r\nretry-after: "), "{}", limited.head);
    assert_eq!((limited.status, right.status), (429, 429), "what is right is not told either");
    assert_eq!(world.get("/healthz").await.status, 200);
    assert_eq!(world.get(path).await.status, 401, "who shows none is told how to come in");
    let limited = "tenantry_admin_refused_total{reason=\"limited\"}";
    assert!(world.state.metrics.render().unwrap().contains(&format!("{limited} 2\n")));
}

#[tokio::test]
async fn who_was_let_in_is_not_locked_out_by_others_at_the_same_address() {
    let (world, _folder) = guarded(false).await;
    let path = "/api/v1/status";
    let operator = format!("Bearer {TOKEN}");
    assert_eq!(with_token(&world, path, &operator).await.status, 200);
    for _ in 0..11 {
        with_token(&world, path, "Bearer 0000000000000000").await;
    }

    assert_eq!(with_token(&world, path, "Bearer 0000000000000000").await.status, 429);
    assert_eq!(with_token(&world, path, &operator).await.status, 200);
}

#[tokio::test]
async fn a_script_is_not_asked_for_a_password() {
    let (world, _folder) = guarded(false).await;
    let ask = async |fields: &str| {
        let headers = format!("Host: localhost\r\n{fields}");
        world.ask_with("GET", "/api/v1/status", &headers).await.head.to_lowercase()
    };

    let script = ask("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Dest: empty\r\n").await;
    let person = ask("Sec-Fetch-Site: none\r\nSec-Fetch-Dest: document\r\n").await;

    assert!(script.contains("bearer realm=") && !script.contains("basic realm="), "{script}");
    assert!(person.contains("basic realm="), "{person}");
}

#[tokio::test]
async fn metrics_are_public_where_the_config_says_so() {
    let (world, _folder) = guarded(true).await;

    assert_eq!(world.get("/metrics").await.status, 200);
    assert_eq!(world.get("/api/v1/status").await.status, 401);
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let world = World::start().await;
    let path = "/api/v1/config";
    let first = world.get(path).await;
    let tag = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let asked = format!("Host: localhost\r\nIf-None-Match: {tag}\r\n");

    let again = world.ask_with("GET", path, &asked).await;
    world.publish(|live| live.generation = 9);
    let changed = world.ask_with("GET", path, &asked).await;

    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert!(again.head.contains(&format!("etag: {tag}")), "{}", again.head);
    assert_eq!(changed.status, 200);
    assert!(!changed.head.contains(&tag));
}

#[tokio::test]
async fn a_viewer_is_not_told_what_a_secret_condition_of_a_route_asks_for() {
    let tokens = Tokens::parse("eye viewer 2222222222222222\n").unwrap();
    let world = World::guarded(LIMITS, Reach::ThisMachine, (Some(tokens), false)).await;
    let mask = crate::config::spec::MaskSpec {
        query: vec!["my_code".to_owned()],
        headers: vec![http::HeaderName::from_static("x-invite")],
    };
    let secrets = crate::config::secrets::Secrets::of(&mask);
    let kept = control::stored::Kept { secrets, ..Default::default() };
    world.state.stored.kept.publish(Arc::new(kept));
    let text = "[pools.shop]\nendpoints = [\"10.0.0.1:80\"]\n[tenants.acme]\npool = \"shop\"\n\
        [[tenants.acme.routes]]\npath = \"/a\"\n\
        headers = { Authorization = \"one\", X-Beta = \"told\", X-Invite = \"two\", X-Token = true }\n\
        query = { My-Code = \"three\", page = \"1\" }\n";
    world.publish(|live| *live = Live::clone(live).with_routes(text));

    let headers = "Host: localhost\r\nAuthorization: Bearer 2222222222222222\r\n";
    let route = &world.ask_with("GET", "/api/v1/routes", headers).await.json()["routes"][0];

    let told = |list: &str, name: &str| {
        let all = route[list].as_array().unwrap().iter();
        let found = all.filter(|one| one["name"].as_str().unwrap().eq_ignore_ascii_case(name));
        found.map(|one| one["value"].clone()).collect::<Vec<Value>>()
    };
    for (list, name, value) in [
        ("headers", "authorization", json!("***")),
        ("headers", "x-beta", json!("told")),
        ("headers", "x-invite", json!("***")),
        ("headers", "x-token", Value::Null),
        ("query", "my-code", json!("***")),
        ("query", "page", json!("1")),
    ] {
        assert_eq!(told(list, name), [value], "{name}");
    }
}

#[tokio::test]
async fn routes_are_told_in_the_order_in_which_they_are_asked() {
    let world = World::start().await;
    let text = "[pools.shop]\nendpoints = [\"10.0.0.1:80\"]\n\
        [[route-sets.common.routes]]\npath = \"/a/b\"\nrespond = { status = 204 }\n\
        [tenants.acme]\npool = \"shop\"\nuse = [\"common\"]\n\
        [[tenants.acme.routes]]\npath = \"/*\"\n\
        [[tenants.acme.routes]]\npath = \"/a/*\"\npool = \"shop\"\n\
        [tenants.globex]\npool = \"shop\"\n";
    assert_eq!(world.get("/api/v1/routes").await.status, 503);
    world.publish(|live| *live = Live::clone(live).with_routes(text));
    let names = |answer: &Value| -> Vec<String> {
        let routes = answer["routes"].as_array().unwrap().iter();
        routes.map(|route| format!("{} {}", route["of"], route["path"])).collect()
    };

    let acme = world.get("/api/v1/routes?tenant=acme").await.json();
    let set = world.get("/api/v1/routes?set=common").await.json();
    let globex = world.get("/api/v1/routes?tenant=globex").await.json();

    assert_eq!(
        names(&acme),
        ["\"route-sets.common\" \"/a/b\"", "\"tenants.acme\" \"/a/*\"", "\"tenants.acme\" \"/*\"",]
    );
    assert_eq!(acme["tenant"], json!({"name": "acme", "state": "active", "pool": "shop"}));
    assert_eq!(acme["routes"][2]["action"], json!({"kind": "tenant-pool", "pool": "shop"}));
    assert_eq!(set["routes"][0]["action"], json!({"kind": "respond", "status": 204}));
    assert_eq!(globex["routes"], json!([]));
    let both = world.get("/api/v1/routes?tenant=acme&set=common").await.json();
    assert_eq!(both["routes"].as_array().unwrap().len(), 1);

    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/api/v1/routes?limit=1{after}")).await.json();
        all.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", next.replace('\t', "%09"));
    }
    assert_eq!(all.len(), 3, "{all:?}");

    for (query, status) in [
        ("tenant=nobody", 404),
        ("set=nothing", 404),
        ("limit=0", 400),
        ("limit=many", 400),
        ("tennant=acme", 400),
    ] {
        let answer = world.get(&format!("/api/v1/routes?{query}")).await;
        assert_eq!(answer.status, status, "{query}");
        answer.problem();
    }
}
