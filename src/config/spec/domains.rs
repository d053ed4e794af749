//! The meaning of `domains` and `certificates`: hosts of a tenant's own, and what is shown to who asks for them.

use std::fmt;
use std::path::PathBuf;

use crate::model::ids::TenantId;

use super::{HostSpec, TenantSpec};

/// Hosts of a tenant's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainsSpec {
    /// Never empty. [`HostSpec::Below`] is for one label before it, as in certificates.
    pub hosts: Vec<HostSpec>,
    /// For clients that ask for one of them by TLS, in the order of the file.
    pub certificates: Vec<TenantCertificateSpec>,
    /// Ways that are asked before the domains; `None` = none that goes by the host.
    pub earlier: Option<Box<EarlierHosts>>,
}

/// Hosts that name a tenant before domains are asked: one of them is nobody's domain, whoever has it as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierHosts {
    /// Whose domains are meant: what names this one is its own either way.
    pub own: TenantId,
    /// The texts before and after the id.
    pub ways: Vec<(String, String)>,
}

impl EarlierHosts {
    /// Whether requests for this host, or for one that its star stands for, may be another tenant's by these ways.
    pub fn take(&self, host: &HostSpec) -> bool {
        let is_other = |id: &str| id != self.own.as_str();
        match host {
            // The first way that is present decides.
            HostSpec::Exact(name) => {
                self.ways.iter().find_map(|way| within(name, way)).is_some_and(is_other)
            }
            HostSpec::Below(parent) => self.ways.iter().any(|(prefix, suffix)| {
                match prefix.split_once('.') {
                    // The star stands for the first label of what is before the id.
                    Some((_, prefix)) => {
                        let way = (prefix.to_owned(), suffix.clone());
                        within(parent, &way).is_some_and(is_other)
                    }
                    // It stands for the id, with what is around it.
                    None => suffix.split_once('.').is_some_and(|(_, after)| after == parent),
                }
            }),
        }
    }
}

fn within<'n>(name: &'n str, (prefix, suffix): &(String, String)) -> Option<&'n str> {
    let id = name.strip_prefix(prefix.as_str())?.strip_suffix(suffix.as_str())?;
    let fits = !id.contains('.') && TenantId::check(id.as_bytes()).is_ok();
    fits.then_some(id)
}

impl DomainsSpec {
    /// Whether this host may be another tenant's before domains are asked.
    pub fn is_taken(&self, host: &HostSpec) -> bool {
        self.earlier.as_ref().is_some_and(|earlier| earlier.take(host))
    }
}

/// One certificate of a tenant. What its files say is no part of it: a renewal is no edit of the routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantCertificateSpec {
    /// PEM file of the chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
    /// The names that it is for, each within the tenant's domains; empty = those in it that are.
    pub hosts: Vec<HostSpec>,
}

impl TenantSpec {
    /// Hosts of its own, which name it.
    pub fn domains(&self) -> &[HostSpec] {
        self.domains.as_ref().map_or(&[], |domains| &domains.hosts)
    }

    /// Certificates of its own, for these hosts.
    pub fn certificates(&self) -> &[TenantCertificateSpec] {
        self.domains.as_ref().map_or(&[], |domains| &domains.certificates)
    }
}

impl HostSpec {
    /// Whether all that this name is for is within a domain: itself, or one label before it for a domain with a
    /// star.
    pub fn is_within(&self, domain: &Self) -> bool {
        match (self, domain) {
            (Self::Exact(name), Self::Below(parent)) => name
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            (name, domain) => name == domain,
        }
    }
}

/// As the files write it.
impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}
