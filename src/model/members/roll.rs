//! Who the members of a pool are: what a tenant's part of them is worked out of.

use crate::model::ids::EndpointId;

use super::Member;

/// Who the members of a pool are, whatever state they are in. It is the same one for as long as that is so.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Roll(Box<[Entry]>);

/// One member of a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Lower numbers come first.
    pub priority: u16,
    /// It is out of the traffic.
    pub drained: bool,
}

impl Roll {
    pub(super) fn of(all: &[Member]) -> Self {
        let entry = |member: &Member| Entry {
            endpoint: member.endpoint.id,
            priority: member.priority,
            drained: member.endpoint.is_drained(),
        };
        Self(all.iter().map(entry).collect())
    }

    /// Its entries, in the order of the members.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
}
