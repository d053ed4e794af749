//! Where an endpoint stands, and whether it is taken out of the traffic.

use schemars::Schema;

use crate::config::spec::EndpointState;
use crate::model::listed;

use super::{Text, Wrong, one_of};

/// The name of a zone.
#[derive(Clone, Debug)]
pub(in crate::config) struct ZoneName(pub(in crate::config) String);

impl Text for ZoneName {
    const EXPECTED: &'static str = "a name, as in \"eu-1a\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        if listed::is_zone(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Wrong::new(
            format!("{text:?} is no name of a zone"),
            "write 1 to 64 letters, digits, '.', '_', '-' and '/', as in \"eu-1a\"",
        ))
    }
}

impl Text for EndpointState {
    const EXPECTED: &'static str = "\"active\" or \"draining\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("active", Self::Active), ("draining", Self::Draining)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["active", "draining"] })
    }
}
