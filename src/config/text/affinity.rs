//! What requests are kept together by.

use schemars::Schema;

use crate::config::spec::{HashBy, SameSite};

use super::{Text, Wrong, one_of};

impl Text for HashBy {
    const EXPECTED: &'static str = "\"tenant\", \"path\" or \"client-address\", or a table, as in \
                                    { header = \"X-User\" } or { cookie = \"session\" }";

    fn read(text: &str) -> Result<Self, Wrong> {
        let word = one_of(text, &["tenant", "path", "client-address"].map(|word| (word, word)))?;
        Ok(match word {
            "tenant" => Self::Tenant,
            "path" => Self::Path,
            _ => Self::ClientAddress,
        })
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["tenant", "path", "client-address"] })
    }
}

impl Text for SameSite {
    const EXPECTED: &'static str = "\"strict\", \"lax\" or \"none\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        one_of(text, &[("strict", Self::Strict), ("lax", Self::Lax), ("none", Self::None)])
    }

    fn schema() -> Schema {
        schemars::json_schema!({ "enum": ["strict", "lax", "none"] })
    }
}

/// The name of a cookie.
#[derive(Clone, Debug)]
pub(in crate::config) struct CookieName(pub(in crate::config) Box<str>);

impl Text for CookieName {
    const EXPECTED: &'static str = "the name of a cookie, as in \"session\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        // RFC 6265 §4.1.1: a token.
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_token) {
            return Ok(Self(text.into()));
        }
        Err(Wrong::new(
            format!("{text:?} is not the name of a cookie"),
            "a name is of up to 128 letters, digits, '-', '_' and '.', as in \"session\"",
        ))
    }
}

/// The path of a cookie.
#[derive(Clone, Debug)]
pub(in crate::config) struct CookiePath(pub(in crate::config) Box<str>);

impl Text for CookiePath {
    const EXPECTED: &'static str = "a path, as in \"/\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        if text.starts_with('/') && text.len() <= LONGEST && text.bytes().all(is_plain) {
            return Ok(Self(text.into()));
        }
        Err(Wrong::new(
            format!("{text:?} is not the path of a cookie"),
            "a path begins with '/' and has no ';' and no blanks, as in \"/shop\"",
        ))
    }
}

/// 128 bytes: clients send it with each request.
const LONGEST: usize = 128;
