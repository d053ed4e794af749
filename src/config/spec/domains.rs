//! The meaning of `domains` and `certificates`: hosts of a tenant's own, and what is shown to who asks for them.

use std::fmt;
use std::path::PathBuf;

use super::{HostSpec, TenantSpec};

/// Hosts of a tenant's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainsSpec {
    /// Never empty. [`HostSpec::Below`] is for one label before it, as in certificates.
    pub hosts: Vec<HostSpec>,
    /// For clients that ask for one of them by TLS, in the order of the file.
    pub certificates: Vec<TenantCertificateSpec>,
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
