//! When an answer of the gateway looks otherwise.

use std::fmt;

use http::StatusCode;
use schemars::Schema;

use crate::config::answers::PageFor;

use super::{Text, Wrong};

impl Text for PageFor {
    const EXPECTED: &'static str = "a status as in 503, or a class as in 5xx";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text {
            "4xx" => return Ok(Self::Class(4)),
            "5xx" => return Ok(Self::Class(5)),
            _ => {}
        }
        let status = text.parse::<StatusCode>().ok();
        match status.filter(|status| status.is_client_error() || status.is_server_error()) {
            Some(status) => Ok(Self::Status(status)),
            None => Err(Wrong::new(
                format!("{text:?} is no status that the gateway answers a problem with"),
                "write a status from 400 to 599, \"4xx\" or \"5xx\"",
            )),
        }
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[45](xx|[0-9][0-9])$" })
    }
}

impl fmt::Display for PageFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}
