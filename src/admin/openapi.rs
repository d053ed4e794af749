//! The description of the API that programs read (OpenAPI 3.1). Each endpoint tells its own part, and
//! the schemas are those of the very types that are answered.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use http::StatusCode;
use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::State;
use super::endpoints::{ENDPOINTS, Openness};

/// Schemas that the document refers to.
#[derive(Debug)]
pub(super) struct Schemas {
    sent: SchemaGenerator,
    taken: SchemaGenerator,
}

/// One method of one path.
#[derive(Debug)]
pub(super) struct Operation {
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
}

/// What every refusal looks like (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
struct Problem {
    /// `urn:tenantry:admin:` and a word that never changes its meaning.
    r#type: String,
    title: String,
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
}

impl Schemas {
    fn new() -> Self {
        let generator = |contract| {
            SchemaSettings::draft2020_12()
                .with(|settings| {
                    settings.definitions_path = "/components/schemas".into();
                    settings.meta_schema = None;
                    settings.contract = contract;
                })
                .into_generator()
        };
        Self { sent: generator(Contract::Serialize), taken: generator(Contract::Deserialize) }
    }

    fn all(mut self) -> Map<String, Value> {
        let mut all = self.taken.take_definitions(true);
        all.extend(self.sent.take_definitions(true));
        all
    }
}

impl Operation {
    /// A read. Its JSON has a tag.
    pub(super) fn get(id: &'static str, summary: &'static str) -> Self {
        Self::new("get", id, summary)
    }

    /// Something that is done.
    pub(super) fn post(id: &'static str, summary: &'static str) -> Self {
        Self::new("post", id, summary)
    }

    /// A value that is set.
    pub(super) fn put(id: &'static str, summary: &'static str) -> Self {
        Self::new("put", id, summary)
    }

    /// A value of which some is set.
    pub(super) fn patch(id: &'static str, summary: &'static str) -> Self {
        Self::new("patch", id, summary)
    }

    /// Something that is taken away.
    pub(super) fn delete(id: &'static str, summary: &'static str) -> Self {
        Self::new("delete", id, summary)
    }

    fn new(method: &'static str, id: &'static str, summary: &'static str) -> Self {
        let (parameters, answers) = (Vec::new(), BTreeMap::new());
        Self { method, id, summary, parameters, body: None, answers }
    }

    /// The parameters of its query are the fields of `T`.
    pub(super) fn query<T: JsonSchema>(mut self, schemas: &mut Schemas) -> Self {
        let schema = T::json_schema(&mut schemas.taken).to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let mut schema = without_null(schema);
            let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            self.parameters.push(json!({
                "name": name,
                "in": "query",
                "description": about,
                "required": required.contains(&json!(name)),
                "schema": schema,
            }));
        }
        self
    }

    /// A part of its path: any text.
    pub(super) fn part(self, name: &str, about: &str) -> Self {
        self.part_of(name, about, &json!({ "type": "string" }))
    }

    /// A part of its path: the id of a tenant.
    pub(super) fn tenant(self, name: &str) -> Self {
        let id = json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$" });
        self.part_of(name, "Its id", &id)
    }

    /// A part of its path: a number, from 0.
    pub(super) fn number(self, name: &str, about: &str) -> Self {
        self.part_of(name, about, &json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }))
    }

    fn part_of(mut self, name: &str, about: &str, schema: &Value) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "path", "description": about, "required": true, "schema": schema,
        }));
        self
    }

    /// Its body is a `T` in JSON.
    pub(super) fn takes<T: JsonSchema>(mut self, schemas: &mut Schemas) -> Self {
        let schema: Schema = schemas.taken.subschema_for::<T>();
        let content = json!({ "application/json": { "schema": schema } });
        self.body = Some(json!({ "required": true, "content": content }));
        self
    }

    /// It can be bound to the state that was read before.
    pub(super) fn conditional(mut self) -> Self {
        self.parameters.push(json!({
            "name": "If-Match",
            "in": "header",
            "description": "The ETag of what was read before: changed only if it is still that",
            "required": false,
            "schema": { "type": "string" },
        }));
        self
    }

    /// It can be bound to there being nothing yet.
    pub(super) fn on_absence(mut self) -> Self {
        self.parameters.push(json!({
            "name": "If-None-Match",
            "in": "header",
            "description": "`*`: changed only if there is none yet",
            "required": false,
            "schema": { "type": "string" },
        }));
        self
    }

    /// It may answer with a `T` in JSON.
    pub(super) fn answers<T: JsonSchema>(
        mut self,
        schemas: &mut Schemas,
        status: StatusCode,
        what: &str,
    ) -> Self {
        let schema = schemas.sent.subschema_for::<T>();
        let mut answer = json!({
            "description": what,
            "content": { "application/json": { "schema": schema } },
        });
        if self.method == "get" {
            answer["headers"] = json!({ "ETag": {
                "description": "Names this state: for If-None-Match and If-Match",
                "required": true,
                "schema": { "type": "string" },
            }});
            let same = json!({ "description": "It is what If-None-Match names" });
            self.answers.insert(StatusCode::NOT_MODIFIED.as_u16(), same);
        }
        self.answers.insert(status.as_u16(), answer);
        self
    }

    /// It may answer with text.
    pub(super) fn says(self, status: StatusCode, what: &str) -> Self {
        self.sends("text/plain", status, what)
    }

    /// It may answer with text of this kind.
    pub(super) fn sends(mut self, kind: &str, status: StatusCode, what: &str) -> Self {
        let content = json!({ kind: { "schema": { "type": "string" } } });
        let answer = json!({ "description": what, "content": content });
        self.answers.insert(status.as_u16(), answer);
        self
    }

    /// It may answer with a problem.
    pub(super) fn refuses(mut self, status: StatusCode, why: &str) -> Self {
        self.answers.insert(status.as_u16(), problem(why));
        self
    }

    /// What comes of bodies that are not what it takes.
    pub(super) fn refuses_bodies(self) -> Self {
        self.refuses(StatusCode::BAD_REQUEST, "The body is no JSON")
            .refuses(StatusCode::REQUEST_TIMEOUT, "The body did not come in time")
            .refuses(StatusCode::PAYLOAD_TOO_LARGE, "The body is too long")
            .refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not said to be JSON")
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, "The body does not say what is needed")
    }

    fn describe(mut self, guarded: bool) -> Value {
        self = self.refuses(StatusCode::FORBIDDEN, "A web page may have sent it");
        if guarded {
            self = self.refuses(StatusCode::UNAUTHORIZED, "Nobody has shown who asks").refuses(
                StatusCode::TOO_MANY_REQUESTS,
                "Its address has shown many wrong tokens, or its token asks for many changes",
            );
        }
        let mut told = json!({
            "operationId": self.id,
            "summary": self.summary,
            "parameters": self.parameters,
            "responses": self.answers.into_iter().map(|(status, answer)| {
                (status.to_string(), answer)
            }).collect::<Map<String, Value>>(),
        });
        if let Some(body) = self.body {
            told["requestBody"] = body;
        }
        if guarded {
            told["security"] = json!([{ "token": [] }, { "password": [] }]);
        }
        told
    }
}

/// A parameter that is not there is left out; it is never `null`.
fn without_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(kinds) = schema["type"].as_array() {
        let mut kinds = kinds.iter().filter(|kind| *kind != "null").cloned();
        schema["type"] = kinds.next().unwrap_or_default();
    }
    let choices = schema["anyOf"].as_array().cloned().unwrap_or_default();
    let is_null = |choice: &&Value| choice["type"] == "null";
    match choices.iter().find(|choice| !is_null(choice)) {
        Some(choice) if choices.iter().any(|choice| is_null(&choice)) => {
            let mut choice = choice.clone();
            choice["description"] = schema["description"].take();
            choice
        }
        _ => schema,
    }
}

fn problem(why: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let content = json!({ "application/problem+json": { "schema": schema } });
    json!({ "description": why, "content": content })
}

/// The document. What needs a token says so where this gateway asks for one.
pub(super) fn document(openness: Openness) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let guarded = !openness.admits(endpoint.path);
        let mut methods = Map::new();
        for operation in (endpoint.operations)(&mut schemas) {
            methods.insert(operation.method.to_owned(), operation.describe(guarded));
        }
        // A page for browsers is nothing for programs.
        if !methods.is_empty() {
            paths.insert(endpoint.path.to_owned(), methods.into());
        }
    }
    drop(schemas.sent.subschema_for::<Problem>());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tenantry's admin API",
            "description": "What operators of a gateway see and do. docs/admin.md is for people.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.all(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "password": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The token as the password of any user, for browsers",
                },
            },
        },
    })
}

/// The document of a running gateway.
pub(super) async fn show(extract::State(state): extract::State<State>) -> Response {
    Json(document(state.access.openness())).into_response()
}
