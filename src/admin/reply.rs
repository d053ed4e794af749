//! The bodies of the admin API: JSON, and problem documents (RFC 9457) for every error.

use std::time::SystemTime;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::tasks;
use crate::control::generation::Fault;

/// A fault of the config files as the API shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FaultBody {
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    key: Option<String>,
    what: String,
    hint: Option<String>,
}

impl From<&Fault> for FaultBody {
    fn from(fault: &Fault) -> Self {
        Self {
            file: fault.file.display().to_string(),
            line: fault.line,
            column: fault.column,
            key: fault.key.clone(),
            what: fault.what.clone(),
            hint: fault.hint.clone(),
        }
    }
}

/// A problem document; `kind` ends its type and never changes its meaning.
pub(super) fn problem(status: StatusCode, kind: &str, detail: String) -> Response {
    problem_with(status, kind, detail, Map::new())
}

/// A problem document with more members than the standard ones.
pub(super) fn problem_with(
    status: StatusCode,
    kind: &str,
    detail: String,
    mut members: Map<String, Value>,
) -> Response {
    members.insert("type".to_owned(), format!("urn:tenantry:admin:{kind}").into());
    members.insert("title".to_owned(), status.canonical_reason().unwrap_or("error").into());
    members.insert("status".to_owned(), status.as_u16().into());
    members.insert("detail".to_owned(), detail.into());
    let mut response = (status, Json(members)).into_response();
    let content_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// An answer whose making grows with the number of tenants, pools or endpoints: on a thread that
/// nobody waits for.
pub(super) async fn in_background(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    tasks::in_background(make).await.unwrap_or_else(|error| {
        let what = format!("the answer could not be made, which is a bug: {error}");
        tracing::error!("{what}");
        problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", what)
    })
}

/// A time as RFC 3339 in UTC, with milliseconds.
pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
