//! The text of a list file: Prometheus `file_sd` JSON, or the TOML of a pool's `endpoints`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::config::spec::{EndpointSpec, EndpointState};
use crate::model;
use crate::model::address::AddressFault;
use crate::model::listed::is_zone;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `[{"targets": ["10.0.0.1:8080"], "labels": {"weight": "2"}}]`
    Json,
    /// `endpoints = ["10.0.0.1:8080", { address = "10.0.0.2:8080", weight = 2 }]`
    Toml,
}

/// Why a list is not taken. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    line: usize,
    column: usize,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)
    }
}

impl Form {
    /// By the end of the file's name.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?;
        if ending.eq_ignore_ascii_case("json") {
            return Some(Self::Json);
        }
        ending.eq_ignore_ascii_case("toml").then_some(Self::Toml)
    }
}

/// Reads a list.
///
/// # Errors
/// When the text is not of the form, or what it says of an endpoint is not what may be said.
pub(super) fn parse(form: Form, bytes: &[u8]) -> Result<Vec<EndpointSpec>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (line, column) = position(bytes, error.valid_up_to());
        Fault { line, column, what: "not UTF-8".to_owned() }
    })?;
    match form {
        Form::Json => parse_json(text),
        Form::Toml => parse_toml(text),
    }
}

/// One group of `file_sd`. What other readers of the file have in it is none of our business.
#[derive(Deserialize)]
struct Group {
    targets: Vec<Address>,
    #[serde(default)]
    labels: Labels,
}

/// What a list says of an endpoint beside its address. In `file_sd` all but the weight have names of our
/// own: `state`, `zone` and `priority` are words that lists for others have, too.
#[derive(Clone, Debug, Default)]
struct Labels {
    weight: Option<u32>,
    priority: Option<u16>,
    zone: Option<Arc<str>>,
    state: Option<EndpointState>,
}

impl Labels {
    fn of(self, address: model::address::Address) -> EndpointSpec {
        let unsaid = EndpointSpec::new(address);
        EndpointSpec {
            weight: self.weight.unwrap_or(unsaid.weight),
            priority: self.priority.unwrap_or(unsaid.priority),
            zone: self.zone,
            state: self.state.unwrap_or(unsaid.state),
            ..unsaid
        }
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value;

        let mut labels = BTreeMap::<String, Value>::deserialize(deserializer)?;
        // In `file_sd` all labels are texts; numbers are understood, too.
        let mut number = |name: &str| {
            labels.remove(name).map(|value| match value {
                Value::String(text) => text.parse().ok(),
                other => other.as_i64(),
            })
        };
        let weight = number("weight").map(|number| check_weight(number.unwrap_or(-1)));
        let priority =
            number("__tenantry_priority").map(|number| check_priority(number.unwrap_or(-1)));
        let mut text = |name: &str| {
            labels.remove(name).map(|value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            })
        };
        let zone = text("__tenantry_zone").map(|text| check_zone(&text));
        let state = text("__tenantry_state").map(|text| check_state(&text));
        let custom = D::Error::custom;
        Ok(Self {
            weight: weight.transpose().map_err(custom)?,
            priority: priority.transpose().map_err(custom)?,
            zone: zone.transpose().map_err(custom)?,
            state: state.transpose().map_err(custom)?,
        })
    }
}

fn parse_json(text: &str) -> Result<Vec<EndpointSpec>, Fault> {
    let groups: Vec<Group> = serde_json::from_str(text).map_err(|error| {
        let what = error.to_string();
        // The position stands in a place of its own.
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what).to_owned();
        Fault { line: error.line().max(1), column: error.column().max(1), what }
    })?;
    let listed = |Group { targets, labels }: Group| {
        targets.into_iter().map(move |target| labels.clone().of(target.0))
    };
    Ok(groups.into_iter().flat_map(listed).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    endpoints: Vec<toml::Spanned<toml::Value>>,
}

fn parse_toml(text: &str) -> Result<Vec<EndpointSpec>, Fault> {
    let fault = |what: &str, span: Option<Range<usize>>| {
        let (line, column) = position(text.as_bytes(), span.map_or(0, |span| span.start));
        Fault { line, column, what: what.to_owned() }
    };
    let document: Document =
        toml::from_str(text).map_err(|error| fault(error.message(), error.span()))?;
    document
        .endpoints
        .into_iter()
        .map(|endpoint| {
            let span = endpoint.span();
            listed(endpoint.into_inner()).map_err(|what| fault(&what, Some(span)))
        })
        .collect()
}

fn listed(value: toml::Value) -> Result<EndpointSpec, String> {
    match value {
        toml::Value::String(text) => Ok(EndpointSpec::new(check_address(&text)?)),
        toml::Value::Table(mut table) => {
            let Some(toml::Value::String(address)) = table.remove("address") else {
                return Err(format!("an endpoint needs an `address`; {SHAPE}"));
            };
            let number = |value: toml::Value| value.as_integer().unwrap_or(-1);
            let text = |value: toml::Value| value.as_str().unwrap_or_default().to_owned();
            let weight = table.remove("weight").map(|value| check_weight(number(value)));
            let priority = table.remove("priority").map(|value| check_priority(number(value)));
            let zone = table.remove("zone").map(|value| check_zone(&text(value)));
            let state = table.remove("state").map(|value| check_state(&text(value)));
            if let Some(key) = table.keys().next() {
                return Err(format!("unknown key `{key}`; {SHAPE}"));
            }
            let labels = Labels {
                weight: weight.transpose()?,
                priority: priority.transpose()?,
                zone: zone.transpose()?,
                state: state.transpose()?,
            };
            Ok(labels.of(check_address(&address)?))
        }
        _ => Err(format!("an endpoint is a text or a table; {SHAPE}")),
    }
}

struct Address(model::address::Address);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        check_address(&text).map(Self).map_err(D::Error::custom)
    }
}

fn check_address(text: &str) -> Result<model::address::Address, String> {
    let address: model::address::Address = text.parse().map_err(|fault| {
        let shown: String = text.chars().take(100).flat_map(char::escape_debug).collect();
        if fault != AddressFault::Syntax {
            return format!("`{shown}`: {fault}; write \"unix:/run/app.sock\"");
        }
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
        let named = !host.is_empty() && host.parse::<std::net::IpAddr>().is_err();
        if named && host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains(':') {
            format!(
                "`{shown}` is a host name; a list holds IP addresses with ports, as in \
                 \"10.0.0.1:8080\"; use `dns = \"{shown}\"` in the pool instead"
            )
        } else {
            format!(
                "`{shown}` is no address; write an IP address and a port, as in \
                 \"10.0.0.1:8080\" or \"[fd00::1]:8080\", or \"unix:/run/app.sock\""
            )
        }
    })?;
    if address.net().is_some_and(|address| address.port() == 0) {
        return Err(format!("`{text}` has port 0; a port is 1 to 65535"));
    }
    Ok(address)
}

fn check_weight(weight: i64) -> Result<u32, String> {
    let weight = u32::try_from(weight).ok().filter(|weight| *weight <= HEAVIEST);
    weight.ok_or_else(|| WEIGHT.to_owned())
}

fn check_priority(priority: i64) -> Result<u16, String> {
    u16::try_from(priority).map_err(|_| PRIORITY.to_owned())
}

fn check_zone(zone: &str) -> Result<Arc<str>, String> {
    if is_zone(zone) { Ok(zone.into()) } else { Err(ZONE.to_owned()) }
}

fn check_state(state: &str) -> Result<EndpointState, String> {
    match state {
        "active" => Ok(EndpointState::Active),
        "draining" => Ok(EndpointState::Draining),
        _ => Err(STATE.to_owned()),
    }
}

/// Line and column of a byte, both from 1.
fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    (line, column)
}

/// 1000: as where an endpoint is written in the pool.
const HEAVIEST: u32 = 1000;
const WEIGHT: &str = "a weight is a whole number from 0 to 1000";
const PRIORITY: &str = "a priority is a whole number from 0 to 65535";
const ZONE: &str = "a zone is 1 to 64 letters, digits, '.', '_', '-' and '/'";
const STATE: &str = "a state is \"active\" or \"draining\"";
const SHAPE: &str = "write \"10.0.0.1:8080\" or { address = \"10.0.0.1:8080\", weight = 2 }";

#[cfg(test)]
mod tests;
