//! Cookies of a request (RFC 6265 §4.2), read and taken out by name. Whatever else clients have put there
//! stays as it is.

use http::header::{COOKIE, HeaderMap, HeaderValue};

/// The values of the cookies of this name, in their order.
pub(super) fn values<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    let fields = headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
    fields.flat_map(pairs).filter_map(move |pair| value(pair, name))
}

/// Takes out the cookies of this name. A field of which nothing is left goes.
pub(super) fn take_out(headers: &mut HeaderMap, name: &str) {
    if values(headers, name).next().is_none() {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(COOKIE).iter().filter_map(|field| without(field, name)).collect();
    headers.remove(COOKIE);
    for field in kept {
        headers.append(COOKIE, field);
    }
}

fn without(field: &HeaderValue, name: &str) -> Option<HeaderValue> {
    if pairs(field.as_bytes()).all(|pair| value(pair, name).is_none()) {
        return Some(field.clone());
    }
    let others = pairs(field.as_bytes()).filter(|pair| value(pair, name).is_none());
    let others: Vec<&[u8]> =
        others.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()).collect();
    if others.is_empty() {
        return None;
    }
    // Parts of a valid value are valid, and so is what joins them.
    HeaderValue::from_bytes(&others.join(&b"; "[..])).ok()
}

fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

/// What a pair says of this name.
fn value<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?.trim_ascii_start();
    Some(rest.strip_prefix(b"=")?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&'static str]) -> HeaderMap {
        fields.iter().map(|field| (COOKIE, HeaderValue::from_static(field))).collect()
    }

    fn left(fields: &[&'static str]) -> Vec<String> {
        let mut headers = headers(fields);
        take_out(&mut headers, "s");
        headers.get_all(COOKIE).iter().map(|field| field.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn values_are_found_by_the_whole_name() {
        let headers = headers(&["a=1; s=2;ss=3; S=4", "s = 5 ;s", "xs=6; s==7; =s=8"]);
        let values: Vec<&[u8]> = values(&headers, "s").collect();
        assert_eq!(values, [&b"2"[..], b"5", b"=7"]);
    }

    #[test]
    fn one_is_taken_out_and_the_others_stay() {
        assert_eq!(left(&["a=1; s=2; b=3"]), ["a=1; b=3"]);
        assert_eq!(left(&["s=2"]), [""; 0]);
        assert_eq!(left(&["s=2; s=3;", "a=1;b=2", " s=4;c= 3"]), ["a=1;b=2", "c= 3"]);
        assert_eq!(left(&["a=1;;b; ;ss=2"]), ["a=1;;b; ;ss=2"], "untouched where there is none");
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_bytes(b"a=\xe9; s=1").unwrap());
        take_out(&mut headers, "s");
        assert_eq!(headers.get(COOKIE).unwrap().as_bytes(), b"a=\xe9");
    }
}
