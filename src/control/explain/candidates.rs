//! The endpoints that a request may come to.

use crate::config::spec::SourceSpec;
use crate::model::address::Address;
use crate::model::members::Member;
use crate::pool::standing::Standing;

use super::Candidate;

/// The endpoints of a source, as far as the files tell them.
pub(super) fn written(source: &SourceSpec) -> Vec<Candidate> {
    let SourceSpec::Fixed(endpoints) = source else { return Vec::new() };
    let candidate = |(address, weight): &(Address, u32)| Candidate {
        address: address.to_string(),
        eligible: *weight > 0,
        why: match weight {
            0 => "its weight is 0".to_owned(),
            _ => "how it is, a running gateway tells".to_owned(),
        },
    };
    endpoints.iter().map(candidate).collect()
}

/// An endpoint as it is.
pub(super) fn candidate(member: &Member) -> Candidate {
    let Standing { eligible, why } = Standing::of(member);
    Candidate { address: member.endpoint.label.to_string(), eligible, why }
}
