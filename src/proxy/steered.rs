//! Where a request goes in a pool that looks at more than its endpoints: by its key, or to the endpoint
//! that a cookie keeps its client on. All of it is out of line: other pools pay a look at a pointer.

use std::cell::Cell;
use std::time::SystemTime;

use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::uri::Authority;

use crate::http1::room::AnswerHead;
use crate::model::endpoint::Endpoint;
use crate::model::ids::EndpointId;
use crate::pool::balancer::PickKey;
use crate::pool::keys::Asking;
use crate::pool::steering::Steering;
use crate::pool::sticky::Pin;
use crate::pool::{InFlight, Pool};

use super::choice::Choice;
use super::connection::Peer;
use super::visit::Visit;
use super::worker::Worker;

/// What decides where one request goes.
pub(super) struct Steered {
    key: PickKey,
    pin: Option<Pin>,
    /// Seconds since 1970, where somebody asks.
    now: u32,
    is_secure: bool,
    /// The client's own endpoint is at work on it still, and another one was faster.
    is_outrun: Cell<bool>,
}

impl Steered {
    /// Reads it from the client's head, without what ends at the gateway. A cookie that is the gateway's
    /// own is taken out.
    #[cold]
    #[inline(never)]
    pub(super) fn of(
        steering: &Steering,
        choice: &Choice<'_>,
        head: &mut Parts,
        (peer, visit): (&Peer, &Visit),
    ) -> Box<Self> {
        let tenant = choice.tenant.id();
        let key = steering.key(&asking(choice, head, visit));
        let now = if steering.is_sticky() { now() } else { 0 };
        let pin = steering.pin((tenant, now), &choice.pool.members, &mut head.headers);
        let scheme = visit.told().map_or(peer.scheme(), |told| told.scheme);
        Box::new(Self { key, pin, now, is_secure: scheme == "https", is_outrun: Cell::new(false) })
    }

    /// The endpoint of the next attempt: the client's own, until that has failed.
    #[cold]
    #[inline(never)]
    pub(super) fn pick(&self, pool: &Pool, tried: &[EndpointId]) -> Option<InFlight> {
        let own = self.pin.as_ref().filter(|_| tried.is_empty());
        own.and_then(|pin| pin.enter(&pool.members)).or_else(|| pool.pick(self.key, tried))
    }

    /// The same in a pool of which each tenant has a few endpoints.
    #[cold]
    #[inline(never)]
    pub(super) fn pick_own(
        &self,
        pool: &Pool,
        tenant: &str,
        tried: &[EndpointId],
    ) -> Option<InFlight> {
        let own = self.pin.as_ref().filter(|pin| tried.is_empty() && pin.is_of(pool, tenant));
        own.and_then(|pin| pin.enter(&pool.members))
            .or_else(|| pool.pick_own(tenant, self.key, tried))
    }

    /// Whether a cookie names an endpoint: no other one is tried out with its client's requests.
    #[cold]
    pub(super) fn is_kept(&self) -> bool {
        self.pin.as_ref().is_some_and(Pin::names_one)
    }

    /// The endpoint of the first attempt was slower than that of another one beside it. If it is the client's
    /// own, it is that for further requests: it has not failed.
    #[cold]
    #[inline(never)]
    pub(super) fn outrun(&self, slower: &Endpoint) {
        self.is_outrun.set(self.pin.as_ref().is_some_and(|pin| pin.is_at(slower)));
    }

    /// Keeps the client on the endpoint that has answered, where it is not kept there already. One that has
    /// failed keeps nobody. An answer of
    /// 304 sets nothing: caches in front would have its fields replace those of the answer that they keep
    /// for all (RFC 9111 §3.2).
    #[cold]
    #[inline(never)]
    pub(super) fn tell(
        &self,
        worker: &Worker,
        choice: &Choice<'_>,
        endpoint: &Endpoint,
        answer: &mut AnswerHead,
    ) {
        let Some(steering) = choice.pool.steering.as_ref().filter(|own| own.is_sticky()) else {
            return;
        };
        if answer.status().is_server_error() {
            return;
        }
        let outcome = match &self.pin {
            Some(pin) if pin.is_at(endpoint) => "kept",
            Some(_) if self.is_outrun.get() => "hedged",
            Some(_) => "moved",
            None => "new",
        };
        worker.meter.sticky(&choice.pool.label, outcome);
        let of = (choice.tenant.id(), self.now);
        if answer.status() == StatusCode::NOT_MODIFIED || self.is_outrun.get() {
            return;
        }
        let headers = answer.headers_mut();
        if let Some(cookie) = steering.renewed(self.pin.as_ref(), of, endpoint, self.is_secure) {
            headers.append(SET_COOKIE, cookie);
            // RFC 9111 §5.2.2.7: a cache in front must not give one client's cookie to all. To name the
            // field alone is no use, as many caches do not know that form.
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
    }
}

/// The key of a copy, so that endpoints of its pool have each their share of the keys, too. No client is kept
/// there by a copy's cookie, which nobody gets; that of a client who goes there in earnest is taken out.
#[cold]
#[inline(never)]
pub(super) fn key_of_copy(
    steering: &Steering,
    choice: &Choice<'_>,
    head: &mut Parts,
    visit: &Visit,
) -> PickKey {
    let key = steering.key(&asking(choice, head, visit));
    steering.take_cookie(&mut head.headers);
    key
}

fn asking<'a>(choice: &'a Choice<'_>, head: &'a Parts, visit: &'a Visit) -> Asking<'a> {
    Asking {
        tenant: choice.tenant.id(),
        path: head.uri.path(),
        host: head.uri.authority().map(Authority::as_str),
        headers: &head.headers,
        client: visit.client().filter(|_| !visit.hides_client()),
    }
}

fn now() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
