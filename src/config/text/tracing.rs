//! Where spans go, and how.

use http::Uri;
use schemars::Schema;

use crate::config::spec::{ContextFormat, ExporterKind, IncomingTrust};

use super::{Text, Wrong, one_of};

impl Text for ExporterKind {
    const EXPECTED: &'static str = "\"otlp-http\", \"otlp-grpc\" or \"zipkin\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let known = [
            ("otlp-http", Self::OtlpHttp),
            ("otlp-grpc", Self::OtlpGrpc),
            ("zipkin", Self::Zipkin),
        ];
        one_of(text, &known)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["otlp-http", "otlp-grpc", "zipkin"] })
    }
}

impl Text for IncomingTrust {
    const EXPECTED: &'static str = "\"follow\", \"join\" or \"ignore\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let known = [("follow", Self::Follow), ("join", Self::Join), ("ignore", Self::Ignore)];
        one_of(text, &known)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["follow", "join", "ignore"] })
    }
}

impl Text for ContextFormat {
    const EXPECTED: &'static str = "\"w3c\", \"b3\" or \"b3-multi\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("w3c", Self::W3c), ("b3", Self::B3), ("b3-multi", Self::B3Multi)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["w3c", "b3", "b3-multi"] })
    }
}

/// The URL of a collector.
#[derive(Clone, Debug)]
pub(in crate::config) struct CollectorUrl {
    /// `https`.
    pub(in crate::config) secure: bool,
    /// Without brackets.
    pub(in crate::config) host: String,
    /// `None` where none is written.
    pub(in crate::config) port: Option<u16>,
    /// With the query; `None` where there is none.
    pub(in crate::config) path: Option<String>,
}

impl Text for CollectorUrl {
    const EXPECTED: &'static str = "a URL, as in \"http://127.0.0.1:4318\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        const HINT: &str =
            "write a URL as in \"http://127.0.0.1:4318\" or \"https://otel.example\"";
        read_url(text, HINT, "write headers = { Authorization = \"Basic …\" } in its place")
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^https?://|\$\{",
            "examples": ["http://127.0.0.1:4318"],
        })
    }
}

/// Reads the URL of a service that the gateway itself asks; `user` tells who wrote a user into it what to do
/// in its place.
pub(super) fn read_url(
    text: &str,
    hint: &'static str,
    user: &'static str,
) -> Result<CollectorUrl, Wrong> {
    let wrong = |what: &str| Wrong::new(format!("{text:?} {what}"), hint);
    let url: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
    let secure = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong("begins with neither http:// nor https://")),
    };
    let authority = url.authority().ok_or_else(|| wrong("names no host"))?;
    if authority.as_str().contains('@') {
        return Err(Wrong::new("the URL has a user in it", user)); // whose password is not shown
    }
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    // A port that is no number is kept by the library as a part of the text.
    let written = authority.as_str().len() > authority.host().len();
    let port = authority.port_u16().filter(|port| *port > 0);
    if host.is_empty() || (written && port.is_none()) {
        return Err(wrong("has no host, or a port that is none"));
    }
    let path = url.path_and_query().map(|path| path.as_str().to_owned());
    Ok(CollectorUrl { secure, host, port, path: path.filter(|path| path != "/") })
}

impl CollectorUrl {
    /// Host and port as they are written, without the usual port, and the port.
    pub(in crate::config) fn authority(&self) -> (String, u16) {
        let usual = if self.secure { 443 } else { 80 };
        let bracketed = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            Some(port) if port != usual => (format!("{bracketed}:{port}"), port),
            _ => (bracketed, usual),
        }
    }
}
