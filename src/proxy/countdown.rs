//! How long a request may still take, told to endpoints anew with each attempt: a call of gRPC by
//! `grpc-timeout`, others by the pool's `deadline-header`. What the client says by the same field
//! shortens its request, and never makes it longer.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use tokio::time::Instant;

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
    /// Takes what the client says out of the head.
    #[cold]
    #[inline(never)]
    pub(super) fn of(head: &mut Parts, choice: &Choice<'_>) -> Option<Box<Self>> {
        let (name, read, write): (HeaderName, Read, Write) =
            match grpc::is_call(head.version, &head.headers) {
                true => (GRPC_TIMEOUT, remaining::grpc_timeout, remaining::as_grpc_timeout),
                false => {
                    let name = choice.pool.spec.deadline_header.clone()?;
                    (name, remaining::millis, remaining::as_millis)
                }
            };
        let mut said = head.headers.get_all(&name).iter();
        let (first, more) = (said.next(), said.next().is_some());
        // Of several none is clear, and none is believed.
        let given = first.filter(|_| !more).and_then(|value| read(value.as_bytes()));
        let name = (!choice.decides(&name)).then_some(name);
        if let Some(name) = &name {
            head.headers.remove(name);
        }
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

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
