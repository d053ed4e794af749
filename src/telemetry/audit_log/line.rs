//! A line of the audit log: what it tells.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When, as RFC 3339 in UTC.
    pub time: String,
    /// What it tells of.
    pub event: Event,
    /// What the answer has in `X-Request-ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// As the file of tokens or a certificate has it, or what else has brought it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// By what it is known: `token`, with the first digits of its digest, or `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// What it may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The address that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The method of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Its path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The tenant that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What else it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Whether it only asked what would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The generation that was live, and the one that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Turn<u64>>,
    /// The tag of what was kept of the tenant, and of what is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<Turn<Option<String>>>,
    /// The keys that are others: never their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// What is other in a generation, as the history has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Value>,
    /// How many problems files have that are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<usize>,
    /// How many lines were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Somebody has asked for a change.
    Request,
    /// A generation is live.
    Generation,
    /// Files were refused; what was live stays.
    FilesRefused,
    /// So many requests that were refused have no line of their own.
    LeftOut,
}

/// What was, and what is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn<T> {
    /// Before.
    pub before: T,
    /// After.
    pub after: T,
}

/// The names of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// New ones.
    pub added: Vec<String>,
    /// Those with another value.
    pub changed: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

impl Keys {
    /// Adds one, by whether it was there and is there.
    pub fn add(&mut self, key: &str, was: bool, is: bool) {
        if self.added.len() + self.changed.len() + self.removed.len() >= MOST_KEYS {
            self.more += 1;
            return;
        }
        let list = match (was, is) {
            (false, _) => &mut self.added,
            (true, true) => &mut self.changed,
            (true, false) => &mut self.removed,
        };
        list.push(key.chars().take(LONGEST_KEY).collect());
    }
}

impl Line {
    /// Of now, with nothing said.
    pub fn new(event: Event) -> Self {
        Self {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            event,
            id: None,
            who: None,
            shown: None,
            role: None,
            from: None,
            method: None,
            path: None,
            tenant: None,
            about: None,
            dry_run: None,
            status: None,
            generation: None,
            etag: None,
            keys: None,
            diff: None,
            problems: None,
            count: None,
        }
    }

    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        match serde_json::to_writer(&mut *bytes, self) {
            Ok(()) => bytes.push(b'\n'),
            Err(error) => tracing::error!(%error, "a line of the audit log cannot be made: a bug"),
        }
    }
}

/// 50: more than one reads in a line.
pub(super) const MOST_KEYS: usize = 50;

/// 200 characters: a key may have a name of the caller's own.
const LONGEST_KEY: usize = 200;
