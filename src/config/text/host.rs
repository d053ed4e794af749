//! Hosts: the condition of a route and the pattern that names a tenant.

use std::net::IpAddr;

use http::HeaderValue;
use http::uri::Authority;

use crate::config::spec::HostSpec;

use super::address::host_name;
use super::{Text, Wrong};

impl Text for HostSpec {
    const EXPECTED: &'static str = "a host, as in \"shop.example.com\" or \"*.example.com\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let what = format!("{text:?} is not a host");
        if has_port(text) {
            return Err(Wrong::new(what, "leave the port out: a host matches on every port"));
        }
        if is_address(text) {
            return Ok(Self::Exact(text.to_ascii_lowercase()));
        }
        if let Some(below) = text.strip_prefix("*.") {
            return match name(below) {
                Some(name) => Ok(Self::Below(name)),
                None => {
                    Err(Wrong::new(what, "write \"*.example.com\": the star stands first, once"))
                }
            };
        }
        match name(text) {
            Some(name) => Ok(Self::Exact(name)),
            None => Err(Wrong::new(what, "write \"shop.example.com\" or \"*.example.com\"")),
        }
    }
}

/// A host with `{tenant}` in it.
#[derive(Clone, Debug)]
pub(in crate::config) struct HostPattern {
    /// Text before `{tenant}`.
    pub(in crate::config) prefix: String,
    /// Text after `{tenant}`.
    pub(in crate::config) suffix: String,
}

impl Text for HostPattern {
    const EXPECTED: &'static str = "a host with {tenant}, as in \"{tenant}.example.com\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        const HINT: &str = "write a host with {tenant} once, as in \"{tenant}.example.com\"";
        let what = format!("{text:?} does not tell where the tenant stands in the host");
        if has_port(text) {
            return Err(Wrong::new(what, "leave the port out: a host matches on every port"));
        }
        let Some((prefix, suffix)) = text.split_once("{tenant}") else {
            return Err(Wrong::new(what, HINT));
        };
        // A stand-in for the tenant shows whether the rest makes a host.
        if host_name(&format!("{prefix}t{suffix}")).is_none() {
            return Err(Wrong::new(what, HINT));
        }
        Ok(Self { prefix: prefix.to_ascii_lowercase(), suffix: suffix.to_ascii_lowercase() })
    }
}

/// The field `Host` as it is sent to an endpoint.
#[derive(Clone, Debug)]
pub(in crate::config) struct HostField(pub(in crate::config) HeaderValue);

impl Text for HostField {
    const EXPECTED: &'static str =
        "the host of a request, as in \"app.internal\" or \"app.internal:8080\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let is_authority = !text.contains('@') && text.parse::<Authority>().is_ok();
        let value = HeaderValue::from_str(text).ok().filter(|_| is_authority);
        value.map(Self).ok_or_else(|| {
            Wrong::new(
                format!("{text:?} is not the host of a request"),
                "write a name or an address, with a port where it is not the usual one, as in \
                 \"app.internal:8080\"",
            )
        })
    }
}

/// A name of a certificate with `{tenant}` in it. Case counts.
#[derive(Clone, Debug)]
pub(in crate::config) struct NamePattern {
    /// Text before `{tenant}`.
    pub(in crate::config) prefix: String,
    /// Text after `{tenant}`.
    pub(in crate::config) suffix: String,
}

impl Text for NamePattern {
    const EXPECTED: &'static str = "a name with {tenant}, as in \"spiffe://example.com/{tenant}\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text.split_once("{tenant}") {
            Some((prefix, suffix)) if !suffix.contains("{tenant}") => {
                Ok(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
            }
            _ => Err(Wrong::new(
                format!("{text:?} does not tell where the tenant stands in the name"),
                "write a name with {tenant} once, as in \"{tenant}\" or \
                 \"spiffe://example.com/{tenant}\"",
            )),
        }
    }
}

fn name(text: &str) -> Option<String> {
    let name = host_name(text)?;
    Some(name.strip_suffix('.').map_or(name.clone(), str::to_owned))
}

fn is_address(text: &str) -> bool {
    let v6 = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    v6.unwrap_or(text).parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == v6.is_none())
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
    }) && !is_address(text)
}
