//! Why a collector has not taken what it was sent.

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, RETRY_AFTER};

use crate::config::spec::ExporterKind;

/// Why a request to the collector came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// There is no connection.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The connection broke off before an answer.
    #[error("the connection broke off: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It says that it may take it later.
    #[error("it is busy: {why}")]
    Busy { why: String, after: Option<Duration> },
    /// It says that it will never take it.
    #[error("it refuses: {0}")]
    Refused(String),
}

impl Fault {
    /// The metrics' word for it. Never rename one.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
            Self::Timeout(_) => "timeout",
            Self::Busy { .. } => "busy",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether the same may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// What may be wrong with the configuration, where it is that as a rule.
    pub(super) fn hint(&self, exporter: ExporterKind, is_secure: bool) -> &'static str {
        match (self, exporter) {
            (Self::Unreachable(_), _) if is_secure => {
                "look at the address, at what certificate is shown there, and at tls.ca"
            }
            (Self::Unreachable(_), _) => "look at the address, and whether the collector runs",
            (Self::Broken(_), _) if !is_secure => WRONG_PORT,
            (Self::Refused(_), ExporterKind::OtlpGrpc) => "look at headers, and at the address",
            (Self::Refused(_), _) => "look at the path of the url, and at headers",
            _ => "look at the collector's own log",
        }
    }

    /// How long it asks to be left alone.
    pub(super) fn after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }
}

const WRONG_PORT: &str = "does the collector speak the exporter's protocol there? As a rule OTLP is at port 4318 over HTTP, at \
     4317 over gRPC; or it wants https";

/// Every word of [`Fault::reason`].
pub(super) const REASONS: [&str; 5] = ["unreachable", "broken", "timeout", "busy", "refused"];

/// What `Retry-After` says: seconds, or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_be_left_alone_is_seconds_or_a_date() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!((of("soon"), of("-1")), (None, None));
    }
}
