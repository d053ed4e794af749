//! Credentials and what belongs to them.

use std::sync::Arc;
use std::time::SystemTime;

use http::uri::PathAndQuery;
use schemars::Schema;

use crate::config::spec::{AskedPart, CredentialKind, OnError};
use crate::model::key::KeyDigest;

use super::{Text, Wrong, one_of};

impl Text for CredentialKind {
    const EXPECTED: &'static str = "\"api-key\", \"jwt\" or \"client-certificate\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let known = [Self::ApiKey, Self::Token, Self::Certificate];
        one_of(text, &known.map(|kind| (kind.as_str(), kind)))
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["api-key", "jwt", "client-certificate"] })
    }
}

impl Text for OnError {
    const EXPECTED: &'static str = "\"deny\" or \"allow\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("deny", Self::Deny), ("allow", Self::Allow)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["deny", "allow"] })
    }
}

impl Text for AskedPart {
    const EXPECTED: &'static str = "\"method\", \"uri\", \"proto\", \"host\" or \"for\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let words = [
            ("method", Self::Method),
            ("uri", Self::Uri),
            ("proto", Self::Proto),
            ("host", Self::Host),
            ("for", Self::For),
        ];
        one_of(text, &words)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["method", "uri", "proto", "host", "for"] })
    }
}

impl Text for PathAndQuery {
    const EXPECTED: &'static str = "a path, as in \"/check\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let path = Some(text).filter(|text| text.starts_with('/'));
        let path = path.and_then(|text| text.parse::<Self>().ok());
        let path = path.filter(|path| path.as_str() == text); // a fragment would be cut off
        let wrong = || Wrong::new(format!("{text:?} is no path"), "write one as in \"/check\"");
        path.ok_or_else(wrong)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "type": "string", "pattern": r"^/|\$\{" })
    }
}

/// A kind of credentials that names a tenant.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Naming(pub(in crate::config) CredentialKind);

impl Text for Naming {
    const EXPECTED: &'static str = "\"api-key\" or \"jwt\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let known = [CredentialKind::ApiKey, CredentialKind::Token];
        one_of(text, &known.map(|kind| (kind.as_str(), kind))).map(Self)
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["api-key", "jwt"] })
    }
}

impl Text for KeyDigest {
    const EXPECTED: &'static str = "the digest of a key, as in \"sha256:…\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        // Not what was written: it may be the key itself.
        text.parse().map_err(|()| {
            Wrong::new(
                "is not the digest of a key",
                "write \"sha256:\" and 64 hexadecimal digits, as tenantry key prints them",
            )
        })
    }
}

/// Who somebody is.
#[derive(Clone, Debug)]
pub(in crate::config) struct Subject(pub(in crate::config) Arc<str>);

impl Text for Subject {
    const EXPECTED: &'static str = "a name of somebody, as in \"ci@acme\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let inner = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !(1..=128).contains(&text.len()) || !inner || text.trim() != text {
            let what = format!("{text:?} cannot be sent in a header");
            return Err(Wrong::new(what, "write 1 to 128 letters, digits and marks, as in \"ci\""));
        }
        Ok(Self(text.into()))
    }
}

/// When something stops being valid.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Expiry(pub(in crate::config) SystemTime);

impl Text for Expiry {
    const EXPECTED: &'static str = "a day or a time in quotation marks, as in \"2027-01-31\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
        humantime::parse_rfc3339(&whole).map(Self).map_err(|_| {
            Wrong::new(
                format!("{text:?} is not a day and not a time of UTC"),
                "write \"2027-01-31\" or \"2027-01-31T12:00:00Z\"",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_day_or_a_time_of_utc() {
        let read = |text| Expiry::read(text).ok().map(|expiry| expiry.0);
        let seconds = |text| read(text).map(humantime::format_rfc3339_seconds);

        let told = |text| seconds(text).map(|time| time.to_string());
        assert_eq!(told("2027-01-31").as_deref(), Some("2027-01-31T00:00:00Z"));
        assert_eq!(told("2027-01-31T12:00:00Z").as_deref(), Some("2027-01-31T12:00:00Z"));
        for wrong in ["", "2027", "2027-13-01", "2027-01-31 12:00", "31.01.2027", "tomorrow"] {
            assert_eq!(told(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_digest_is_not_repeated_in_what_is_said_of_it() {
        let wrong = KeyDigest::read("tenantry_secret").err().unwrap();

        assert!(!wrong.what.contains("secret") && !wrong.hint.contains("secret"));
    }
}
