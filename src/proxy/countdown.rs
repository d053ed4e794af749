//! How long a request may still take, told to endpoints anew with each attempt: a call of gRPC by
//! `grpc-timeout`, others by the pool's `deadline-header`. What the client says by the same field
//! shortens its request, and never makes it longer.

use std::time::Duration;

use http::Version;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use tokio::time::Instant;

use crate::model::fields::look_alike;
use crate::resilience::remaining;
use crate::upstream::Fields;

use super::choice::Choice;
use super::grpc;

/// How an endpoint is told how long it has.
#[derive(Clone, Debug)]
pub(super) struct Countdown {
    /// What the client gives, from the start of the exchange.
    pub(super) given: Option<Duration>,
    /// `None`: the route says itself what the field tells.
    name: Option<HeaderName>,
    write: Write,
}

type Read = fn(&[u8]) -> Option<Duration>;
type Write = fn(Duration) -> String;

impl Countdown {
    /// Takes what the client says out of the head, where it may say something. No trailer may say it
    /// later: its name joins those that are `ended`. `trailers`: whether the client takes them, as all of
    /// gRPC do.
    pub(super) fn told(
        (head, trailers): (&mut Parts, bool),
        choice: &Choice<'_>,
        ended: &mut Vec<HeaderName>,
    ) -> Option<Box<Self>> {
        let may_be_call = trailers && head.version == Version::HTTP_2;
        match may_be_call || choice.pool.spec.deadline_header.is_some() {
            false => None,
            true => Self::of(head, choice, ended),
        }
    }

    #[cold]
    #[inline(never)]
    fn of(head: &mut Parts, choice: &Choice<'_>, ended: &mut Vec<HeaderName>) -> Option<Box<Self>> {
        let (name, read, write): (HeaderName, Read, Write) =
            match grpc::is_call(head.version, &head.headers) {
                true => (GRPC_TIMEOUT, remaining::grpc_timeout, remaining::as_grpc_timeout),
                false => {
                    let name = choice.pool.spec.deadline_header.clone()?;
                    (name, remaining::millis, remaining::as_millis)
                }
            };
        let given = take(&mut head.headers, &name).and_then(|value| read(value.as_bytes()));
        ended.push(name.clone());
        let name = (!choice.decides(&name)).then_some(name);
        Some(Box::new(Self { given, name, write }))
    }

    /// Has an attempt that begins now tell the endpoint, where the exchange ends at all.
    #[cold]
    #[inline(never)]
    pub(super) fn tell(&self, end: Option<Instant>, added: &mut Fields) {
        let (Some(name), Some(end)) = (&self.name, end) else { return };
        let left = end.saturating_duration_since(Instant::now());
        if let Ok(value) = HeaderValue::try_from((self.write)(left)) {
            added.push((name.clone(), value));
        }
    }
}

/// Takes a field away, and what endpoints may take for it, and tells what it says. Of several none is clear,
/// and none is believed.
fn take(headers: &mut HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut said = headers.get_all(name).iter();
    let (first, more) = (said.next().cloned(), said.next().is_some());
    let is_alike = |other: &&HeaderName| look_alike(name.as_str(), other.as_str());
    let alike: Vec<HeaderName> = headers.keys().filter(is_alike).cloned().collect();
    for name in alike {
        headers.remove(name);
    }
    headers.remove(name);
    first.filter(|_| !more)
}

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_the_deadline_header_goes_with_it_and_is_not_believed() {
        let name = HeaderName::from_static("x-request-timeout");
        let mut headers = HeaderMap::new();
        for field in ["x_request_timeout", "x-request_timeout", "x-request-timeouts"] {
            headers.append(field, HeaderValue::from_static("9000"));
        }
        assert_eq!(take(&mut headers.clone(), &name), None);
        headers.append(&name, HeaderValue::from_static("50"));
        assert_eq!(take(&mut headers.clone(), &name).unwrap(), "50");
        let mut twice = headers.clone();
        twice.append(&name, HeaderValue::from_static("60"));
        assert_eq!(take(&mut twice, &name), None);

        take(&mut headers, &name);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-request-timeouts"]);
    }
}
