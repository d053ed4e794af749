//! Hosts of tenants' own: whose a host is.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::spec::HostSpec;
use crate::model::ids::TenantId;

/// Whose each host is. Only hosts from the config get in, so that a client cannot choose keys that
/// collide.
#[derive(Clone, Debug, Default)]
pub(super) struct Domains {
    exact: HashMap<Box<str>, Arc<str>, RandomState>,
    /// By what stands behind one label.
    below: HashMap<Box<str>, Arc<str>, RandomState>,
}

impl Domains {
    /// The id of the tenant that a host is of, in lower case: one that is written whole goes before
    /// one with a star.
    pub(super) fn find(&self, host: &str) -> Option<&str> {
        let of_parent =
            || self.below.get(host.split_once('.').filter(|(label, _)| !label.is_empty())?.1);
        self.exact.get(host).or_else(of_parent).map(AsRef::as_ref)
    }

    /// Adds a tenant's hosts.
    pub(super) fn add(&mut self, tenant: &TenantId, hosts: &[HostSpec]) {
        for host in hosts {
            let (map, text) = self.of(host);
            map.insert(text.into(), tenant.shared());
        }
    }

    /// Removes a tenant's hosts. One that has become another's stays.
    pub(super) fn remove(&mut self, tenant: &TenantId, hosts: &[HostSpec]) {
        for host in hosts {
            let (map, text) = self.of(host);
            if map.get(text).is_some_and(|owner| **owner == *tenant.as_str()) {
                map.remove(text);
            }
        }
    }

    fn of<'h>(
        &mut self,
        host: &'h HostSpec,
    ) -> (&mut HashMap<Box<str>, Arc<str>, RandomState>, &'h str) {
        match host {
            HostSpec::Exact(host) => (&mut self.exact, host),
            HostSpec::Below(host) => (&mut self.below, host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }

    #[test]
    fn a_host_that_is_written_whole_goes_before_a_star_and_a_star_is_one_label() {
        let (exact, below) = (HostSpec::Exact, HostSpec::Below);
        let mut domains = Domains::default();
        domains.add(&id("acme"), &[exact("shop.acme.test".into()), below("acme.test".into())]);
        domains.add(&id("globex"), &[exact("www.acme.test".into())]);

        for (host, expected) in [
            ("shop.acme.test", Some("acme")),
            ("www.acme.test", Some("globex")),
            ("other.acme.test", Some("acme")),
            ("a.other.acme.test", None),
            ("acme.test", None),
            (".acme.test", None),
            ("", None),
        ] {
            assert_eq!(domains.find(host), expected, "{host}");
        }
        domains.remove(&id("acme"), &[exact("www.acme.test".into()), below("acme.test".into())]);
        assert_eq!(domains.find("www.acme.test"), Some("globex"), "it is another's by now");
        assert_eq!(domains.find("other.acme.test"), None);
    }
}
