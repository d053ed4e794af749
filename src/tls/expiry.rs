//! When the certificates that are in use end, for those who watch over them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::config::spec::UpstreamTlsSpec;

use super::certificates::Certificates;
use super::leaf::Leaf;

/// When the certificate of a file ends; of a chain its leaf, of authorities the first to end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// The file that it was read from.
    pub file: PathBuf,
    /// What it is for.
    pub role: Role,
    /// In Unix time.
    pub at: u64,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Shown to clients.
    Listener,
    /// Clients' certificates come from it.
    ClientAuthorities,
    /// Shown to endpoints.
    PoolClient,
    /// Endpoints' certificates come from it.
    PoolAuthorities,
}

impl Role {
    /// Its name in metrics and in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::ClientAuthorities => "client_authorities",
            Self::PoolClient => "pool_client",
            Self::PoolAuthorities => "pool_authorities",
        }
    }
}

/// Of what listeners present and ask for, each file once.
pub fn of_listeners<'c>(all: impl IntoIterator<Item = &'c Arc<Certificates>>) -> Vec<Expiry> {
    let mut list = Vec::new();
    for entry in all.into_iter().flat_map(|certificates| certificates.entries()) {
        let origin = entry.origin();
        let leaf = std::slice::from_ref(entry.leaf());
        list.extend(first_of(origin.certificate.clone(), Role::Listener, leaf));
        if let Some((_, file)) = &origin.clients {
            let authorities = entry.authorities();
            list.extend(first_of(file.clone(), Role::ClientAuthorities, authorities));
        }
    }
    sorted(list)
}

/// Of what pools are reached with, each file once.
pub fn of_pools<'p>(pools: impl IntoIterator<Item = &'p UpstreamTlsSpec>) -> Vec<Expiry> {
    let mut list = Vec::new();
    for tls in pools {
        let own = tls.identity.as_ref();
        list.extend(own.and_then(|own| {
            first_of(own.certificate.clone(), Role::PoolClient, own.chain.get(..1)?)
        }));
        let ca = tls.ca.as_ref();
        list.extend(
            ca.and_then(|ca| first_of(ca.path.clone(), Role::PoolAuthorities, &ca.certificates)),
        );
    }
    sorted(list)
}

fn first_of(file: PathBuf, role: Role, list: &[CertificateDer<'_>]) -> Option<Expiry> {
    let at = list.iter().filter_map(Leaf::read).map(|one| one.end()).min()?;
    Some(Expiry { file, role, at })
}

fn sorted(mut list: Vec<Expiry>) -> Vec<Expiry> {
    list.sort_unstable();
    // Where one use of a file is older than another, the first to end counts.
    list.dedup_by(|later, first| (&later.file, later.role) == (&first.file, first.role));
    list
}
