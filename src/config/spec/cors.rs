//! Which pages of other origins may use a tenant's answers.

use std::fmt;
use std::time::Duration;

use http::HeaderValue;

/// Which pages of other origins may use a tenant's answers, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsSpec {
    /// The origins; never empty.
    pub origins: Vec<OriginSpec>,
    /// The methods that they may use, as the field lists them. Default `GET, HEAD, POST`.
    pub methods: HeaderValue,
    /// The fields that they may send, as the field lists them; `None` = those that all may.
    pub headers: Option<HeaderValue>,
    /// The fields of answers that they may read, as the field lists them; `None` = those that all may.
    pub expose: Option<HeaderValue>,
    /// Whether browsers send cookies and the like. Never with [`OriginSpec::Any`].
    pub credentials: bool,
    /// How long browsers remember it, in whole seconds. Default 10 min.
    pub max_age: Duration,
}

/// Origins of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginSpec {
    /// All of them.
    Any,
    /// This one.
    Exact(Box<str>),
    /// Those with one label between the two.
    Below {
        /// As in `https://`.
        scheme: Box<str>,
        /// As in `.example.com:8443`.
        domain: Box<str>,
    },
}

impl OriginSpec {
    /// Whether an origin is one of them, as browsers write it.
    pub fn has(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => **own == *origin,
            Self::Below { scheme, domain } => {
                let label = origin.strip_prefix(&**scheme);
                let label = label.and_then(|rest| rest.strip_suffix(&**domain));
                let is_of_label =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
                label.is_some_and(|label| !label.is_empty() && label.bytes().all(is_of_label))
            }
        }
    }
}

impl fmt::Display for OriginSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(origin) => f.write_str(origin),
            Self::Below { scheme, domain } => write!(f, "{scheme}*{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label_and_nothing_else() {
        let below = OriginSpec::Below { scheme: "https://".into(), domain: ".example.com".into() };
        for good in ["https://a.example.com", "https://a-1.example.com"] {
            assert!(below.has(good), "{good}");
        }
        for bad in [
            "https://example.com",
            "https://.example.com",
            "https://a.b.example.com",
            "http://a.example.com",
            "https://a.example.com.evil.org",
            "https://evil.org/.example.com",
            "https://evil.org:1.example.com",
            "https://u@a.example.com",
            "https://a.example.com:8443",
            "https://A.example.com",
            "null",
            "",
        ] {
            assert!(!below.has(bad), "{bad}");
        }
        let exact = OriginSpec::Exact("https://example.com".into());
        assert!(exact.has("https://example.com") && !exact.has("https://example.com.evil.org"));
        assert!(OriginSpec::Any.has("null"));
    }
}
