//! HTTP messages as the tests look at them.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// A request as an origin got it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// `GET`.
    pub(crate) method: String,
    /// The target as it stood on the wire; in HTTP/2 the path.
    pub(crate) target: String,
    /// The fields; in HTTP/2 `host` stands for `:authority` and `:scheme` for that.
    pub(crate) headers: HeaderMap,
    /// The body so far, without its framing.
    pub(crate) body: Vec<u8>,
    /// The trailers.
    pub(crate) trailers: HeaderMap,
    /// It came to its end.
    pub(crate) whole: bool,
    /// The origin's connection that it came on, from 0.
    pub(crate) connection: usize,
}

impl Asked {
    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        all(&self.headers, name)
    }

    /// The value of a field that is there once.
    pub(crate) fn one(&self, name: &str) -> Option<String> {
        one(&self.headers, name)
    }
}

/// An answer as a client got it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The status; 0 where none came.
    pub(crate) status: u16,
    /// The fields.
    pub(crate) headers: HeaderMap,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
    /// The trailers.
    pub(crate) trailers: HeaderMap,
    /// It came to its end as its framing says. An answer that ends with its connection and says
    /// no length counts as whole.
    pub(crate) whole: bool,
    /// The 1xx that came before it.
    pub(crate) interim: Vec<u16>,
}

impl Answer {
    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        all(&self.headers, name)
    }

    /// The value of a field that is there once.
    pub(crate) fn one(&self, name: &str) -> Option<String> {
        one(&self.headers, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The name of the problem, where it is a problem document.
    pub(crate) fn problem(&self) -> Option<String> {
        let json = self.json();
        Some(json["type"].as_str()?.strip_prefix("urn:tenantry:problem:")?.to_owned())
    }
}

/// All values of a field of these, in order.
pub(crate) fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

fn one(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = all(headers, name);
    assert!(values.len() <= 1, "{name} is there more than once: {values:?}");
    values.pop()
}

/// Reads the lines of fields. One that is none is noted as `x-invalid`.
pub(crate) fn fields<'l>(lines: impl Iterator<Item = &'l str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match (HeaderName::try_from(name), HeaderValue::try_from(value.trim())) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => headers.append("x-invalid", HeaderValue::from_static("1")),
        };
    }
    headers
}

/// Bytes that are told apart by their place.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 + at / 251) as u8).collect()
}
