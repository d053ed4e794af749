//! Hosts of tenants' own.

use std::net::IpAddr;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::At;
use crate::config::spec::{DomainsSpec, EarlierHosts, HostSpec, NameFrom, NamedTenant};
use crate::config::text::Written;
use crate::model::ids::TenantId;

use super::owners::{self, Owner, Owners};

/// Checks the key `domains` of a tenant.
pub(super) fn check(
    raw: Option<At<Vec<At<Written<HostSpec>>>>>,
    ways: &[NameFrom],
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<DomainsSpec>> {
    let At { value: raw, start } = raw?;
    if raw.is_empty() {
        faults.add_missing(key, start, "there is no host", "name some, or leave it out");
        return None;
    }
    if !ways.contains(&NameFrom::Domain) {
        let what = "no request would be named by them";
        let hint = "add { domain = true } to [tenant] from".to_owned();
        faults.add(key, start, what, Some(hint));
    }
    let mut hosts = Vec::with_capacity(raw.len());
    for (index, At { value: Written(host), start }) in raw.into_iter().enumerate() {
        let key = key.index(index);
        if let HostSpec::Exact(text) = &host
            && (text.starts_with('[') || text.parse::<IpAddr>().is_ok())
        {
            let hint = "write a name, as in \"shop.example.com\"".to_owned();
            faults.add(&key, start, "an address is nobody's domain", Some(hint));
        }
        if hosts.contains(&host) {
            faults.add(&key, start, "is there twice", Some("keep one".to_owned()));
        }
        hosts.push(host);
    }
    Some(Box::new(DomainsSpec { hosts, certificates: Vec::new(), earlier: None }))
}

/// The ways before the domains that go by the host, for this tenant.
pub(super) fn earlier(own: &TenantId, ways: &[NameFrom]) -> Option<Box<EarlierHosts>> {
    let earlier = ways.iter().take_while(|way| **way != NameFrom::Domain);
    let ways: Vec<(String, String)> = earlier
        .filter_map(|way| match way {
            NameFrom::Host { prefix, suffix } => Some((prefix.clone(), suffix.clone())),
            _ => None,
        })
        .collect();
    (!ways.is_empty()).then(|| Box::new(EarlierHosts { own: own.clone(), ways }))
}

/// Enters the domains of a tenant, and tells of those that another has.
pub(super) fn enter(
    owners: &mut Owners<HostSpec>,
    (_, spec): &NamedTenant,
    owner: &Owner,
    faults: &mut Faults<'_>,
) {
    for (index, host) in spec.domains().iter().enumerate() {
        let Some(other) = owners.enter(host.clone(), owner) else { continue };
        let root = Key::root(owner.file);
        let table = root.name("tenants");
        let tenant = table.name(owner.id.as_str());
        let domains = tenant.name("domains");
        let what = format!("{host} is a domain of the tenant {} as well", other.id);
        let place = faults.place(other.file, other.at);
        let hint = format!("keep it in one of them; the other is at {place}");
        faults.add(&domains.index(index), owner.at, what, Some(hint));
    }
}

/// Whether no domain is of two of these tenants.
pub(super) fn are_apart<'s>(tenants: impl Iterator<Item = &'s NamedTenant>) -> bool {
    owners::are_apart(tenants, |(_, spec)| spec.domains().iter())
}
