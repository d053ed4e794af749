//! What is tried again, and what is tried twice at once.

use http::StatusCode;
use schemars::Schema;

use crate::config::spec::RetryOn;
use crate::model::grpc::{GrpcStatus, NAMES};

use super::{Text, Wrong};

impl Text for RetryOn {
    const EXPECTED: &'static str =
        "\"connect\", \"reset\", \"timeout\", a status as in \"503\" or \"grpc-unavailable\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text {
            "connect" => return Ok(Self::Connect),
            "reset" => return Ok(Self::Reset),
            "timeout" => return Ok(Self::Timeout),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("grpc-") {
            return GrpcStatus::named(name).map(Self::Grpc).ok_or_else(|| {
                Wrong::new(
                    format!("{text:?} is no status of a failed call of gRPC"),
                    format!("known are {}", NAMES.map(|name| format!("grpc-{name}")).join(", ")),
                )
            });
        }
        let status = text.parse::<StatusCode>().ok();
        match status.filter(|status| (400..600).contains(&status.as_u16())) {
            Some(status) => Ok(Self::Status(status)),
            None => Err(Wrong::new(
                format!("{text:?} cannot be retried"),
                "write \"connect\", \"reset\", \"timeout\", a status from 400 to 599 as in \"503\", or \
                 one of gRPC as in \"grpc-unavailable\"",
            )),
        }
    }

    fn schema() -> Schema {
        let grpc = NAMES.join("|");
        schemars::json_schema!({
            "type": "string",
            "pattern": format!(r"^(connect|reset|timeout|[45][0-9][0-9]|grpc-({grpc}))$|\$\{{"),
        })
    }
}

/// How slow a first attempt must be for a second one: slower than so many per cent of those of late;
/// `None` = however slow it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct HedgeAfter(pub(in crate::config) Option<u8>);

impl Text for HedgeAfter {
    const EXPECTED: &'static str = "a quantile as in \"p95\", or \"off\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        if text == "off" {
            return Ok(Self(None));
        }
        let digits = text.strip_prefix('p').filter(|digits| digits.len() == 2);
        let share = digits.and_then(|digits| digits.parse::<u8>().ok());
        match share.filter(|share| (50..=99).contains(share)) {
            Some(share) => Ok(Self(Some(share))),
            None => Err(Wrong::new(
                format!("{text:?} is not a quantile from p50 to p99"),
                "write \"p95\" for slower than 95 of 100, or \"off\"",
            )),
        }
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^(p[5-9][0-9]|off)$|\$\{",
            "examples": ["p95", "off"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_grpc_is_one_of_a_failed_call() {
        assert_eq!(
            RetryOn::read("grpc-resource-exhausted").ok().map(|on| on.to_string()).as_deref(),
            Some("grpc-resource-exhausted")
        );
        for wrong in ["grpc-ok", "grpc-14", "grpc-", "grpc-UNAVAILABLE", "200", "600", "tls"] {
            assert!(RetryOn::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_quantile_is_one_of_the_upper_half() {
        assert_eq!(HedgeAfter::read("p95").ok(), Some(HedgeAfter(Some(95))));
        assert_eq!(HedgeAfter::read("off").ok(), Some(HedgeAfter(None)));
        for wrong in ["p49", "p100", "p+5", "95", "p9", "p99.9", "P95", ""] {
            assert!(HedgeAfter::read(wrong).is_err(), "{wrong}");
        }
    }
}
