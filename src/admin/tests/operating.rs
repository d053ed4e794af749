//! What operators do: drain endpoints and the gateway, change the log.

use http::StatusCode;

use crate::model::address::Address;
use crate::model::members::Found;

use super::*;

/// A pool `shop` of these endpoints.
async fn shop(addresses: &[&str]) -> (World, Arc<Members>) {
    let world = World::start().await;
    let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
    let found = |address: &&str| Found::new(address.parse::<Address>().unwrap(), "static");
    members.replace(&addresses.iter().map(found).collect::<Vec<Found>>());
    world.publish(|live| {
        let (members, sources) = (Arc::clone(&members), Vec::new());
        live.pools = vec![LivePool {
            name: "shop".into(),
            slot: 0,
            members,
            gate: None,
            overrun: None,
            adaptive: None,
            breakers: None,
            has_own_breaker: false,
            shard: None,
            sources,
        }];
    });
    (world, members)
}

async fn drain(world: &World, body: &str) -> Answer {
    world.send("POST", "/api/v1/endpoints/drain", body).await
}

#[tokio::test]
async fn an_endpoint_is_drained_with_a_reason_and_let_in_again() {
    let (world, members) = shop(&["10.0.0.1:80", "10.0.0.2:80"]).await;
    let wish = r#"{"pool": "shop", "address": "10.0.0.1:80", "reason": "new kernel"}"#;

    let drained = drain(&world, wish).await;

    assert_eq!(drained.status, 200, "{}", drained.body);
    let told = drained.json();
    assert_eq!((&told["changed"], &told["eligible"]), (&json!(true), &json!(1)));
    assert_eq!(told["drained"]["reason"], "new kernel");
    assert_eq!(told["warning"], Value::Null);
    let listed = world.get("/api/v1/endpoints?state=drained").await.json();
    assert_eq!(listed["endpoints"][0]["address"], "10.0.0.1:80");
    assert_eq!(listed["endpoints"][0]["drained"]["reason"], "new kernel");
    assert_eq!(listed["endpoints"][0]["eligible"], false);
    assert_eq!(listed["endpoints"][1], Value::Null);

    let wish = r#"{"pool": "shop", "address": "10.0.0.1:80"}"#;
    let back = world.send("POST", "/api/v1/endpoints/undrain", wish).await;

    assert_eq!((back.status, &back.json()["drained"]), (200, &Value::Null));
    assert_eq!(members.load().eligible.endpoints.len(), 2);
}

#[tokio::test]
async fn the_last_endpoint_is_drained_only_by_force_and_with_a_warning() {
    let (world, _) = shop(&["10.0.0.1:80"]).await;
    let plain = r#"{"pool": "shop", "address": "10.0.0.1:80"}"#;
    let force = r#"{"pool": "shop", "address": "10.0.0.1:80", "force": true}"#;

    let refused = drain(&world, plain).await;
    assert_eq!(refused.status, 409);
    let problem = refused.problem();
    assert_eq!(problem["type"], "urn:tenantry:admin:last-endpoint");
    assert!(problem["detail"].as_str().unwrap().contains("\"force\": true"), "{problem}");

    let forced = drain(&world, force).await;
    assert_eq!(forced.status, 200);
    assert!(forced.json()["warning"].as_str().unwrap().contains("answered 503"));
}

#[tokio::test]
async fn a_drain_of_nobody_says_who_is_there() {
    let (world, _) = shop(&["10.0.0.1:80"]).await;
    for (body, kind, detail) in [
        (r#"{"pool": "shpo", "address": "10.0.0.1:80"}"#, "unknown-pool", "is it \"shop\"?"),
        (r#"{"pool": "shop", "address": "10.0.0.9:80"}"#, "unknown-endpoint", "10.0.0.1:80"),
        (r#"{"pool": "shop", "address": "nobody"}"#, "unknown-endpoint", "IP address with a port"),
    ] {
        let refused = drain(&world, body).await;

        assert_eq!(refused.status, 404, "{body}");
        let problem = refused.problem();
        assert_eq!(problem["type"], format!("urn:tenantry:admin:{kind}"));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_refused_with_what_to_do() {
    let (world, _) = shop(&["10.0.0.1:80"]).await;
    let path = "/api/v1/endpoints/drain";
    let json = "Content-Type: application/json\r\n";
    let huge = format!("{{\"pool\": \"{}\"}}", "x".repeat(65 << 10));
    for (headers, body, status, kind, detail) in [
        ("", "{}", 415, "not-json", "Content-Type: application/json"),
        ("Content-Type: text/plain\r\n", "{}", 415, "not-json", "application/json"),
        (json, "{\"pool\": ", 400, "bad-json", "line 1 column"),
        (json, "", 400, "bad-json", "EOF"),
        (json, "[\"shop\", \"10.0.0.1:80\", null, true]", 422, "bad-body", "it is no object"),
        (json, "{\"pool\": \"shop\"}", 422, "bad-body", "missing field `address`"),
        (json, r#"{"pool": "shop", "address": 1}"#, 422, "bad-body", "expected a string"),
        (json, r#"{"pool": "shop", "adress": ""}"#, 422, "bad-body", "unknown field `adress`"),
        (json, huge.as_str(), 413, "large-body", "longer than any"),
    ] {
        let refused = world.send_as("POST", path, headers, body).await;

        assert_eq!(refused.status, status, "{headers}{:.40}", body);
        let problem = refused.problem();
        assert_eq!(problem["type"], format!("urn:tenantry:admin:{kind}"));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    }
    let long = "x".repeat(501);
    let wish = format!(r#"{{"pool": "shop", "address": "10.0.0.1:80", "reason": "{long}"}}"#);
    assert_eq!(drain(&world, &wish).await.status, 422);
}

#[tokio::test]
async fn the_gateway_is_drained_only_by_who_means_it() {
    let world = World::start().await;

    let unsure = world.send("POST", "/api/v1/drain", "{}").await;
    assert_eq!(unsure.status, StatusCode::UNPROCESSABLE_ENTITY.as_u16());
    assert!(unsure.problem()["detail"].as_str().unwrap().contains("{\"confirm\": true}"));
    assert!(!*world.end.borrow());

    world.draining.send_replace(true);
    let sure = world.send("POST", "/api/v1/drain", "{\"confirm\": true}").await;
    assert_eq!(sure.status, 202);
    let told = json!({"draining": true, "accept_ms": 1000, "timeout_ms": 30000});
    assert_eq!(sure.json(), told);
    assert!(*world.end.borrow());
}

#[tokio::test]
async fn a_log_that_is_not_the_gateways_cannot_be_changed() {
    let world = World::start().await;

    let changed = world.send("PUT", "/api/v1/log-level", "{\"level\": \"debug\"}").await;

    assert_eq!(changed.status, 409);
    assert_eq!(changed.problem()["type"], "urn:tenantry:admin:foreign-log");
    assert_eq!(world.get("/api/v1/log-level").await.status, 409);
}
