//! Certificates of a tenant's own, for its domains. Their files are looked into later, and by whoever shows them:
//! what is wrong with a file is never wrong with the routes.

use std::net::IpAddr;
use std::path::Path;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, TenantCertificate};
use crate::config::spec::{DomainsSpec, HostSpec, TenantCertificateSpec};
use crate::config::text::Written;

use super::beside;

/// Checks the key `certificates` of a tenant, whose domains are known by now.
pub(super) fn check(
    raw: Option<At<Vec<At<TenantCertificate>>>>,
    domains: Option<&mut DomainsSpec>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) {
    let Some(At { value: raw, start }) = raw else { return };
    if raw.is_empty() {
        let hint = "write [[tenants.ID.certificates]] and cert and key below it, or leave it out";
        faults.add_missing(key, start, "there is no certificate", hint);
    }
    if raw.len() > MOST {
        let what = format!("there are more than {MOST} of them");
        let hint = "one certificate may be for many domains".to_owned();
        faults.add(key, start, what, Some(hint));
    }
    let Some(domains) = domains else {
        let hint = "write domains = [\"shop.example.com\"]";
        faults.add_missing(key, start, "are for the tenant's domains, and it has none", hint);
        return;
    };
    let each = raw.into_iter().take(MOST).enumerate();
    domains.certificates = each
        .filter_map(|(index, raw)| one(raw, &domains.hosts, folder, &key.index(index), faults))
        .collect();
}

fn one(
    At { value: raw, start }: At<TenantCertificate>,
    domains: &[HostSpec],
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<TenantCertificateSpec> {
    let hosts = raw.hosts.map(|hosts| self::hosts(hosts, domains, &key.name("hosts"), faults));
    let (Some(cert), Some(secret)) = (raw.cert, raw.key) else {
        let hint = "write cert = \"cert.pem\" and key = \"key.pem\"";
        faults.add_missing(key, start, "needs both cert and key", hint);
        return None;
    };
    Some(TenantCertificateSpec {
        certificate: beside(folder, cert.value.0.0),
        key: beside(folder, secret.value.0.0),
        hosts: hosts.unwrap_or_default(),
    })
}

fn hosts(
    At { value: raw, start }: At<Vec<At<Written<HostSpec>>>>,
    domains: &[HostSpec],
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<HostSpec> {
    if raw.is_empty() {
        let hint = "name some, or leave it out: then the names in the certificate count";
        faults.add_missing(key, start, "there is no host", hint);
    }
    let mut hosts = Vec::with_capacity(raw.len());
    for (index, At { value: Written(host), start }) in raw.into_iter().enumerate() {
        let key = key.index(index);
        if let HostSpec::Exact(text) = &host
            && (text.starts_with('[') || text.parse::<IpAddr>().is_ok())
        {
            let what = "an address is no name that a client can ask for";
            faults.add(&key, start, what, Some("write one of the tenant's domains".to_owned()));
        } else if hosts.contains(&host) {
            faults.add(&key, start, "is there twice", Some("keep one".to_owned()));
        } else if !covers(&host, domains) {
            let what = format!("{host} is not within the tenant's domains");
            let hint = "a certificate is shown for the tenant's own domains alone: add it to these, or leave \
                        it out";
            faults.add(&key, start, what, Some(hint.to_owned()));
        }
        hosts.push(host);
    }
    hosts
}

/// Whether a name is within the domains, or is a star over one of them.
fn covers(host: &HostSpec, domains: &[HostSpec]) -> bool {
    domains.iter().any(|domain| host.is_within(domain) || domain.is_within(host))
}

/// 1,000: each with a hundred names is more than anybody's own hosts.
const MOST: usize = 1000;
