//! Hosts: what a request's host is, and which routes are for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use memchr::memchr;

use crate::config::spec::{HostSpec, RouteSpec};

use super::matcher::Query;
use super::path::Paths;
use super::route::Route;

/// The host and port that a request asks for, as sent: the authority of its target, else its one
/// `Host` field. `None` where there is none, there are several, or it is no host.
pub fn authority(head: &Parts) -> Option<&str> {
    let text = if let Some(authority) = head.uri.authority() {
        authority.as_str()
    } else {
        let mut fields = head.headers.get_all(HOST).iter();
        let only = fields.next().filter(|_| fields.next().is_none())?;
        // What else a field may hold is no host; and this looks at many bytes at once.
        std::str::from_utf8(only.as_bytes()).ok()?
    };
    split(text).map(|_| text)
}

/// Whether a text is a host, with a port or without, and nothing else.
pub fn is_valid(text: &str) -> bool {
    split(text).is_some()
}

/// The host that a request asks for: lower case, without the port and a last dot. It allocates
/// only where a letter is upper case. `None` as for [`authority`].
pub fn of(head: &Parts) -> Option<Cow<'_, str>> {
    let host = split(authority(head)?)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(host.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(host))
}

/// The host of an authority that is a name or an address with or without a port, and nothing else:
/// no user name, no path.
fn split(authority: &str) -> Option<&str> {
    let bytes = authority.as_bytes();
    let end = match bytes.first() {
        Some(b'[') => memchr(b']', bytes)? + 1,
        _ => memchr(b':', bytes).unwrap_or(bytes.len()),
    };
    let (host, port) = authority.split_at_checked(end)?;
    let good_port = match port.strip_prefix(':') {
        Some(digits) => {
            let plain = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain && (digits.len() < 5 || digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    let good_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= MAX_BYTES
                && host.bytes().all(|byte| PLAIN[usize::from(byte)])
        }
    };
    (good_port && good_host).then_some(host)
}

/// Which bytes a name may have: looked up, since every request has one.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        plain[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        byte += 1;
    }
    plain
};

/// Routes by host, each host with its own paths.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<str>, Paths>,
    /// `*.x` under `x`.
    below: HashMap<Box<str>, Paths>,
    any: Paths,
}

impl Hosts {
    /// Adds a route. Of equal ranks the one added first wins.
    pub(super) fn insert(&mut self, spec: &RouteSpec, route: Arc<Route>) {
        let paths = match &spec.host {
            Some(HostSpec::Exact(host)) => self.exact.entry(host.as_str().into()).or_default(),
            Some(HostSpec::Below(host)) => self.below.entry(host.as_str().into()).or_default(),
            None => &mut self.any,
        };
        paths.insert(&spec.path, route);
    }

    /// The most specific route: exact host, then the longest host it is below of, then any.
    pub(super) fn find(&self, request: &Query<'_>) -> Option<&Arc<Route>> {
        request
            .host
            .filter(|host| host.len() <= MAX_BYTES)
            .and_then(|host| self.find_for(host, request))
            .or_else(|| self.any.find(request))
    }

    fn find_for(&self, host: &str, request: &Query<'_>) -> Option<&Arc<Route>> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        if let Some(route) = exact.and_then(|paths| paths.find(request)) {
            return Some(route);
        }
        if self.below.is_empty() {
            return None;
        }
        let dots = host.match_indices('.').filter(|(at, _)| *at > 0);
        let parents = dots.filter_map(|(at, _)| host.get(at + 1..));
        parents.filter_map(|parent| self.below.get(parent)).find_map(|paths| paths.find(request))
    }
}

/// The longest name in the DNS. It also bounds the work that a host of many dots makes.
const MAX_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn host_of(uri: &str, fields: &[&str]) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        for field in fields {
            request = request.header(HOST, *field);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        of(&head).map(Cow::into_owned)
    }

    fn check(field: &str, expected: Option<&str>) {
        assert_eq!(host_of("/", &[field]).as_deref(), expected, "{field:?}");
    }

    #[test]
    fn a_host_is_lower_case_and_without_its_port() {
        check("Example.COM:8080", Some("example.com"));
        check("example.com.", Some("example.com"));
        check("example.com:", Some("example.com"));
        check("10.0.0.1:80", Some("10.0.0.1"));
        check("[::1]:80", Some("[::1]"));
        check("[::1]", Some("[::1]"));
    }

    #[test]
    fn what_is_no_host_is_none() {
        for bad in [
            "", ":80", "a b", "a,b", "a/b", "u@a", "a:b", "a:123456", "[::1", "[x]", "[::1]x", "ä",
            "a\\b", "a?b", "a#b",
        ] {
            check(bad, None);
        }
        check(&"a".repeat(256), None);
    }

    #[test]
    fn the_targets_authority_stands_before_the_field_and_two_fields_are_none() {
        assert_eq!(host_of("http://a.com/x", &["b.com"]).as_deref(), Some("a.com"));
        assert_eq!(host_of("/", &["a.com", "a.com"]), None);
        assert_eq!(host_of("/", &[]), None);
        assert_eq!(host_of("http://user@a.com/", &[]), None);
    }
}
