//! What besides the endpoints decides where a request goes, in pools that have some of it: its key, or the
//! endpoint that it keeps to. Most pools have none, and then nobody asks.

use http::header::{HeaderMap, HeaderValue};

use crate::config::spec::PoolSpec;
use crate::model::endpoint::Endpoint;
use crate::model::members::Members;

use super::balancer::PickKey;
use super::keys::{Asking, Keys};
use super::sticky::{Pin, Sticky};

/// What decides in one pool.
#[derive(Debug)]
pub struct Steering {
    keys: Option<Keys>,
    sticky: Option<Sticky>,
}

impl Steering {
    /// For the pool of this name; `None` where it is the endpoints alone.
    pub(super) fn of(pool: &str, spec: &PoolSpec) -> Option<Box<Self>> {
        let keys = Keys::of(pool, &spec.hash);
        let sticky = spec.sticky.as_ref().map(|spec| Sticky::of(pool, spec));
        (keys.is_some() || sticky.is_some()).then(|| Box::new(Self { keys, sticky }))
    }

    /// The key of a request; none where it has nothing that is hashed here.
    pub fn key(&self, asking: &Asking<'_>) -> PickKey {
        self.keys.as_ref().map(|keys| keys.key(asking)).unwrap_or_default()
    }

    /// Whether clients are kept by cookies.
    pub fn is_sticky(&self) -> bool {
        self.sticky.is_some()
    }

    /// Where the cookie of a request keeps it. The cookie is taken out.
    pub fn pin(
        &self,
        tenant_and_now: (&str, u32),
        members: &Members,
        headers: &mut HeaderMap,
    ) -> Option<Pin> {
        self.sticky.as_ref()?.read(tenant_and_now, members, headers)
    }

    /// Takes out the cookie of a request that is not kept anywhere.
    pub fn take_cookie(&self, headers: &mut HeaderMap) {
        if let Some(sticky) = &self.sticky {
            sticky.take_out(headers);
        }
    }

    /// The value of `Set-Cookie` for the answer of this endpoint; `None` where the client needs none.
    pub fn renewed(
        &self,
        pin: Option<&Pin>,
        tenant_and_now: (&str, u32),
        endpoint: &Endpoint,
        is_secure: bool,
    ) -> Option<HeaderValue> {
        self.sticky.as_ref()?.renewed(pin, tenant_and_now, endpoint, is_secure)
    }
}
