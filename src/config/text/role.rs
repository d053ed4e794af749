//! Roles of the operators' API.

use schemars::Schema;

use crate::base::role::Role;

use super::{Text, Wrong};

impl Text for Role {
    const EXPECTED: &'static str = "a role in quotation marks, as in \"viewer\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|error| Wrong::new(format!("{text:?} is no role"), format!("{error}")))
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^(admin|operator|viewer|tenant:[A-Za-z0-9._-]{1,128})$|\$\{",
            "examples": ["viewer", "operator", "admin", "tenant:acme"],
        })
    }
}
