//! When an answer of the gateway looks otherwise.

use std::fmt;

use http::StatusCode;
use schemars::Schema;

use crate::config::answers::PageFor;
use crate::config::spec::RouteState;

use super::{Text, Wrong, one_of};

impl Text for PageFor {
    const EXPECTED: &'static str = "a status as in 503, a class as in 5xx, or maintenance";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text {
            "maintenance" => return Ok(Self::Maintenance),
            "4xx" => return Ok(Self::Class(4)),
            "5xx" => return Ok(Self::Class(5)),
            _ => {}
        }
        let status = text.parse::<StatusCode>().ok();
        match status.filter(|status| status.is_client_error() || status.is_server_error()) {
            Some(status) => Ok(Self::Status(status)),
            None => Err(Wrong::new(
                format!("{text:?} is no status that the gateway answers a problem with"),
                "write a status from 400 to 599, \"4xx\", \"5xx\" or \"maintenance\"",
            )),
        }
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([45](xx|[0-9][0-9])|maintenance)$" })
    }
}

impl Text for RouteState {
    const EXPECTED: &'static str = "\"active\" or \"maintenance\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("active", Self::Active), ("maintenance", Self::Maintenance)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["active", "maintenance"] })
    }
}

impl fmt::Display for PageFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maintenance => f.write_str("maintenance"),
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}
