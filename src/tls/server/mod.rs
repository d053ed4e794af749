//! What the listeners present to clients, read from its files: all that is wrong with them, and all
//! that makes one doubt.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::{Error as TlsError, ServerConfig};

use crate::config::spec::{
    CertificateSpec, ClientCertificatesSpec, HostSpec, ListenerSpec, ListenerTlsSpec, NamedHost,
};
use crate::config::{Place, Problem};

use super::certificates::{Certificates, Entry};
use super::demand::{Asked, Demand, Demands};
use super::leaf::{Leaf, Untimely};
use super::pem::{PemFault, read_certificates, read_key};

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerTlsError {
    /// A file of certificates: a listener's, or authorities.
    #[error("{} {fault}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: PemFault,
    },
    /// The file of the private key.
    #[error("{} {fault}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: PemFault,
    },
    /// Each is right by itself.
    #[error("the key {} is not the one of the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Nobody could ask for it.
    #[error("{} has no DNS name in it", path.display())]
    Nameless {
        /// The file.
        path: PathBuf,
    },
    /// Two certificates of a listener are for one name.
    #[error("another certificate of this listener is for {} already", shown(host))]
    Taken {
        /// The name.
        host: HostSpec,
    },
    /// The cryptography refuses its own defaults.
    #[error("TLS is not available: {0}")]
    Unavailable(TlsError),
}

/// What makes one doubt a certificate that can be used: clients are going to refuse it.
#[derive(Debug, thiserror::Error)]
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
    /// It is not for a name that it is to be presented for.
    #[error("{} is not for {}", path.display(), shown(host))]
    Unnamed {
        /// The file.
        path: PathBuf,
        /// The name.
        host: HostSpec,
    },
}

/// What came of reading the certificates of all listeners.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What each listener presents; `None` = no TLS. To be used only where there is no problem.
    pub made: Vec<Option<Certificates>>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
    /// What makes one doubt.
    pub doubts: Vec<Problem>,
}

/// Reads the certificates and keys of the listeners. Demands that
/// are known keep their session tickets.
pub fn build(listeners: &[ListenerSpec], demands: &mut Demands) -> Outcome {
    let provider = super::provider();
    let mut reading = Reading { provider, demands, outcome: Outcome::default() };
    for listener in listeners {
        let made = listener.tls.as_ref().map(|tls| reading.listener(tls));
        reading.outcome.made.push(made);
    }
    let mut outcome = reading.outcome;
    // What several certificates share (their authorities) was told with each of them.
    for list in [&mut outcome.problems, &mut outcome.doubts] {
        list.sort_by_key(|problem| (problem.line, problem.column));
        list.dedup();
    }
    outcome
}

struct Reading<'d> {
    provider: Arc<CryptoProvider>,
    demands: &'d mut Demands,
    outcome: Outcome,
}

impl Reading<'_> {
    fn listener(&mut self, tls: &ListenerTlsSpec) -> Certificates {
        let default = tls.default.as_ref().and_then(|spec| self.entry(spec));
        let mut certificates = Certificates::with_default(default.map(|(entry, _)| entry));
        for spec in &tls.certificates {
            let Some((entry, chain)) = self.entry(spec) else { continue };
            let entry = Arc::new(entry);
            for NamedHost { host, place } in self.hosts(spec, &chain) {
                if !certificates.insert(&host, &entry) {
                    self.refuse(&place, &ServerTlsError::Taken { host });
                }
            }
        }
        certificates
    }

    /// One certificate with its chain; `None` where something is wrong with it, which is told.
    fn entry(&mut self, spec: &CertificateSpec) -> Option<(Entry, Vec<CertificateDer<'static>>)> {
        let demand = self.demand(spec);
        let chain = self.certificates(&spec.certificate.path, &spec.certificate.place);
        let path = spec.key.path.clone();
        let key = read_key(&path, &self.provider)
            .map_err(|fault| self.refuse(&spec.key.place, &ServerTlsError::Key { path, fault }))
            .ok();
        let (demand, chain, key) = (demand?, chain?, key?);
        match self.join(spec, &demand, chain.clone(), key) {
            Ok(config) => {
                self.look_at_time(spec, &chain);
                Some((Entry::new(config, demand), chain))
            }
            Err(error) => {
                let place = match error {
                    ServerTlsError::Certificate { .. } => &spec.certificate.place,
                    _ => &spec.key.place,
                };
                self.refuse(place, &error);
                None
            }
        }
    }

    fn join(
        &self,
        spec: &CertificateSpec,
        demand: &Arc<Demand>,
        chain: Vec<CertificateDer<'static>>,
        secret: PrivateKeyDer<'static>,
    ) -> Result<ServerConfig, ServerTlsError> {
        let (certificate, key) = (&spec.certificate.path, &spec.key.path);
        ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(ServerTlsError::Unavailable)?
            .with_client_cert_verifier(Arc::clone(&demand.verifier))
            .with_single_cert(chain, secret)
            .map_err(|error| match error {
                TlsError::InconsistentKeys(_) => {
                    ServerTlsError::Mismatch { certificate: certificate.clone(), key: key.clone() }
                }
                error => {
                    let fault = PemFault::Unusable(error);
                    ServerTlsError::Certificate { path: certificate.clone(), fault }
                }
            })
    }

    /// What is asked of clients; `None` where the authorities cannot be used, which is told.
    fn demand(&mut self, spec: &CertificateSpec) -> Option<Arc<Demand>> {
        let asked = match &spec.clients {
            None => None,
            Some(ClientCertificatesSpec { mode, authorities }) => {
                let authorities = self.certificates(&authorities.path, &authorities.place)?;
                Some(Asked { mode: *mode, authorities })
            }
        };
        let error = match self.demands.of(asked, &self.provider) {
            Ok(demand) => return Some(demand),
            Err(error) => error,
        };
        match &spec.clients {
            Some(ClientCertificatesSpec { authorities, .. }) => {
                let (path, fault) = (authorities.path.clone(), PemFault::Unusable(error));
                self.refuse(&authorities.place, &ServerTlsError::Certificate { path, fault });
            }
            None => self.refuse(&spec.certificate.place, &ServerTlsError::Unavailable(error)),
        }
        None
    }

    fn certificates(&mut self, path: &Path, place: &Place) -> Option<Vec<CertificateDer<'static>>> {
        read_certificates(path)
            .map_err(|fault| {
                let path = path.to_path_buf();
                self.refuse(place, &ServerTlsError::Certificate { path, fault });
            })
            .ok()
    }

    /// The names that a certificate is presented for: those that are written, else those in it.
    fn hosts(&mut self, spec: &CertificateSpec, chain: &[CertificateDer<'_>]) -> Vec<NamedHost> {
        let leaf = chain.first().and_then(Leaf::read);
        let names = leaf.map(|leaf| leaf.dns_names()).unwrap_or_default();
        let path = &spec.certificate.path;
        if !spec.hosts.is_empty() {
            for NamedHost { host, place } in &spec.hosts {
                if !names.iter().any(|name| covers(name, host)) {
                    let (path, host) = (path.clone(), host.clone());
                    self.doubt(place, &Doubt::Unnamed { path, host });
                }
            }
            return spec.hosts.clone();
        }
        if names.is_empty() {
            let error = ServerTlsError::Nameless { path: path.clone() };
            self.refuse(&spec.certificate.place, &error);
        }
        let mut hosts: Vec<HostSpec> = names.iter().map(|name| host(name)).collect();
        hosts.sort_unstable_by_key(shown);
        hosts.dedup();
        let place = &spec.certificate.place;
        hosts.into_iter().map(|host| NamedHost { host, place: place.clone() }).collect()
    }

    fn look_at_time(&mut self, spec: &CertificateSpec, chain: &[CertificateDer<'_>]) {
        let Some(leaf) = chain.first().and_then(Leaf::read) else { return };
        let path = spec.certificate.path.clone();
        let doubt = match leaf.at(UnixTime::now()) {
            Ok(()) => return,
            Err(Untimely::Expired) => Doubt::Expired { path },
            Err(Untimely::Early) => Doubt::Early { path },
        };
        self.doubt(&spec.certificate.place, &doubt);
    }

    fn refuse(&mut self, place: &Place, error: &ServerTlsError) {
        self.outcome.problems.push(place.problem(error.to_string(), error.hint().to_owned()));
    }

    fn doubt(&mut self, place: &Place, doubt: &Doubt) {
        self.outcome.doubts.push(place.problem(doubt.to_string(), doubt.hint().to_owned()));
    }
}

impl ServerTlsError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Certificate { fault, .. } => fault.hint(CERTIFICATE_HINT),
            Self::Key { fault, .. } => fault.hint(KEY_HINT),
            Self::Mismatch { .. } => {
                "name the key that the certificate was made for; the leaf certificate comes first \
                 in its file"
            }
            Self::Nameless { .. } => "name those that it is for: hosts = [\"shop.example.com\"]",
            Self::Taken { .. } => "tell them apart by hosts = [\"…\"] of each, or keep one",
            Self::Unavailable(_) => "this is a bug, please report it",
        }
    }
}

impl Doubt {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "renew it: clients refuse it",
            Self::Early { .. } => "look at its dates and at this machine's clock",
            Self::Unnamed { .. } => {
                "clients refuse it for this name: correct the host, or renew it"
            }
        }
    }
}

/// A name of a certificate.
fn host(name: &str) -> HostSpec {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.strip_prefix("*.") {
        Some(below) => HostSpec::Below(below.to_owned()),
        None => HostSpec::Exact(name.to_owned()),
    }
}

/// Whether clients that ask for `wanted` take a certificate for `name`.
fn covers(name: &str, wanted: &HostSpec) -> bool {
    match (host(name), wanted) {
        (HostSpec::Below(below), HostSpec::Exact(wanted)) => {
            wanted.split_once('.').is_some_and(|(_, parent)| parent == below)
        }
        (name, wanted) => name == *wanted,
    }
}

fn shown(host: &HostSpec) -> String {
    match host {
        HostSpec::Exact(name) => name.clone(),
        HostSpec::Below(name) => format!("*.{name}"),
    }
}

const CERTIFICATE_HINT: &str =
    "a PEM file has blocks that start with -----BEGIN CERTIFICATE-----, the leaf first";

const KEY_HINT: &str =
    "a PEM file of a key has a block that starts with -----BEGIN PRIVATE KEY-----";

#[cfg(test)]
mod tests;
