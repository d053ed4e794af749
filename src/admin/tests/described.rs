//! The OpenAPI document beside what the API does.

use std::collections::BTreeSet;

use super::super::endpoints::{ENDPOINTS, Openness};
use super::super::openapi::document;
use super::*;

#[tokio::test]
async fn every_method_is_described_and_no_other_is_there() {
    let world = World::start().await;
    let document = world.get("/api/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");

    for endpoint in ENDPOINTS {
        let Some(described) = document["paths"][endpoint.path].as_object() else {
            assert!(!endpoint.path.starts_with("/api/"), "{}", endpoint.path);
            continue;
        };
        let described: BTreeSet<&str> = described.keys().map(String::as_str).collect();
        // TRACE is taken nowhere: the refusal names what is.
        let refused = world.ask("TRACE", endpoint.path).await;
        assert_eq!(refused.status, 405, "{}", endpoint.path);
        let allow = refused.head.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap();
        let allowed = allow.split(',').map(str::trim).filter(|method| *method != "head");
        assert_eq!(described, allowed.collect::<BTreeSet<&str>>(), "{}", endpoint.path);
    }
}

#[test]
fn every_schema_that_is_named_is_there_and_every_operation_has_a_name_of_its_own() {
    let document = document(Openness::Probes);
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let named: BTreeSet<&str> = text
        .split("\"#/components/schemas/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();

    let there: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    assert_eq!(named, there);
    let operations = document["paths"].as_object().unwrap().values();
    let ids: Vec<&Value> = operations
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| &operation["operationId"])
        .collect();
    let unique: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
}

#[test]
fn what_needs_a_token_says_so() {
    let guarded = document(Openness::ProbesAndMetrics);
    let open = document(Openness::Whole);
    let security =
        |document: &Value, path: &str| document["paths"][path]["get"]["security"].is_array();

    assert!(security(&guarded, "/api/v1/status"));
    assert!(!security(&guarded, "/metrics") && !security(&guarded, "/healthz"));
    assert!(!security(&open, "/api/v1/status"));
}
