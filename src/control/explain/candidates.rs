//! The endpoints that a request may come to.

use crate::config::spec::{EndpointSpec, EndpointState, SourceSpec};
use crate::model::members::Member;
use crate::pool::Pool;
use crate::pool::standing::Standing;

use super::Candidate;

/// The endpoints of a source, as far as the files tell them.
pub(super) fn written(source: &SourceSpec) -> Vec<Candidate> {
    let SourceSpec::Fixed(endpoints) = source else { return Vec::new() };
    let candidate = |endpoint: &EndpointSpec| {
        let is_active = endpoint.state == EndpointState::Active;
        let why = match endpoint.weight {
            0 => "its weight is 0",
            _ if !is_active => "it is written that it is draining",
            _ => "how it is, a running gateway tells",
        };
        let eligible = endpoint.weight > 0 && is_active;
        Candidate { address: endpoint.address.to_string(), eligible, why: why.to_owned() }
    };
    endpoints.iter().map(candidate).collect()
}

/// An endpoint as it is, for requests of a tenant.
pub(super) fn candidate(member: &Member, pool: &Pool, tenant: &str) -> Candidate {
    let Standing { mut eligible, mut why } = Standing::of(member);
    if let (Some(false), Some(size)) =
        (pool.may_serve(tenant, member.endpoint.id), pool.spec.spread.shard)
    {
        eligible = false;
        why = format!("it is not among the {size} of this tenant; {why}");
    }
    Candidate { address: member.endpoint.label.to_string(), eligible, why }
}
