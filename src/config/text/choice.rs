//! Words out of a few, and words beside which something else may stand.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::Schema;

use crate::base::fair::Class;
use crate::config::spec::{
    ChainField, ClientCertificatesMode, LimitFields, LogFormat, PathTenant, Protocol, ProxyVersion,
    TenantState,
};

use super::{Text, Wrong, one_of};

impl Text for TenantState {
    const EXPECTED: &'static str = "\"active\", \"maintenance\" or \"suspended\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let known = [
            ("active", Self::Active),
            ("maintenance", Self::Maintenance),
            ("suspended", Self::Suspended),
        ];
        one_of(text, &known)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["active", "maintenance", "suspended"] })
    }
}

impl Text for Class {
    const EXPECTED: &'static str = "\"critical\", \"normal\" or \"batch\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &Self::ALL.map(|class| (class.as_str(), class)))
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["critical", "normal", "batch"] })
    }
}

impl Text for Protocol {
    const EXPECTED: &'static str = "\"h1\" or \"h2\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("h1", Self::H1), ("h2", Self::H2)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["h1", "h2"] })
    }
}

impl Text for ProxyVersion {
    const EXPECTED: &'static str = "\"v1\" or \"v2\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("v1", Self::V1), ("v2", Self::V2)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["v1", "v2"] })
    }
}

/// What becomes of a request beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Beyond {
    /// It is refused.
    Reject,
    /// It waits.
    Wait,
}

impl Text for Beyond {
    const EXPECTED: &'static str = "\"reject\" or \"wait\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("reject", Self::Reject), ("wait", Self::Wait)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["reject", "wait"] })
    }
}

impl Text for LimitFields {
    const EXPECTED: &'static str = "\"refused\" or \"always\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("refused", Self::Refused), ("always", Self::Always)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["refused", "always"] })
    }
}

impl Text for ChainField {
    const EXPECTED: &'static str = "\"x-forwarded-for\" or \"forwarded\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let known = [("x-forwarded-for", Self::XForwardedFor), ("forwarded", Self::Forwarded)];
        one_of(&text.to_ascii_lowercase(), &known)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["x-forwarded-for", "forwarded"] })
    }
}

impl Text for LogFormat {
    const EXPECTED: &'static str = "\"text\" or \"json\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("text", Self::Text), ("json", Self::Json)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["text", "json"] })
    }
}

/// What becomes of the path segment that named the tenant.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct PathKeep(pub(in crate::config) PathTenant);

impl Text for PathKeep {
    const EXPECTED: &'static str = "\"strip\" or \"keep\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("strip", PathTenant::Strip), ("keep", PathTenant::Keep)]).map(Self)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["strip", "keep"] })
    }
}

/// Whether clients show certificates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum ClientMode {
    /// Nobody is asked.
    Off,
    /// As [`ClientCertificatesMode`] says.
    On(ClientCertificatesMode),
}

impl Text for ClientMode {
    const EXPECTED: &'static str = "\"required\", \"optional\" or \"off\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let on = [
            ("required", Self::On(ClientCertificatesMode::Required)),
            ("optional", Self::On(ClientCertificatesMode::Optional)),
            ("off", Self::Off),
        ];
        one_of(text, &on)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["required", "optional", "off"] })
    }
}

/// The word `request-id`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct RequestId;

impl Text for RequestId {
    const EXPECTED: &'static str = "\"request-id\" or { header = \"X-User\" }";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text {
            "request-id" => Ok(Self),
            _ => Err(Wrong::new(
                format!("{text:?} cannot decide a split"),
                "write \"request-id\" or { header = \"X-User\" }",
            )),
        }
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "const": "request-id" })
    }
}

/// An address, or `off`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct AdminAddress(pub(in crate::config) Option<SocketAddr>);

impl Text for AdminAddress {
    const EXPECTED: &'static str = "an address with a port, as in \"127.0.0.1:9900\", or \"off\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text.parse() {
            _ if text == "off" => Ok(Self(None)),
            Ok(address) => Ok(Self(Some(address))),
            Err(_) => Err(Wrong::new(
                format!("{text:?} is not an address with a port"),
                "write an address as in \"127.0.0.1:9900\", or \"off\"",
            )),
        }
    }
}

/// A folder, or `off`.
#[derive(Clone, Debug)]
pub(in crate::config) struct StateFolder(pub(in crate::config) Option<PathBuf>);

impl Text for StateFolder {
    const EXPECTED: &'static str = "a folder, as in \"state\", or \"off\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text {
            "" => {
                Err(Wrong::new("the path is empty", "write a folder, as in \"state\", or \"off\""))
            }
            "off" => Ok(Self(None)),
            folder => Ok(Self(Some(PathBuf::from(folder)))),
        }
    }
}

/// Where the access log goes when it does not go to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum AccessOutput {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
}

impl Text for AccessOutput {
    const EXPECTED: &'static str = "\"off\" or \"stdout\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("off", Self::Off), ("stdout", Self::Stdout)])
            .map_err(|wrong| Wrong::new(wrong.what, format!("{}, or file = \"…\"", wrong.hint)))
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["off", "stdout"] })
    }
}

/// A filter of the log.
#[derive(Clone, Debug)]
pub(in crate::config) struct Filter(pub(in crate::config) String);

impl Text for Filter {
    const EXPECTED: &'static str =
        "a log filter, as in \"info\" or \"warn,tenantry::control=debug\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        // A word that is no level would be taken for a part of the program, and nothing logged.
        let is_word = |part: &&str| {
            !part.contains(['=', ':', '[']) && !part.is_empty() && *part != env!("CARGO_PKG_NAME")
        };
        let is_level = |part: &str| LEVELS.contains(&part.to_ascii_lowercase().as_str());
        if let Some(word) = text.split(',').map(str::trim).find(|w| is_word(w) && !is_level(w)) {
            let what = format!("{word:?} is no level of the log");
            let hint = "write error, warn, info, debug, trace or off, or a part of the program as in \
                        \"warn,tenantry::control=debug\"";
            return Err(Wrong::new(what, hint));
        }
        match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) if !text.trim().is_empty() => Ok(Self(text.to_owned())),
            _ => Err(Wrong::new(
                format!("{text:?} is not a log filter"),
                "write \"info\" or \"warn,tenantry::control=debug\"",
            )),
        }
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
