//! Where a request would go, and why.

use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, extract};
use http::{Method, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::admin::asked::Body;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};
use crate::control::explain::{Explained, Question};

use super::Endpoint;

pub(in crate::admin) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/explain", methods: || get(explain).post(explain_asked), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("explain", "Where a request would go, and why")
            .query::<Wanted>(schemas)
            .answers::<Explained>(schemas, StatusCode::OK, "What becomes of it")
            .refuses(StatusCode::BAD_REQUEST, "The question cannot be read")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "No table is live yet"),
        Operation::post("explain_request", "The same of a request that no log shall have")
            .takes::<Asking>(schemas)
            .answers::<Explained>(schemas, StatusCode::OK, "What becomes of it")
            .refuses(StatusCode::BAD_REQUEST, "The question cannot be read")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "No table is live yet")
            .refuses_bodies(),
    ]
}

/// The parameters, for their schemas; they are read as pairs, since a header may come often.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is there for its schema")]
struct Wanted {
    /// GET by default.
    #[schemars(regex(pattern = "^[A-Z]{1,20}$"))]
    method: Option<String>,
    /// A path, or a URL whose host is the request's.
    #[schemars(regex(pattern = "^/[A-Za-z0-9/._~-]*$"))]
    target: String,
    /// The request need not name one then.
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]{1,128}$"))]
    tenant: Option<String>,
    /// As in `X-Beta: 1`; any number of them.
    #[schemars(inner(regex(pattern = "^[A-Za-z0-9-]{1,40}: [A-Za-z0-9 ._-]{0,100}$")))]
    header: Option<Vec<String>>,
}

/// The same as a body, which no proxy on the way writes into a log: headers may be credentials.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asking {
    /// GET by default.
    #[schemars(regex(pattern = "^[A-Z]{1,20}$"))]
    method: Option<String>,
    /// A path, or a URL whose host is the request's.
    #[schemars(regex(pattern = "^/[A-Za-z0-9/._~-]*$"))]
    target: String,
    /// The request need not name one then.
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]{1,128}$"))]
    tenant: Option<String>,
    /// As in `X-Beta: 1`.
    #[serde(default)]
    #[schemars(inner(regex(pattern = "^[A-Za-z0-9-]{1,40}: [A-Za-z0-9 ._-]{0,100}$")))]
    headers: Vec<String>,
}

async fn explain(
    extract::State(state): extract::State<State>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    answer(state, question(&pairs)).await
}

async fn explain_asked(
    extract::State(state): extract::State<State>,
    Body(asking): Body<Asking>,
) -> Response {
    let Asking { method, target, tenant, headers } = asking;
    let pairs = [("target", Some(target)), ("method", method), ("tenant", tenant)];
    let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let headers = headers.into_iter().map(|header| ("header", header));
    let pairs: Vec<(String, String)> =
        pairs.chain(headers).map(|(name, value)| (name.to_owned(), value)).collect();
    answer(state, question(&pairs)).await
}

async fn answer(state: State, question: Result<Question, String>) -> Response {
    let question = match question {
        Ok(question) => question,
        Err(what) => return reply::problem(StatusCode::BAD_REQUEST, "bad-question", what),
    };
    let kept = state.stored.kept.load();
    // Who asks first has the files of a generation read through.
    reply::in_background(move || match state.explainer.explain(&question, &kept.secrets) {
        Some(explained) => Json(explained).into_response(),
        None => {
            let what = "no table is live yet".to_owned();
            reply::problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", what)
        }
    })
    .await
}

/// The question that pairs ask: `method`, `target`, `tenant`, and any number of `header`.
fn question(pairs: &[(String, String)]) -> Result<Question, String> {
    let (mut method, mut target, mut tenant) = (Method::GET, None, None);
    let mut headers = Vec::new();
    for (name, value) in pairs {
        match name.as_str() {
            "method" => {
                method = value.parse().map_err(|_| format!("{value:?} is not a method"))?;
            }
            "target" => {
                let uri = value
                    .parse::<Uri>()
                    .map_err(|_| format!("{value:?} is not a path or a URL"))?;
                target = Some(uri);
            }
            "tenant" => tenant = Some(value.as_str()),
            "header" => headers.push(value.as_str()),
            other => {
                return Err(format!(
                    "there is no {other:?}; there is method, target, tenant, header"
                ));
            }
        }
    }
    let target = target.ok_or("the target is missing, as in target=/billing/7")?;
    Question::new(tenant, &method, &target, headers)
}
