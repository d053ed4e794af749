//! The words of plans: those of a tenant, without what one tenant alone can have.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use super::routes::Tenant;

/// What many tenants say alike.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(in crate::config) struct Plan(
    /// Everything that a tenant may say; the check refuses what one alone can have.
    pub(in crate::config) Tenant,
);

impl JsonSchema for Plan {
    fn schema_name() -> Cow<'static, str> {
        "Plan".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Tenant::json_schema(generator);
        if let Some(Value::Object(keys)) = schema.get_mut("properties") {
            keys.retain(|key, _| !OF_ONE_TENANT.contains(&key.as_str()));
        }
        schema.insert("description".to_owned(), ABOUT.into());
        schema
    }
}

const OF_ONE_TENANT: [&str; 5] = ["certificates", "domains", "keys", "plan", "routes"];

const ABOUT: &str = "What many tenants say alike: who has `plan = \"pro\"` says all that `[plans.pro]` says, but \
                     for what it says itself.";
