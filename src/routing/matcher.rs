//! Conditions of a route beyond host and path: method, headers, query.

use http::{HeaderMap, HeaderName, Method};

use crate::config::spec::{RouteSpec, ValueSpec};

/// What a route is looked up by.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The host, lower case and without a port, as [`super::host::of`] gives it.
    pub host: Option<&'a str>,
    /// The path as the client sent it, or what naming the tenant left of it.
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The request's fields.
    pub headers: &'a HeaderMap,
    /// The query without its `?`.
    pub query: Option<&'a str>,
}

/// Conditions of a route beyond host and path. All must hold.
#[derive(Debug)]
pub(super) struct Conditions {
    /// Any of them; empty = any at all.
    methods: Box<[Method]>,
    headers: Box<[(HeaderName, ValueSpec)]>,
    query: Box<[(String, ValueSpec)]>,
}

impl Conditions {
    pub(super) fn new(route: &RouteSpec) -> Self {
        Self {
            methods: route.methods.clone().into(),
            headers: route.headers.clone().into(),
            query: route.query.clone().into(),
        }
    }

    pub(super) fn hold(&self, request: &Query<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(request.method))
            && self.headers.iter().all(|(name, value)| has_field(request.headers, name, value))
            && self.query.iter().all(|(name, value)| has_parameter(request.query, name, value))
    }
}

pub(super) fn has_field(headers: &HeaderMap, name: &HeaderName, wanted: &ValueSpec) -> bool {
    match wanted {
        ValueSpec::Present => headers.contains_key(name),
        ValueSpec::Is(text) => {
            headers.get_all(name).iter().any(|value| value.as_bytes() == text.as_bytes())
        }
    }
}

/// Names and values are compared as an HTML form means them: `+` is a space, `%2F` a slash. A
/// parameter without `=` has the empty value.
pub(super) fn has_parameter(query: Option<&str>, name: &str, wanted: &ValueSpec) -> bool {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).any(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let fits = match wanted {
            ValueSpec::Present => true,
            ValueSpec::Is(text) => means(value, text),
        };
        fits && means(key, name)
    })
}

/// Whether `raw` decodes to `text`, without decoding it into memory. A `%` that two hexadecimal
/// digits do not follow stands for itself.
fn means(raw: &str, text: &str) -> bool {
    let mut bytes = raw.bytes();
    let decoded = std::iter::from_fn(|| match bytes.next()? {
        b'+' => Some(b' '),
        b'%' => {
            let mut ahead = bytes.clone();
            let Some(byte) = digit(ahead.next()).zip(digit(ahead.next())) else {
                return Some(b'%');
            };
            bytes = ahead;
            Some(byte.0 << 4 | byte.1)
        }
        byte => Some(byte),
    });
    decoded.eq(text.bytes())
}

fn digit(byte: Option<u8>) -> Option<u8> {
    let value = char::from(byte?).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_compared_decoded() {
        let is = |text: &str| ValueSpec::Is(text.into());
        let check = |query: &str, name: &str, wanted: &ValueSpec, expected: bool| {
            assert_eq!(has_parameter(Some(query), name, wanted), expected, "{query} {wanted:?}");
        };

        check("a=1&b=2", "b", &is("2"), true);
        check("a=1&b=2", "b", &is("1"), false);
        check("q=a+b", "q", &is("a b"), true);
        check("q=a%20b%2Fc%C3%A4", "q", &is("a b/cä"), true);
        check("%71=1", "q", &ValueSpec::Present, true);
        check("q=%", "q", &is("%"), true);
        check("q=%2", "q", &is("%2"), true);
        check("q=%zz", "q", &is("%zz"), true);
        check("q=1&q=2", "q", &is("2"), true);
        check("q", "q", &is(""), true);
        check("", "q", &ValueSpec::Present, false);
        check("&&", "", &ValueSpec::Present, false);
        assert!(!has_parameter(None, "q", &ValueSpec::Present));
    }
}
