//! Where limits are counted for all gateways together.

use std::path::Path;
use std::sync::Arc;

use http::Uri;
use schemars::Schema;

use crate::config::spec::{LimitScope, RedisAt};
use crate::model::address::Address;

use super::{Text, Wrong, one_of};

/// The URL of a server.
#[derive(Clone, Debug)]
pub(in crate::config) struct RedisUrl {
    /// Where it is.
    pub(in crate::config) at: RedisAt,
    /// By TLS.
    pub(in crate::config) secure: bool,
    /// The number of the database.
    pub(in crate::config) database: u16,
    /// As it is written.
    pub(in crate::config) text: String,
}

impl Text for RedisUrl {
    const EXPECTED: &'static str = "a URL, as in \"redis://10.0.0.5:6379\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        const HINT: &str = "write a URL as in \"redis://10.0.0.5:6379\", \"rediss://redis.internal\" or \
                            \"unix:/run/redis.sock\"";
        let wrong = |what: &str| Wrong::new(format!("{text:?} {what}"), HINT);
        if text.starts_with("unix:") {
            let address = text.parse::<Address>();
            let path = address.map_err(|fault| wrong(&format!("is no Unix socket: {fault}")))?;
            let Address::Unix(path) = path else { return Err(wrong("is no Unix socket")) };
            let at = RedisAt::Unix(Arc::<Path>::clone(&path));
            return Ok(Self { at, secure: false, database: 0, text: text.to_owned() });
        }
        if text.contains('@') {
            let hint = "write user = \"…\" and password = \"${…}\" beside it";
            return Err(Wrong::new("the URL has a user in it", hint)); // whose password is not shown
        }
        let url: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        let secure = match url.scheme_str() {
            Some("redis") => false,
            Some("rediss") => true,
            _ => return Err(wrong("begins with neither redis:// nor rediss://")),
        };
        let authority = url.authority().ok_or_else(|| wrong("names no host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        // A port that is no number is kept by the library as a part of the text.
        let written = authority.as_str().len() > authority.host().len();
        let port = authority.port_u16().filter(|port| *port > 0);
        if host.is_empty() || (written && port.is_none()) {
            return Err(wrong("has no host, or a port that is none"));
        }
        let path = url.path_and_query().map_or("", |path| path.as_str().trim_start_matches('/'));
        let is_number = path.bytes().all(|digit| digit.is_ascii_digit());
        let database = if path.is_empty() { Some(0) } else { path.parse().ok() };
        let database = database.filter(|_| is_number);
        let database = database
            .ok_or_else(|| wrong("has something other than the number of a database at its end"))?;
        let at = RedisAt::Net(host, port.unwrap_or(USUAL_PORT));
        Ok(Self { at, secure, database, text: text.to_owned() })
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^rediss?://|^unix:|\$\{",
            "examples": ["redis://10.0.0.5:6379"],
        })
    }
}

/// What keys begin with.
#[derive(Clone, Debug)]
pub(in crate::config) struct KeyPrefix(pub(in crate::config) String);

impl Text for KeyPrefix {
    const EXPECTED: &'static str = "a prefix, as in \"tenantry\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Wrong::new(
            format!("{text:?} is no prefix of keys"),
            "write 1 to 64 letters, digits, '.', '_' and '-', as in \"tenantry\"",
        ))
    }
}

impl Text for LimitScope {
    const EXPECTED: &'static str = "\"gateway\" or \"shared\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("gateway", Self::Gateway), ("shared", Self::Shared)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["gateway", "shared"] })
    }
}

const USUAL_PORT: u16 = 6379;
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_a_url_without_secrets() {
        let read =
            |text: &str| RedisUrl::read(text).ok().map(|url| (url.at, url.secure, url.database));
        let net = |host: &str, port| RedisAt::Net(host.to_owned(), port);
        assert_eq!(read("redis://10.0.0.5"), Some((net("10.0.0.5", 6379), false, 0)));
        assert_eq!(read("rediss://r.test:1/15"), Some((net("r.test", 1), true, 15)));
        assert_eq!(read("redis://[::1]:7/"), Some((net("::1", 7), false, 0)));
        let unix = RedisAt::Unix(Path::new("/run/redis.sock").into());
        assert_eq!(read("unix:/run/redis.sock"), Some((unix, false, 0)));
        for bad in [
            "",
            "redis://",
            "http://a",
            "10.0.0.5:6379",
            "redis://a:0",
            "redis://a:x",
            "redis://a/x",
            "redis://a/1?x",
            "redis://a/70000",
            "redis://:secret@a",
            "unix:redis.sock",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
