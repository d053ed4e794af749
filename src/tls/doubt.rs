//! What makes one doubt certificates that can be used.

use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, UnixTime};

use crate::config::spec::{HostSpec, UpstreamTlsSpec};

use super::leaf::{Leaf, Untimely};

/// What makes one doubt a certificate that can be used: the other side is going to refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// It has ended.
    #[error("{} has expired", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
    },
    /// It has not begun.
    #[error("{} is not valid yet", path.display())]
    Early {
        /// The file.
        path: PathBuf,
    },
    /// A chain whose links do not hold.
    #[error("certificate {number} in {} was not issued by the one after it", path.display())]
    Unchained {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
    },
    /// Others of its tenant are for all of its names.
    #[error("{} is shown to nobody: other certificates of the tenant are for the same names", path.display())]
    Idle {
        /// The file.
        path: PathBuf,
    },
    /// The host names another tenant before domains are asked.
    #[error("{} is not shown for {host}: hosts like that name a tenant before domains are asked", path.display())]
    Elsewhere {
        /// The file.
        path: PathBuf,
        /// The name.
        host: HostSpec,
    },
    /// It is not for a name that it is to be presented for.
    #[error("{} is not for {host}", path.display())]
    Unnamed {
        /// The file.
        path: PathBuf,
        /// The name.
        host: HostSpec,
    },
}

impl Doubt {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "renew it: whoever is shown it refuses it",
            Self::Early { .. } => "look at its dates and at this machine's clock",
            Self::Unchained { .. } => {
                "put the leaf first, then each certificate's issuer; the root can be left out"
            }
            Self::Idle { .. } => "leave it out, or tell them apart by hosts = [\"…\"] of each",
            Self::Elsewhere { .. } => {
                "put { domain = true } before the host in [tenant] from, or leave the name to that tenant"
            }
            Self::Unnamed { .. } => {
                "clients refuse it for this name: correct the host, or renew it"
            }
        }
    }
}

/// Of a chain that is shown.
pub(super) fn of_chain(path: &Path, chain: &[CertificateDer<'_>]) -> Vec<Doubt> {
    let leaf = chain.first().and_then(Leaf::read);
    let untimely = leaf.and_then(|leaf| leaf.at(UnixTime::now()).err());
    let mut doubts: Vec<Doubt> =
        untimely.map(|why| untimely_doubt(path, why)).into_iter().collect();
    let links = chain.windows(2).enumerate();
    let loose = links.filter(|(_, link)| match (Leaf::read(&link[0]), Leaf::read(&link[1])) {
        (Some(one), Some(next)) => !one.names_as_issuer(&next),
        _ => true,
    });
    let unchained = |(index, _)| Doubt::Unchained { path: path.into(), number: index + 1 };
    doubts.extend(loose.map(unchained).take(1));
    doubts
}

/// Of authorities: there is none that is good today.
pub(super) fn of_authorities(path: &Path, list: &[CertificateDer<'_>]) -> Option<Doubt> {
    let now = UnixTime::now();
    let mut untimely = list.iter().filter_map(Leaf::read).map(|one| one.at(now));
    let first = untimely.next()?.err()?;
    untimely.all(|one| one.is_err()).then(|| untimely_doubt(path, first))
}

/// Of what a pool is reached with.
pub fn of_pool(tls: &UpstreamTlsSpec) -> Vec<Doubt> {
    let own = tls.identity.iter().flat_map(|own| of_chain(&own.certificate, &own.chain));
    let ca = tls.ca.iter().filter_map(|ca| of_authorities(&ca.path, &ca.certificates));
    own.chain(ca).collect()
}

fn untimely_doubt(path: &Path, why: Untimely) -> Doubt {
    let path = path.to_path_buf();
    match why {
        Untimely::Expired => Doubt::Expired { path },
        Untimely::Early => Doubt::Early { path },
    }
}
