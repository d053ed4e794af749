//! Parts of HTTP heads.

use http::{HeaderName, HeaderValue, Method};
use rustls::pki_types::ServerName;

use super::{Text, Wrong};

impl Text for HeaderName {
    const EXPECTED: &'static str = "the name of a header, as in \"X-Tenant-ID\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| {
            Wrong::new(
                format!("{text:?} is not the name of a header"),
                "a name is of letters, digits and '-', as in \"X-Tenant-ID\"",
            )
        })
    }
}

impl Text for HeaderValue {
    const EXPECTED: &'static str = "the value of a header, as text";

    fn read(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| {
            // Not the text: it may be a credential, as of a variable that ends in a line break.
            Wrong::new(
                "the value has a line break or another character that no header may have",
                "a value is of visible characters of ASCII and blanks: take out what else is there, as the \
                 line break at the end of a file",
            )
        })
    }
}

impl Text for Method {
    const EXPECTED: &'static str = "a method, as in \"GET\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let upper = text.to_ascii_uppercase();
        match text.parse() {
            Ok(method) if text == upper && !text.is_empty() => Ok(method),
            Ok(_) if !text.is_empty() => Err(Wrong::new(
                format!("{text:?} is not a method"),
                format!("methods are upper case: write {upper:?}"),
            )),
            _ => Err(Wrong::new(format!("{text:?} is not a method"), "write \"GET\"")),
        }
    }
}

impl Text for ServerName<'static> {
    const EXPECTED: &'static str = "the name in a certificate, as in \"app.internal\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        ServerName::try_from(text.to_owned()).map_err(|_| {
            Wrong::new(
                format!("{text:?} is not a name that a certificate can carry"),
                "write a DNS name or an address without a port, as in \"app.internal\"",
            )
        })
    }
}

impl Text for String {
    const EXPECTED: &'static str = "text";

    fn read(text: &str) -> Result<Self, Wrong> {
        Ok(text.to_owned())
    }
}

/// The `to` of a redirect.
#[derive(Clone, Debug)]
pub(in crate::config) struct Location(pub(in crate::config) String);

impl Text for Location {
    const EXPECTED: &'static str = "a location, as in \"https://{host}{path}{query}\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        const PLACEHOLDERS: &str = "known are {scheme}, {host}, {path}, {query} and {tenant}";
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = format!("{text:?} cannot be a location");
            return Err(Wrong::new(
                what,
                "write it percent-encoded, as in \"https://{host}{path}\"",
            ));
        }
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (_, from) = rest.split_at(at);
            let end = from.find('}').filter(|end| *end > 0);
            let Some(end) = end else {
                return Err(Wrong::new(format!("{text:?} has a brace too many"), PLACEHOLDERS));
            };
            let (placeholder, behind) = from.split_at(end + 1);
            if !["{scheme}", "{host}", "{path}", "{query}", "{tenant}"].contains(&placeholder) {
                let what = format!("{text:?} has the unknown placeholder {placeholder}");
                return Err(Wrong::new(what, PLACEHOLDERS));
            }
            rest = behind;
        }
        let starts = ["/", "http://", "https://", "{scheme}://", "{path}"];
        if !starts.iter().any(|start| text.starts_with(start)) {
            return Err(Wrong::new(
                format!("{text:?} is neither a path nor a URL"),
                "start it with \"/\", \"https://\" or \"{scheme}://\"",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A path prefix to take off.
#[derive(Clone, Debug)]
pub(in crate::config) struct Prefix(pub(in crate::config) String);

impl Text for Prefix {
    const EXPECTED: &'static str = "a path prefix, as in \"/api\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text {
            "" | "/" => Err(Wrong::new(
                format!("{text:?} is a prefix of every path"),
                "write a prefix with a segment, as in \"/api\"",
            )),
            _ => plain_path(text).map(Self),
        }
    }
}

/// What stands in a prefix's place; empty for `"/"`.
#[derive(Clone, Debug)]
pub(in crate::config) struct Replacement(pub(in crate::config) String);

impl Text for Replacement {
    const EXPECTED: &'static str = "a path prefix, as in \"/v2\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text {
            "" | "/" => Ok(Self(String::new())),
            _ => plain_path(text).map(Self),
        }
    }
}

/// The path and query of a health check.
#[derive(Clone, Debug)]
pub(in crate::config) struct Target(pub(in crate::config) String);

impl Text for Target {
    const EXPECTED: &'static str = "a path, as in \"/healthz\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let allowed = |b: u8| b.is_ascii_graphic() && b != b'#';
        if text.starts_with('/')
            && text.bytes().all(allowed)
            && text.parse::<http::uri::PathAndQuery>().is_ok()
        {
            return Ok(Self(text.to_owned()));
        }
        let what = format!("{text:?} is not a path to ask for");
        Err(Wrong::new(what, "write a path with a leading slash, as in \"/healthz\""))
    }
}

/// A path prefix without wildcards and without a slash at its end.
fn plain_path(text: &str) -> Result<String, Wrong> {
    let what = format!("{text:?} is not a path prefix");
    let bad = |b: u8| !b.is_ascii_graphic() || matches!(b, b'?' | b'#' | b'{' | b'}' | b'*');
    if !text.starts_with('/') {
        return Err(Wrong::new(what, format!("start it with a slash: \"/{text}\"")));
    }
    if text.ends_with('/') {
        return Err(Wrong::new(what, format!("write {:?}", text.trim_end_matches('/'))));
    }
    if text.bytes().any(bad) {
        return Err(Wrong::new(what, "write plain segments, as in \"/api/v1\""));
    }
    if text.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Wrong::new(what, "take empty and dot segments out"));
    }
    Ok(text.to_owned())
}
