//! The words for what keeps requests together on one endpoint.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::config::spec::{HashBy, SameSite};
use crate::config::text::{CookieName, CookiePath, FilePath, Text, Written};

use super::shape::{At, text_or_table};

/// Parts of a request, in order: the first that it has is hashed.
#[derive(Debug)]
pub(in crate::config) struct HashKeys(pub(in crate::config) Vec<HashKey>);

/// One part of a request.
#[derive(Debug)]
pub(in crate::config) struct HashKey {
    /// What is written; two where a table names both.
    pub(in crate::config) by: Vec<HashBy>,
}

/// A part of a request that has a name: either `header` or `cookie`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HashKeyTable {
    /// The field whose first value is hashed. Default: none, a `cookie` is.
    header: Option<Written<HeaderName>>,
    /// The cookie whose value is hashed. Default: none, a `header` is.
    cookie: Option<Written<CookieName>>,
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_table(
            deserializer,
            HashBy::EXPECTED,
            |table: HashKeyTable| {
                let header = table.header.map(|name| HashBy::Header(name.0));
                let cookie = table.cookie.map(|name| HashBy::Cookie(name.0.0));
                Self { by: header.into_iter().chain(cookie).collect() }
            },
            |by: HashBy| Self { by: vec![by] },
        )
    }
}

impl JsonSchema for HashKey {
    fn schema_name() -> Cow<'static, str> {
        "HashKey".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<HashKeyTable>();
        schemars::json_schema!({ "anyOf": [HashBy::schema(), table] })
    }
}

impl<'de> Deserialize<'de> for HashKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HashKeysVisitor)
    }
}

struct HashKeysVisitor;

impl<'de> Visitor<'de> for HashKeysVisitor {
    type Value = HashKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or an array of these", HashBy::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HashKeys, E> {
        HashKey::deserialize(text.into_deserializer()).map(|one| HashKeys(vec![one]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HashKeys, A::Error> {
        HashKey::deserialize(MapAccessDeserializer::new(map)).map(|one| HashKeys(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<HashKeys, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(HashKeys)
    }
}

impl JsonSchema for HashKeys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HashKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<HashKey>();
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// A cookie that keeps a client on one endpoint of the pool. It is signed, tells nothing of the endpoint,
/// and is not passed on to it. Either `key-file` or `keys` must be there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Sticky {
    /// Its name, which no application and no other pool of the same hosts may use. Must be there.
    pub(in crate::config) cookie: Option<Written<CookieName>>,
    /// A file of the keys that it is signed with, one a line of at least 32 characters, from 1 to 8: the
    /// first signs, and all are good. Relative paths start at the folder of this file. Default: none, `keys`
    /// are written.
    pub(in crate::config) key_file: Option<At<Written<FilePath>>>,
    /// The keys themselves, as in `["${STICKY_KEY}"]`. Default: none, they are in `key-file`.
    pub(in crate::config) keys: Option<At<Vec<At<String>>>>,
    /// How long clients keep it, above 0; in use it is renewed when half of that is over.
    /// Default: until the browser is closed.
    pub(in crate::config) max_age: Option<At<Written<Duration>>>,
    /// For which paths clients send it. Default: `/`.
    pub(in crate::config) path: Option<Written<CookiePath>>,
    /// Whether clients send it with requests that pages of other sites make: `strict` (never), `lax` (where a
    /// link leads here) or `none` (always; it is secure then). Default: `lax`.
    pub(in crate::config) same_site: Option<Written<SameSite>>,
    /// Whether clients send it over TLS alone. Default: where the request came so.
    pub(in crate::config) secure: Option<At<bool>>,
}
