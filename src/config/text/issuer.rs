//! Where issuers publish their keys.

use schemars::Schema;

use super::tracing::{CollectorUrl, read_url};
use super::{Text, Wrong};

/// The URL of a set of keys.
#[derive(Clone, Debug)]
pub(in crate::config) struct KeysUrl(pub(in crate::config) CollectorUrl);

impl Text for KeysUrl {
    const EXPECTED: &'static str = "a URL, as in \"https://login.example.com/jwks.json\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        const HINT: &str = "write a URL as in \"https://login.example.com/jwks.json\"";
        read_url(text, HINT, "leave it out: whoever verifies a signature may read the keys")
            .map(Self)
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^https?://|\$\{",
            "examples": ["https://login.example.com/jwks.json"],
        })
    }
}
