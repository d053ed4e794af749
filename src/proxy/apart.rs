//! What keeps the connections of a request to endpoints apart from those of others. Most have nothing: then any
//! request of the pool may go by them.

use crate::config::spec::ProxyVersion;
use crate::pool::Pool;
use crate::upstream::proxy_header::Whom;

use super::connection::Peer;
use super::visit::Visit;

/// What keeps its connections apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Apart {
    /// What they begin with, where endpoints are told whom they are for.
    pub(super) proxy: Option<(ProxyVersion, Whom)>,
    /// The number of the tenant, where each has its own.
    tenant: Option<u32>,
}

impl Apart {
    /// For a request of a tenant to a pool that wants some apart.
    #[cold]
    #[inline(never)]
    pub(super) fn of(peer: &Peer, (pool, tenant): (&Pool, u32), visit: &Visit) -> Box<Self> {
        let spec = &pool.spec;
        let proxy = spec.proxy_protocol.map(|version| (version, peer.whom(visit.told())));
        let tenant = spec.per_tenant.then_some(tenant);
        Box::new(Self { proxy, tenant })
    }

    /// By what its connections are told from others of the pool's endpoints. Pools are counted from 1 on, each time
    /// that one begins to be reached in another way: their numbers leave the upper half free.
    pub(super) fn transport(&self, pool: &Pool) -> u64 {
        let tenant = self.tenant.map_or(0, |slot| u64::from(slot) + 1);
        pool.transport | tenant << 32
    }
}
