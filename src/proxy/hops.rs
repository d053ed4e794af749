//! How far a request may go: `Max-Forwards` (RFC 9110 §7.6.2), which only `OPTIONS` and `TRACE` have.
//! One that may go no further is answered here as its last recipient would answer it.

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, MAX_FORWARDS, VIA,
};
use http::request::Parts;
use http::{Method, Response, Version};

use super::answer::AnswerBody;
use super::error::ExchangeError;
use super::reply::Reply;

/// Counts this hop. Gives the answer where it is the last one.
///
/// # Errors
/// When the field is no number.
pub(super) fn count(head: &mut Parts) -> Result<Option<Reply>, ExchangeError> {
    if !matches!(head.method, Method::OPTIONS | Method::TRACE) {
        return Ok(None);
    }
    let mut fields = head.headers.get_all(MAX_FORWARDS).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    let hops = number(field.as_bytes()).filter(|_| fields.next().is_none());
    let hops = hops.ok_or(ExchangeError::BadRequest("Max-Forwards is not one number"))?;
    let Some(left) = hops.checked_sub(1) else {
        return Ok(Some(last(head)));
    };
    head.headers.insert(MAX_FORWARDS, HeaderValue::from(left));
    Ok(None)
}

/// A number beyond what anybody counts is as good as the largest one.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

fn last(head: &Parts) -> Reply {
    let body = if head.method == Method::TRACE { mirror(head) } else { Bytes::new() };
    let size = body.len();
    let mut answer = Response::new(AnswerBody::whole(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    if head.method == Method::TRACE {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("message/http"));
    }
    Reply::Local(answer.into(), size)
}

/// The request as it came here, without what is nobody else's business (RFC 9110 §9.3.8): of the
/// fields those that tell of its way.
fn mirror(head: &Parts) -> Bytes {
    let version = match head.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    };
    let mut text = format!("{} {} {version}\r\n", head.method, head.uri).into_bytes();
    for name in SHOWN {
        for value in head.headers.get_all(&name) {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
    }
    text.extend_from_slice(b"\r\n");
    Bytes::from(text)
}

const SHOWN: [HeaderName; 3] = [HOST, VIA, MAX_FORWARDS];

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(method: Method, values: &[&str]) -> Result<(bool, Option<String>), ExchangeError> {
        let mut request = http::Request::builder().method(method).uri("/a");
        for value in values {
            request = request.header("max-forwards", *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        let answered = count(&mut head)?.is_some();
        let left = head.headers.get(MAX_FORWARDS).map(|left| left.to_str().unwrap().to_owned());
        Ok((answered, left))
    }

    #[test]
    fn a_hop_is_counted_for_options_and_trace_alone() {
        let left = |left: &str| Some(left.to_owned());
        for method in [Method::OPTIONS, Method::TRACE] {
            assert_eq!(counted(method.clone(), &[]).unwrap(), (false, None));
            assert_eq!(counted(method.clone(), &["5"]).unwrap(), (false, left("4")));
            assert_eq!(counted(method.clone(), &["1"]).unwrap(), (false, left("0")));
            assert!(counted(method.clone(), &["0"]).unwrap().0);
            let most = counted(method.clone(), &["99999999999999999999"]).unwrap();
            assert_eq!(most, (false, left("4294967294")));
            for bad in [&["-1"][..], &[""], &["x"], &["1", "1"], &["1, 1"], &["+1"]] {
                assert!(counted(method.clone(), bad).is_err(), "{bad:?}");
            }
        }
        assert_eq!(counted(Method::GET, &["0"]).unwrap(), (false, left("0")));
    }
}
