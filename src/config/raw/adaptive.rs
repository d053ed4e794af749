//! The words of how many requests a pool has at once.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::{I64Deserializer, MapAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::shape::{At, Decimal, Whole};

/// How many requests a pool has at once.
#[derive(Debug)]
pub(in crate::config) enum Concurrency {
    /// So many.
    Fixed(u32),
    /// As many as it turns out to bear.
    Adaptive(Adaptive),
    /// Any number, come what may.
    Unlimited,
}

/// A limit of requests at once that follows how long they take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Adaptive {
    /// What the limit begins with and never falls below, from 1 to 1000000: what the pool bears for
    /// certain. Default: 20, or `max` where that is less.
    pub(in crate::config) min: Option<At<Whole<1, 1_000_000>>>,
    /// What the limit never rises above, from 1 to 1000000, no less than `min`. Default: 1000, or `min`
    /// where that is more.
    pub(in crate::config) max: Option<At<Whole<1, 1_000_000>>>,
    /// How many times as long as usual requests may take before the limit falls, from 1.1 to 10. Default:
    /// 1.5.
    pub(in crate::config) tolerance: Option<Decimal<110, 1000>>,
}

impl<'de> Deserialize<'de> for Concurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConcurrencyVisitor)
    }
}

struct ConcurrencyVisitor;

impl<'de> Visitor<'de> for ConcurrencyVisitor {
    type Value = Concurrency;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, \"adaptive\", \"unlimited\", or a table, as in { min = 20, max = 500 }")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Concurrency, E> {
        let fixed = Whole::<1, 1_000_000>::deserialize(I64Deserializer::<E>::new(number))?;
        Ok(Concurrency::Fixed(fixed.small()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Concurrency, E> {
        match text {
            ADAPTIVE => Ok(Concurrency::Adaptive(Adaptive::default())),
            UNLIMITED => Ok(Concurrency::Unlimited),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Concurrency, A::Error> {
        Adaptive::deserialize(MapAccessDeserializer::new(map)).map(Concurrency::Adaptive)
    }
}

impl JsonSchema for Concurrency {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Concurrency".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fixed = Whole::<1, 1_000_000>::json_schema(generator);
        let table = generator.subschema_for::<Adaptive>();
        schemars::json_schema!({ "anyOf": [fixed, { "enum": [ADAPTIVE, UNLIMITED] }, table] })
    }
}

/// All of it as it is by default.
const ADAPTIVE: &str = "adaptive";
/// No limit, and no bound while the pool is overrun.
const UNLIMITED: &str = "unlimited";
