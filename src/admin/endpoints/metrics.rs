//! All metrics, for Prometheus.

use std::sync::Arc;

use axum::extract;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};

use super::Endpoint;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/metrics", methods: || get(metrics), operations };

fn operations(_: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("show_metrics", "All metrics, for Prometheus")
            .says(StatusCode::OK, "In the text format of Prometheus"),
    ]
}

async fn metrics(extract::State(state): extract::State<State>) -> Response {
    let metrics = Arc::clone(&state.metrics);
    reply::in_background(move || match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => broken(error.to_string()),
    })
    .await
}

fn broken(error: String) -> Response {
    tracing::error!(error, "the metrics cannot be rendered; this is a bug, please report it");
    reply::problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics", error)
}

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
