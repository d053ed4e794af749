//! The description of the API that programs read.

use axum::routing::get;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::admin::openapi::{Operation, Schemas, show};

use super::Endpoint;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/openapi.json", methods: || get(show), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("show_openapi", "This document (OpenAPI 3.1)")
            .answers::<Map<String, Value>>(schemas, StatusCode::OK, "The document"),
    ]
}
