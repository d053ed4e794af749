//! What must not get into a log: the values of query parameters and of fields that carry secrets.

use std::borrow::Cow;

use http::HeaderName;

use crate::model::fields::look_alike;
use crate::model::key::KEY_PREFIX;

/// Names whose values are not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Query parameters, in lower case. `-`, `_` and `.` are the same.
    pub query: Vec<String>,
    /// Fields of a head.
    pub headers: Vec<HeaderName>,
}

impl Mask {
    /// A target, or a whole URL, with the values of its parameters masked.
    pub fn target<'t>(&self, target: &'t str) -> Cow<'t, str> {
        let Some(at) = target.find(['?', '#']) else { return Cow::Borrowed(target) };
        let (path, query) = target.split_at(at);
        // A token may be in what follows a `#` too, where a page has put it.
        let mut masked = String::new();
        for piece in query.split_inclusive(['?', '#', '&', ';']) {
            let end = piece.len() - usize::from(piece.ends_with(['?', '#', '&', ';']));
            let (parameter, mark) = piece.split_at(end);
            match parameter.split_once('=') {
                Some((name, value)) if !value.is_empty() && self.hides(name) => {
                    masked.push_str(name);
                    masked.push('=');
                    masked.push_str(MASKED);
                }
                _ => masked.push_str(parameter),
            }
            masked.push_str(mark);
        }
        match masked == query {
            true => Cow::Borrowed(target),
            false => Cow::Owned(format!("{path}{masked}")),
        }
    }

    /// The value of a field of a head.
    pub(super) fn header<'v>(&self, name: &HeaderName, value: &'v str) -> Cow<'v, str> {
        // Routes name the header of keys, and may name another one while this runs.
        if self.headers.contains(name) || value.contains(KEY_PREFIX) {
            return Cow::Borrowed(MASKED);
        }
        match *name == http::header::REFERER {
            true => without_user(self.target(value)),
            false => Cow::Borrowed(value),
        }
    }

    /// Whether a parameter of this name is masked, also one such as `user[password]`.
    fn hides(&self, name: &str) -> bool {
        let name = decoded(name).to_ascii_lowercase();
        let is_listed = |name: &str| self.query.iter().any(|own| look_alike(own, name));
        is_listed(&name) || name.split(['[', ']']).any(is_listed)
    }
}

/// A URL whose user and password are masked, as in `https://user:password@shop.example/`.
fn without_user(url: Cow<'_, str>) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return url };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) => Cow::Owned(format!("{scheme}://{MASKED}{}", &rest[user.len()..])),
        None => url,
    }
}

/// A name without its percent-encoding; what is no text is taken as it is written.
fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains(['%', '+']) {
        return Cow::Borrowed(name);
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, behind @ ..] = rest {
        let pair = behind.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let coded = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, coded) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        rest = behind;
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(name), Cow::Owned)
}

const MASKED: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Mask {
        Mask {
            query: vec!["token".to_owned(), "api_key".to_owned(), "password".to_owned()],
            headers: vec![http::header::AUTHORIZATION],
        }
    }

    #[test]
    fn the_values_of_listed_parameters_are_not_shown() {
        for (target, shown) in [
            ("/a?b=c", "/a?b=c"),
            ("/a?token=s3cret", "/a?token=***"),
            ("/a?x=1&TOKEN=s3cret&y=2", "/a?x=1&TOKEN=***&y=2"),
            ("/a?x=1;api-key=s3cret", "/a?x=1;api-key=***"),
            ("/a?%74oken=s3cret", "/a?%74oken=***"),
            (
                "/a?user[password]=s3cret&user%5Bpassword%5D=s3cret",
                "/a?user[password]=***&user%5Bpassword%5D=***",
            ),
            ("/a?b=c?token=s3cret", "/a?b=c?token=***"),
            ("/a?token=s3cret=x&token=&token", "/a?token=***&token=&token"),
            ("https://a/b#token=s3cret", "https://a/b#token=***"),
            ("/token=fine", "/token=fine"),
            ("/a?mytoken=fine", "/a?mytoken=fine"),
            ("/a?%zz=%", "/a?%zz=%"),
            ("/a?", "/a?"),
        ] {
            assert_eq!(mask().target(target), shown);
        }
    }

    #[test]
    fn an_api_key_is_not_shown_whatever_the_field() {
        let name = HeaderName::from_static("x-other");
        assert_eq!(mask().header(&name, "Key tenantry_0123"), MASKED);
        assert_eq!(mask().header(&name, "tenantry"), "tenantry");
    }

    #[test]
    fn the_values_of_listed_fields_are_not_shown_and_a_referer_is_a_url() {
        let mask = mask();
        assert_eq!(mask.header(&http::header::AUTHORIZATION, "Basic x"), "***");
        assert_eq!(mask.header(&http::header::ACCEPT, "a?token=b"), "a?token=b");
        assert_eq!(mask.header(&http::header::REFERER, "http://a/?token=b"), "http://a/?token=***");
        let with_user = "https://me:pw@a.example/x@y?token=b";
        let masked = "https://***@a.example/x@y?token=***";
        assert_eq!(mask.header(&http::header::REFERER, with_user), masked);
    }
}
