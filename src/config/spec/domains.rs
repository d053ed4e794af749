//! The meaning of `domains`: hosts of a tenant's own.

use super::{HostSpec, TenantSpec};

/// Hosts of a tenant's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainsSpec {
    /// Never empty. [`HostSpec::Below`] is for one label before it, as in certificates.
    pub hosts: Vec<HostSpec>,
}

impl TenantSpec {
    /// Hosts of its own, which name it.
    pub fn domains(&self) -> &[HostSpec] {
        self.domains.as_ref().map_or(&[], |domains| &domains.hosts)
    }
}
