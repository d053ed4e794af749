//! Values that are written as text: each type knows how it is written, and says what to write
//! instead when a text does not fit.

mod access;
mod address;
mod affinity;
mod answers;
mod choice;
mod cors;
mod head;
mod host;
mod issuer;
mod log_line;
mod path;
mod retry;
mod role;
mod shared_limits;
mod spread;
mod tracing;
mod unit;
mod usage;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

pub(super) use access::{Expiry, Naming as NamingCredential, Subject};
pub(super) use address::{DnsName, DnsServer, EndpointAddress, FilePath, ListFile, SrvName};
pub(super) use affinity::{CookieName, CookiePath};
pub(super) use choice::{
    AccessOutput, AdminAddress, Beyond, ClientMode, Filter, PathKeep, RequestId, StateFolder,
};
pub(super) use head::{Location, Prefix, Replacement, Target};
pub(super) use host::{HostField, HostPattern, NamePattern};
pub(super) use issuer::KeysUrl;
pub(super) use retry::HedgeAfter;
pub(super) use shared_limits::{KeyPrefix, RedisUrl};
pub(super) use spread::ZoneName;
pub(super) use tracing::CollectorUrl;
pub(super) use unit::ByteRate;
pub(super) use usage::GatewayName;

/// A type that is written as text.
pub(super) trait Text: Sized {
    /// What is expected, with an example.
    const EXPECTED: &'static str;

    /// Reads it.
    fn read(text: &str) -> Result<Self, Wrong>;

    /// Its JSON schema.
    fn schema() -> Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// Why a text does not fit and what to write instead.
pub(super) struct Wrong {
    what: String,
    hint: String,
}

impl Wrong {
    /// A fault and its remedy.
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }

    /// As an error of the deserializer; [`HINT`] stands between the two.
    pub(super) fn into_error<E: Error>(self) -> E {
        E::custom(format_args!("{}{HINT}{}", self.what, self.hint))
    }
}

/// Stands between fault and remedy in an error of the deserializer.
pub(super) const HINT: char = '\u{1f}';

/// A text value that was read.
#[derive(Clone, Debug)]
pub(super) struct Written<T>(pub(super) T);

impl<'de, T: Text> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Text> Visitor<'_> for TextVisitor<T> {
    type Value = Written<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        T::read(text).map(Written).map_err(Wrong::into_error)
    }
}

impl<T: Text> JsonSchema for Written<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = T::schema();
        if schema.get("type").is_some() {
            schema.insert("title".to_owned(), kind(T::EXPECTED).into());
        }
        schema
    }
}

/// What is expected, without its example and its article: editors and the reference show it.
fn kind(expected: &'static str) -> &'static str {
    if expected.starts_with('"') {
        return "text"; // words beside which something else may stand
    }
    let end = [", as ", " in quotation"].iter().filter_map(|end| expected.find(end)).min();
    let kind = end.and_then(|end| expected.get(..end)).unwrap_or(expected);
    ["a ", "an ", "the "].iter().find_map(|article| kind.strip_prefix(article)).unwrap_or(kind)
}

/// Reads one of a few words.
fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, Wrong> {
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<String> = known.iter().map(|(name, _)| format!("{name:?}")).collect();
    Err(Wrong::new(format!("{text:?} is not known here"), format!("write {}", names.join(" or "))))
}
