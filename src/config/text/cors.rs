//! Origins of pages.

use crate::config::spec::OriginSpec;

use super::{Text, Wrong};

impl Text for OriginSpec {
    const EXPECTED: &'static str = "an origin, as in \"https://app.example.com\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        const HINT: &str = "write scheme, host and port alone, in lower case, as in \
                            \"https://app.example.com\" or \"https://*.example.com\"";
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = |why: &str| Err(Wrong::new(format!("{text:?} {why}"), HINT));
        let Some((scheme, authority)) = text.split_once("://") else {
            return wrong("is no origin");
        };
        let is_scheme = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        let is_host =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.:[]".contains(&b);
        let below = authority.strip_prefix('*').filter(|domain| domain.starts_with('.'));
        let host = below.map_or(authority, |domain| domain.trim_start_matches('.'));
        let (has_scheme, has_host) = (!scheme.is_empty(), !host.is_empty());
        if !has_scheme || !has_host || !scheme.bytes().all(is_scheme) || !host.bytes().all(is_host)
        {
            return wrong("is no origin as browsers write it");
        }
        if matches!(
            (scheme, host.rsplit_once(':')),
            ("https", Some((_, "443"))) | ("http", Some((_, "80")))
        ) {
            return wrong("has a port that browsers leave out");
        }
        Ok(match below {
            Some(domain) => {
                Self::Below { scheme: format!("{scheme}://").into(), domain: domain.into() }
            }
            None => Self::Exact(text.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_it_is_written_or_refused() {
        for good in
            ["*", "https://a.com", "http://localhost:3000", "https://*.a.com", "http://[::1]:8"]
        {
            assert_eq!(
                OriginSpec::read(good).ok().map(|read| read.to_string()).as_deref(),
                Some(good)
            );
        }
        for bad in [
            "",
            "a.com",
            "https://",
            "https://a.com/",
            "https://A.com",
            "https://*",
            "https://*.",
            "https://*a.com",
            "https://a.*.com",
            "https://*.*.com",
            "https://a.com:443",
            "https://u@a.com",
            "HTTPS://a.com",
            "https://a.com/x",
            "null",
            "https://a.com, https://b.com",
            "http://a.com:80",
        ] {
            assert!(OriginSpec::read(bad).is_err(), "{bad}");
        }
    }
}
