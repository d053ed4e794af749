//! The endpoints that a request may come to.

use crate::config::spec::{EndpointSpec, EndpointState, SourceSpec};
use crate::model::members::Member;
use crate::pool::Pool;
use crate::pool::standing::Standing;

use super::Candidate;

/// The endpoints of a source, as far as the files tell them. Which ones a tenant has of a pool depends on
/// those of all its sources: `shard` says how many.
pub(super) fn written(source: &SourceSpec, shard: Option<usize>) -> Vec<Candidate> {
    let SourceSpec::Fixed(endpoints) = source else { return Vec::new() };
    let unknown = match shard {
        None => UNKNOWN.to_owned(),
        Some(size) => format!("whether it is among the {size} of this tenant, and {UNKNOWN}"),
    };
    let candidate = |endpoint: &EndpointSpec| {
        let is_active = endpoint.state == EndpointState::Active;
        let why = match endpoint.weight {
            0 => "its weight is 0",
            _ if !is_active => "it is written that it is draining",
            _ => &unknown,
        };
        let eligible = endpoint.weight > 0 && is_active;
        Candidate { address: endpoint.address.to_string(), eligible, why: why.to_owned() }
    };
    endpoints.iter().map(candidate).collect()
}

const UNKNOWN: &str = "how it is, a running gateway tells";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_alone_do_not_say_that_a_tenant_has_all_endpoints_of_a_sharded_pool() {
        let source = SourceSpec::Fixed(vec![EndpointSpec::new(([127, 0, 0, 1], 80).into())]);

        let why = |shard| written(&source, shard).remove(0).why;

        assert_eq!(why(None), "how it is, a running gateway tells");
        assert!(why(Some(2)).contains("among the 2 of this tenant"), "{}", why(Some(2)));
    }
}
