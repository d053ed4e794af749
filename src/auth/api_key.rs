//! API keys: how one is made, and where a request shows it. Whatever begins as a key does is taken for
//! one, wherever it is shown; anything else is the application's own business.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

use crate::model::fields::look_alike;
use crate::model::key::{KEY_PREFIX, KeyDigest};

use super::hide_where;

/// What a request shows of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// None.
    Nothing,
    /// One, of this digest.
    Key(KeyDigest),
    /// Something with the beginning of a key that is none.
    Malformed,
    /// Several, be they the same.
    Repeated,
}

/// A new key: 256 random bits behind a beginning by which people and scanners know it.
///
/// # Errors
/// When the system has no randomness.
pub fn generate() -> Result<String, Unspecified> {
    let mut random = [0; SIZE];
    rand::fill(&mut random)?;
    let mut key = KEY_PREFIX.to_owned();
    for byte in random {
        let digits = [byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16));
        key.extend(digits.into_iter().flatten());
    }
    Ok(key)
}

/// The key that a request shows, as `Authorization: Bearer …` or in a header of its own.
pub fn find(headers: &HeaderMap, key_header: &HeaderName) -> Found {
    let bearers = headers.get_all(AUTHORIZATION).iter().filter(|value| shows_one(value));
    let own = headers.get_all(key_header).iter().filter(|value| shows_one(value));
    let mut shown = bearers.map(bearer).chain(own.map(|value| Some(value.as_bytes())));
    let Some(first) = shown.next() else {
        return Found::Nothing;
    };
    if shown.next().is_some() {
        return Found::Repeated;
    }
    match first.filter(|key| is_key(key)) {
        Some(key) => Found::Key(KeyDigest::of(key)),
        None => Found::Malformed,
    }
}

/// Takes away the fields that show keys. What an application might take for the header of keys goes in
/// any case, for nobody has looked at that.
pub fn hide(headers: &mut HeaderMap, key_header: &HeaderName) {
    for name in [&AUTHORIZATION, key_header] {
        hide_where(headers, name, shows_one);
    }
    hide_look_alikes(headers, key_header);
}

/// Takes away what an application might take for the header of keys.
pub fn hide_look_alikes(headers: &mut HeaderMap, key_header: &HeaderName) {
    let others = headers.keys().filter(|name| {
        *name != key_header && look_alike(key_header.as_str(), name.as_str()) //
    });
    let others: Vec<HeaderName> = others.cloned().collect();
    for name in others {
        headers.remove(name);
    }
}

/// Whether a value has a key in it, in one piece or not.
fn shows_one(value: &HeaderValue) -> bool {
    memmem::find(value.as_bytes(), KEY_PREFIX.as_bytes()).is_some()
}

/// What stands behind the scheme (RFC 6750 §2.1), which is written in any case (RFC 9110 §11.1).
pub(super) fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(SCHEME.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME) && token.first() == Some(&b' ');
    is_bearer.then(|| token.trim_ascii_start())
}

fn is_key(shown: &[u8]) -> bool {
    let digits = shown.strip_prefix(KEY_PREFIX.as_bytes()).unwrap_or_default();
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digits.len() == 2 * SIZE && digits.iter().all(is_digit)
}

const SCHEME: &[u8] = b"bearer";
/// 32 bytes: nobody guesses one.
const SIZE: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: HeaderName = HeaderName::from_static("x-api-key");

    fn found(fields: &[(&str, &str)]) -> Found {
        let field = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        };
        find(&fields.iter().map(field).collect(), &HEADER)
    }

    #[test]
    fn no_two_keys_are_the_same_and_each_is_one() {
        let (one, other) = (generate().unwrap(), generate().unwrap());

        assert_ne!(one, other);
        assert_eq!(found(&[("x-api-key", &one)]), Found::Key(KeyDigest::of(one.as_bytes())));
    }

    #[test]
    fn a_key_is_shown_in_one_place_and_in_one_way() {
        let key = generate().unwrap();
        let bearer = format!("Bearer {key}");
        let good = Found::Key(KeyDigest::of(key.as_bytes()));
        for value in [&bearer, &format!("bearer  {key}"), &format!("BEARER {key}")] {
            assert_eq!(found(&[("authorization", value)]), good, "{value}");
        }
        for value in ["Basic YTpi", "Bearer abc", "", "tenantry"] {
            assert_eq!(found(&[("authorization", value), ("x-api-key", value)]), Found::Nothing);
        }
        let other = ("authorization", "Basic YTpi");
        assert_eq!(found(&[other, ("x-api-key", &key)]), good);
        let list = format!("{bearer}, {bearer}");
        let (basic, glued) = (format!("Basic {key}"), format!("Bearer{key}"));
        for value in [&list, &basic, &glued, &key, &format!("{bearer} "), &format!("{bearer}0")] {
            assert_eq!(found(&[("authorization", value)]), Found::Malformed, "{value}");
        }
        for value in [key.to_uppercase().replace("TENANTRY", "tenantry"), format!("{key},{key}")] {
            assert_eq!(found(&[("x-api-key", &value)]), Found::Malformed, "{value}");
        }
        for name in ["x-api-key", "authorization"] {
            let twice = [(name, bearer.as_str()), ("x-api-key", key.as_str())];
            assert_eq!(found(&twice), Found::Repeated, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_with_a_key_in_it_is_left_where_keys_are_shown(
            values in proptest::collection::vec("(Bearer |Basic |,|x){0,2}(tenantry_)?[0-9a-f]{0,70}", 0..5),
            places in proptest::collection::vec(0_usize..4, 5),
        ) {
            let names = ["authorization", "x-api-key", "x_api_key", "x-other"];
            let mut headers = HeaderMap::new();
            for (value, place) in values.iter().zip(&places) {
                let name = HeaderName::from_static(names[*place]);
                headers.append(name, HeaderValue::try_from(value).unwrap());
            }
            let (before, foreign) = (find(&headers, &HEADER), headers.clone());

            hide(&mut headers, &HEADER);

            prop_assert_eq!(find(&headers, &HEADER), Found::Nothing);
            prop_assert!(!headers.contains_key("x_api_key"));
            let kept = |all: &HeaderMap| all.get_all("x-other").iter().cloned().collect::<Vec<_>>();
            prop_assert_eq!(kept(&headers), kept(&foreign));
            if before == Found::Nothing {
                let own = |all: &HeaderMap| all.get_all("x-api-key").iter().cloned().collect::<Vec<_>>();
                prop_assert_eq!(own(&headers), own(&foreign));
            }
        }
    }
}
