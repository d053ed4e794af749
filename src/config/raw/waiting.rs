//! The words of how requests wait while nobody of their pool may be picked.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::Deserializer;

use crate::base::units::ByteSize;
use crate::config::text::Written;

use super::shape::{At, Whole, text_or_table};

/// How requests wait for an endpoint.
#[derive(Debug, Default)]
pub(in crate::config) struct Wait {
    /// How long one may wait, where that is all that is written.
    pub(in crate::config) short: Option<Duration>,
    /// The same in a table.
    pub(in crate::config) time: Option<At<Written<Duration>>>,
    /// How many may wait at once.
    pub(in crate::config) length: Option<Whole<1, 1_000_000>>,
    /// How much memory those may hold.
    pub(in crate::config) memory: Option<At<Written<ByteSize>>>,
    /// How many have their turn at once, for each endpoint.
    pub(in crate::config) at_once: Option<Whole<1, 10_000>>,
}

/// How requests wait while no endpoint of the pool may be picked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WaitTable {
    /// How long a request may wait, above 0, and no longer than it may take in all. Default: `5s`.
    time: Option<At<Written<Duration>>>,
    /// Requests that may wait at once, over all workers, from 1 to 1000000. No tenant has more of them than are left
    /// free. Default: 2000.
    length: Option<Whole<1, 1_000_000>>,
    /// The memory that those may hold together, from `64KiB` on. Default: `64MiB`.
    memory: Option<At<Written<ByteSize>>>,
    /// Those that waited and are at an endpoint at once, for each that may be picked, until they have an answer or half a
    /// second is over; from 1 to 10000. Default: 8.
    at_once: Option<Whole<1, 10_000>>,
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_table(
            deserializer,
            "a duration, as in \"5s\", or a table, as in { time = \"5s\", length = 500 }",
            |table: WaitTable| Self {
                short: None,
                time: table.time,
                length: table.length,
                memory: table.memory,
                at_once: table.at_once,
            },
            |time: Duration| Self { short: Some(time), ..Self::default() },
        )
    }
}

impl JsonSchema for Wait {
    fn schema_name() -> Cow<'static, str> {
        "Wait".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Written<Duration>>();
        let table = generator.subschema_for::<WaitTable>();
        schemars::json_schema!({ "anyOf": [time, table] })
    }
}
