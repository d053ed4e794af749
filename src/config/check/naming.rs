//! How a request names its tenant.

use std::sync::Arc;

use http::HeaderName;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Identity, Naming, Way};
use crate::config::spec::{CertificateField, NameFrom, NamingSpec};
use crate::config::text::{HostPattern, NamePattern, Written};
use crate::model::ids::TenantId;

use super::access;
use super::head::OWNED;

/// Checks the tables `[tenant]` and `[identity]`; without the first, the header `x-tenant-id` names the
/// tenant.
pub(super) fn check(
    raw: Option<(usize, At<Naming>)>,
    identity: Option<(usize, At<Identity>)>,
    beside: &access::Beside<'_>,
    faults: &mut Faults<'_>,
) -> NamingSpec {
    let mut from = Vec::new();
    match raw.map(|(file, naming)| (file, naming.value.from)) {
        Some((file, Some(ways))) => {
            let root = Key::root(file);
            let table = root.name("tenant");
            let key = table.name("from");
            if ways.value.is_empty() {
                let hint = "write [{ header = \"X-Tenant-ID\" }], or leave it out";
                faults.add_missing(&key, ways.start, "no way names the tenant", hint);
            }
            let last = ways.value.len().saturating_sub(1);
            for (index, raw) in ways.value.into_iter().enumerate() {
                let start = raw.start;
                let key = key.index(index);
                let Some(way) = way(raw, &key, faults) else { continue };
                if matches!(way, NameFrom::Default(_)) && index != last {
                    let hint = "put it at the end".to_owned();
                    let what = "the ways after a default are never used";
                    faults.add(&key, start, what, Some(hint));
                }
                if from.contains(&way) {
                    faults.add(&key, start, "is there twice", Some("keep one".to_owned()));
                }
                from.push(way);
            }
        }
        _ => from.push(NameFrom::Header(TENANT_HEADER)),
    }
    let headers = from.iter().find_map(|way| match way {
        NameFrom::Header(name) => Some(name.clone()),
        _ => None,
    });
    let forward_as = headers.unwrap_or(TENANT_HEADER);
    let named = [NameFrom::Header(forward_as.clone())];
    let ways: Vec<NameFrom> = from.iter().cloned().chain(named).collect();
    let identity = Arc::new(access::identity(identity, &ways, beside, faults));
    NamingSpec { from, forward_as, identity }
}

fn way(raw: At<Way>, key: &Key<'_>, faults: &mut Faults<'_>) -> Option<NameFrom> {
    let At { value: raw, start } = raw;
    let header = raw.header.map(|header| {
        if OWNED.contains(&header.0) || header.0 == http::header::HOST {
            let what = format!("the header {} cannot name a tenant", header.0);
            let hint = "take a header of its own, as in \"X-Tenant-ID\"".to_owned();
            faults.add(&key.name("header"), start, what, Some(hint));
        }
        NameFrom::Header(header.0)
    });
    let host = raw.host.map(|Written(HostPattern { prefix, suffix })| {
        NameFrom::Host { prefix, suffix } //
    });
    let of_certificate = |field, prefix, suffix| NameFrom::Certificate { field, prefix, suffix };
    let common_name = raw.certificate_cn.map(|Written(NamePattern { prefix, suffix })| {
        of_certificate(CertificateField::CommonName, prefix, suffix)
    });
    let dns = raw.certificate_dns.map(|Written(HostPattern { prefix, suffix })| {
        of_certificate(CertificateField::Dns, prefix, suffix)
    });
    let uri = raw.certificate_uri.map(|Written(NamePattern { prefix, suffix })| {
        of_certificate(CertificateField::Uri, prefix, suffix)
    });
    let path = raw.path.map(|path| NameFrom::Path(path.0.0));
    let credential = raw.credential.map(|kind| NameFrom::Credential(kind.0.0));
    let domain = raw.domain.filter(|is_so| *is_so).map(|_| NameFrom::Domain);
    let is_default = raw.default.is_some();
    let default = raw.default.and_then(|default| self::default(&default, key, faults));

    let ways = [header, host, common_name, dns, uri, path, credential, domain, default];
    let mut ways = ways.into_iter().flatten();
    match (ways.next(), ways.next()) {
        (Some(way), None) => Some(way),
        (None, _) if is_default => None,
        (None, _) => {
            faults.add_missing(key, start, "names no way", WAYS);
            None
        }
        (Some(_), Some(_)) => {
            faults.add(key, start, "names several ways in one", Some(WAYS.to_owned()));
            None
        }
    }
}

fn default(raw: &At<String>, key: &Key<'_>, faults: &mut Faults<'_>) -> Option<NameFrom> {
    match TenantId::new(&raw.value) {
        Ok(id) => Some(NameFrom::Default(id)),
        Err(error) => {
            let hint = "an id is 1 to 128 of letters, digits, '.', '_' and '-'".to_owned();
            faults.add(&key.name("default"), raw.start, format!("the id {error}"), Some(hint));
            None
        }
    }
}

const WAYS: &str = "write one of { header = \"X-Tenant-ID\" }, { host = \"{tenant}.example.com\" }, \
                    { certificate-cn = \"{tenant}\" }, \
                    { certificate-dns = \"{tenant}.clients.example.com\" }, \
                    { certificate-uri = \"spiffe://example.com/{tenant}\" }, { path = \"strip\" }, \
                    { credential = \"api-key\" }, { domain = true }, { default = \"acme\" }";

/// What names a tenant where nothing is configured.
const TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");
