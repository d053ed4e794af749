//! Which of several kinds of content a client would rather have (RFC 9110 §12.5.1).

use http::header::{ACCEPT, HeaderMap, HeaderValue};

/// The place of the kind that the fields `Accept` ask for before the others, each of `kinds` being
/// a media type in lower case without parameters. Of those that are as welcome, one that is named
/// goes before one that a wildcard covers, and then the earlier one. The first where nothing is
/// said, or none of them is welcome: an answer that cannot be read says more than none.
pub(super) fn best(headers: &HeaderMap, kinds: &[&str]) -> usize {
    let mut best = (0, (0, Fit::None));
    for (place, kind) in kinds.iter().enumerate() {
        let welcome = welcome(headers, kind);
        if welcome > best.1 {
            best = (place, welcome);
        }
    }
    best.0
}

/// How closely a range of media types names one of them. The closest range decides its quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    None,
    /// `*/*`
    All,
    /// `text/*`
    Type,
    /// Its very name, or `application/json` for a kind that is JSON: who reads that reads it.
    Name,
}

/// The quality of a kind, in thousandths, and how closely it was named.
fn welcome(headers: &HeaderMap, kind: &str) -> (u16, Fit) {
    let (mut quality, mut closest) = (0, Fit::None);
    for range in headers.get_all(ACCEPT).iter().flat_map(ranges) {
        let mut parts = range.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let fit = fit(name, kind);
        let Some(said) = said(parts).filter(|_| fit > Fit::None) else { continue };
        if fit > closest || (fit == closest && said > quality) {
            (quality, closest) = (said, fit);
        }
    }
    if quality == 0 { (0, Fit::None) } else { (quality, closest) }
}

/// The elements of one field. A comma within quotes is none between two; the value of a parameter
/// is of no interest here, but what is behind it is.
fn ranges(field: &HeaderValue) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let text = field.to_str().unwrap_or_default();
    text.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

fn fit(range: &str, kind: &str) -> Fit {
    if range == "*/*" {
        return Fit::All;
    }
    let is_json = kind.ends_with("+json") && range.eq_ignore_ascii_case("application/json");
    if is_json || range.eq_ignore_ascii_case(kind) {
        return Fit::Name;
    }
    let of_type = range.strip_suffix("/*").zip(kind.split_once('/'));
    match of_type {
        Some((range, (kind, _))) if range.eq_ignore_ascii_case(kind) => Fit::Type,
        _ => Fit::None,
    }
}

/// The quality that a range's parameters say, in thousandths: 1 where they say none, `None` where
/// what they say is no quality.
fn said<'p>(mut parameters: impl Iterator<Item = &'p str>) -> Option<u16> {
    let quality = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(quality) = quality else { return Some(1000) };
    let (whole, part) = quality.split_once('.').unwrap_or((quality, ""));
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part: u16 = format!("{part:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [&str; 3] = ["application/problem+json", "text/html", "text/plain"];

    fn asked(fields: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT, HeaderValue::from_str(field).unwrap());
        }
        KINDS[best(&headers, &KINDS)]
    }

    #[test]
    fn browsers_get_html_and_programs_their_document() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
        for html in [
            browser,
            "text/html, application/xhtml+xml, */*",
            "text/html",
            "TEXT/HTML;Level=1",
            "text/html, */*; q=0.01",
            "text/html;q=0.4, text/plain;q=0.3, application/problem+json;q=0.2",
            "text/plain;q=0, text/*;q=0.1, application/*;q=0",
            "application/json;q=0.1, text/html;q=0.11",
        ] {
            assert_eq!(asked(&[html]), "text/html", "{html}");
        }
        for document in [
            "*/*",
            "application/json",
            "application/json, text/plain, */*",
            "application/problem+json, text/html",
            "application/json, text/html",
            "application/*, text/html;q=0.9",
            "text/html;q=0.5, */*",
            "image/png",
            "text/html;q=0",
            "text/html;q=2",
            "text/html;q=x",
            "text/html;q=0.1234",
            "",
        ] {
            assert_eq!(asked(&[document]), "application/problem+json", "{document}");
        }
        assert_eq!(asked(&[]), "application/problem+json");
        assert_eq!(asked(&["text/plain"]), "text/plain");
        assert_eq!(asked(&["text/plain, text/html;q=0.999"]), "text/plain");
    }

    #[test]
    fn the_closest_range_decides_whatever_the_order() {
        assert_eq!(asked(&["text/html;q=0.1, */*"]), "application/problem+json");
        assert_eq!(asked(&["*/*;q=0.5, text/html;q=0"]), "application/problem+json");
        assert_eq!(asked(&["application/*;q=0, */*"]), "text/html");
        assert_eq!(asked(&["image/png", "text/html"]), "text/html", "fields are one list");
        assert_eq!(asked(&["a/b;p=\"x,text/plain\", text/html"]), "text/html");
    }

    proptest! {
        #[test]
        fn any_field_names_one_of_the_kinds(field: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&field) {
                let headers = HeaderMap::from_iter([(ACCEPT, value)]);
                prop_assert!(best(&headers, &KINDS) < KINDS.len());
            }
        }
    }
}
