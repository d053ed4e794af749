//! The words for one endpoint, and for how a pool's traffic is spread over all of them.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::Deserializer;

use crate::base::units::Percent;
use crate::config::spec::EndpointState;
use crate::config::text::{EndpointAddress, Written, ZoneName};
use crate::model::address::Address;

use super::shape::{At, Decimal, Whole, text_or_table};

/// One endpoint.
#[derive(Clone, Debug)]
pub(in crate::config) struct Endpoint {
    /// Where it listens; `None` = not written.
    pub(in crate::config) address: Option<Address>,
    /// Its share of the traffic.
    pub(in crate::config) weight: Option<u32>,
    /// Lower numbers come first.
    pub(in crate::config) priority: Option<u32>,
    /// The zone that it stands in.
    pub(in crate::config) zone: Option<String>,
    /// Whether it gets new requests.
    pub(in crate::config) state: Option<EndpointState>,
}

/// An endpoint of which more is said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EndpointTable {
    /// Address and port, as in `10.0.0.1:8080`, or a Unix socket, as in `unix:/run/app.sock`. Must
    /// be there.
    address: Option<Written<EndpointAddress>>,
    /// Its share of the traffic beside the others' weights, from 0 (none) to 1000. Default: 1.
    weight: Option<Whole<0, 1000>>,
    /// Endpoints of the lowest number serve, those of the next ones only what these cannot bear; from 0
    /// to 65535. Default: 0.
    priority: Option<Whole<0, 65_535>>,
    /// The zone that it stands in, as in `eu-1a`: that of the gateway comes first. Default: none is
    /// known.
    zone: Option<Written<ZoneName>>,
    /// `draining`: it gets no new requests and finishes those that it has. Default: `active`.
    state: Option<Written<EndpointState>>,
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_table(
            deserializer,
            "an endpoint, as in \"10.0.0.1:8080\" or { address = \"10.0.0.1:8080\", weight = 2 }",
            |table: EndpointTable| Self {
                address: table.address.map(|address| address.0.0),
                weight: table.weight.map(Whole::small),
                priority: table.priority.map(Whole::small),
                zone: table.zone.map(|zone| zone.0.0),
                state: table.state.map(|state| state.0),
            },
            |address: EndpointAddress| Self {
                address: Some(address.0),
                weight: None,
                priority: None,
                zone: None,
                state: None,
            },
        )
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<EndpointTable>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

/// How the gateway's own zone comes first, where `gateway.toml` names one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Zones {
    /// `false`: zones do not matter to this pool. Default: `true`.
    pub(in crate::config) prefer: Option<bool>,
    /// With fewer endpoints the own zone is nothing special, from 1 to 1000. Default: 2.
    pub(in crate::config) min_endpoints: Option<Whole<1, 1000>>,
    /// Requests in flight, for each healthy endpoint of the own zone, beyond which others help; from 1 to
    /// 1000000. Default: 16.
    pub(in crate::config) spill_above: Option<Whole<1, 1_000_000>>,
}

/// How endpoints come to their share of the traffic that join a pool in use, or recover.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct SlowStart {
    /// How long it takes, above 0. Default: `30s`.
    pub(in crate::config) window: Option<At<Written<Duration>>>,
    /// How fast it goes in the beginning, from 0.1 to 10: the share is time to the power of 1 / this, so
    /// that 1 is even, and more is faster. Default: 1.0.
    pub(in crate::config) aggression: Option<Decimal<10, 1000>>,
    /// The share that they begin with, from `0%` to `100%`, where less than `1%` counts as that.
    /// Default: `10%`.
    pub(in crate::config) min: Option<Written<Percent>>,
}
