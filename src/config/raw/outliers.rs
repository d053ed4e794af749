//! The words of how endpoints of a pool are compared with each other.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::base::units::Percent;
use crate::config::text::Written;

use super::shape::{At, Whole};

/// Ejection of an endpoint that fails more of its requests than the others of its pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct SuccessRate {
    /// How far below the mean of the endpoints its share of successes lies at least, from `0%` to `100%`; it always lies
    /// 1.9 standard deviations below it. Default: `5%`.
    pub(in crate::config) gap: Option<Written<Percent>>,
    /// Endpoints with enough requests that there must be, from 5 to 1000: of fewer, none lies that far away. Default: 5.
    pub(in crate::config) endpoints: Option<Whole<5, 1000>>,
    /// Requests of an interval that an endpoint must have had to be compared, from 1 to 1000000. Default: 100.
    pub(in crate::config) requests: Option<Whole<1, 1_000_000>>,
}

/// Ejection of an endpoint that is slower than the others of its pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Latency {
    /// How many times as long as the median endpoint it takes to the heads of its answers, from 2 to 100. Default: 3.
    pub(in crate::config) factor: Option<Whole<2, 100>>,
    /// How much longer than the median endpoint it takes at least, above 0. Default: `100ms`.
    pub(in crate::config) floor: Option<At<Written<Duration>>>,
    /// Intervals in a row in which that is so, from 1 to 100. Default: 3.
    pub(in crate::config) rounds: Option<Whole<1, 100>>,
    /// Endpoints with enough requests of a kind that there must be, from 3 to 1000. Default: 3.
    pub(in crate::config) endpoints: Option<Whole<3, 1000>>,
    /// Requests of an interval that an endpoint must have had to be compared, from 1 to 1000000. Default: 30.
    pub(in crate::config) requests: Option<Whole<1, 1_000_000>>,
}

/// On or off, or a table of how.
#[derive(Debug)]
pub(in crate::config) enum Switch<T> {
    /// `false`.
    Off,
    /// `true`, or a table.
    On(T),
}

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SwitchVisitor(PhantomData))
    }
}

struct SwitchVisitor<T>(PhantomData<T>);

impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for SwitchVisitor<T> {
    type Value = Switch<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, or a table, as in { endpoints = 5 }")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Self::Value, E> {
        Ok(if on { Switch::On(T::default()) } else { Switch::Off })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Switch::On)
    }
}

impl<T: JsonSchema> JsonSchema for Switch<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Switch{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [{ "type": "boolean" }, table] })
    }
}
