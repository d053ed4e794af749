//! What the listeners present to clients, read from its files: all that is wrong with them, and all
//! that makes one doubt.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{Error as TlsError, InconsistentKeys, ServerConfig};

use crate::config::pem::{KEY_HINT, PemFault, read_certificates, read_signing_key};
use crate::config::spec::{
    CertificateSpec, ClientCertificatesSpec, HostSpec, ListenerSpec, ListenerTlsSpec, NamedHost,
    NamedPath,
};
use crate::config::{Place, Problem};

use super::certificates::{Certificates, Entry, Origin, Otherwise};
use super::demand::{Asked, Demand, Demands};
use super::doubt::{self, Doubt};
use super::leaf::Leaf;

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
    #[error("another certificate of this listener is for {host} already")]
    Taken {
        /// The name.
        host: HostSpec,
    },
    /// A tenant's certificate that no domain of its is in.
    #[error("{} is for none of the tenant's domains", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The cryptography refuses its own defaults.
    #[error("TLS is not available: {0}")]
    Unavailable(TlsError),
}

/// What came of reading the certificates of all listeners.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What each listener presents; `None` = no TLS, or nothing that could be used. What is wrong is
    /// as it was before, where there was something.
    pub made: Made,
    /// All that is wrong.
    pub problems: Vec<Problem>,
    /// What makes one doubt.
    pub doubts: Vec<Problem>,
}

/// What each listener presents, in their order.
pub type Made = Vec<Option<Arc<Certificates>>>;

/// The files that the listeners' certificates, keys and authorities are read from.
pub fn files(listeners: &[ListenerSpec]) -> BTreeSet<PathBuf> {
    let tls = || listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let certificates = tls().flat_map(|tls| tls.default.iter().chain(&tls.certificates));
    let otherwise = tls().filter_map(|tls| Some(&tls.clients.as_ref()?.authorities));
    let files = certificates.flat_map(|spec| {
        let clients = spec.clients.as_ref().map(|clients| &clients.authorities);
        [&spec.certificate, &spec.key].into_iter().chain(clients)
    });
    files.chain(otherwise).map(|file| file.path.clone()).collect()
}

/// Reads the certificates and keys of the listeners. Demands that are known keep their session
/// tickets. A certificate that is wrong, or whose key or authorities are, is the one of `before`,
/// the same listeners' in the same order; so is a whole listener where names are at odds, for one of
/// them would be under a demand that is not its own.
pub fn build(
    listeners: &[ListenerSpec],
    before: &[Option<Arc<Certificates>>],
    demands: &mut Demands,
) -> Outcome {
    let provider = super::provider();
    let mut reading = Reading { provider, demands, before: None, outcome: Outcome::default() };
    for (number, listener) in listeners.iter().enumerate() {
        reading.before = before.get(number).cloned().flatten();
        let made = listener
            .tls
            .as_ref()
            .and_then(|tls| reading.listener(tls).or_else(|| reading.before.take()));
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
    /// What the listener that is read presents now.
    before: Option<Arc<Certificates>>,
    outcome: Outcome,
}

impl Reading<'_> {
    /// `None` where names are at odds, or a certificate cannot be used and none is in use.
    fn listener(&mut self, tls: &ListenerTlsSpec) -> Option<Arc<Certificates>> {
        let default = tls.default.as_ref().map(|spec| self.entry(spec, Self::no_hosts));
        let mut whole = !matches!(default, Some(None));
        let default = default.flatten().map(|(entry, _)| entry);
        // Asked of those who are shown a tenant's.
        let otherwise = match &tls.default {
            Some(_) => None,
            None => self.otherwise(tls),
        };
        // Where every certificate says itself what it asks of clients, the listener is as good without.
        whole &= tls.default.is_some()
            || otherwise.is_some()
            || tls.certificates.iter().all(|spec| spec.clients != tls.clients);
        let mut certificates = Certificates::with_default(default, otherwise);
        for spec in &tls.certificates {
            let Some((entry, hosts)) = self.entry(spec, Self::hosts) else {
                whole = false;
                continue;
            };
            certificates.add(&entry);
            for NamedHost { host, place } in hosts {
                if !certificates.insert(&host, &entry) {
                    self.refuse(&place, &ServerTlsError::Taken { host });
                    whole = false;
                }
            }
        }
        whole.then(|| Arc::new(certificates))
    }

    /// What is asked of those whose name no certificate of the listener is for: as its file says now, else as it said
    /// when it could be read.
    fn otherwise(&mut self, tls: &ListenerTlsSpec) -> Option<Otherwise> {
        let place = &tls.certificates.first()?.certificate.place;
        let clients = Origin::clients(tls.clients.as_ref());
        let demand = self.demand(tls.clients.as_ref(), place).or_else(|| {
            let before = self.before.as_ref()?;
            before.otherwise_of(&clients).map(Arc::clone)
        })?;
        Some(Otherwise { demand, clients })
    }

    /// One certificate and its names: the new one, else the one in use; `None` where there is
    /// neither. What is wrong is told.
    fn entry(
        &mut self,
        spec: &CertificateSpec,
        hosts: fn(&mut Self, &CertificateSpec, &CertificateDer<'_>) -> Option<Vec<NamedHost>>,
    ) -> Option<(Arc<Entry>, Vec<NamedHost>)> {
        if let Some(entry) = self.new_entry(spec)
            && let Some(hosts) = hosts(self, spec, entry.leaf())
        {
            return Some((Arc::new(entry), hosts));
        }
        let origin = Origin::of(spec);
        let before = self.before.clone()?;
        let entry = before.entries().find(|entry| *entry.origin() == origin).map(Arc::clone)?;
        let hosts = hosts(self, spec, entry.leaf())?;
        Some((entry, hosts))
    }

    /// One certificate with its chain; `None` where something is wrong with it, which is told.
    fn new_entry(&mut self, spec: &CertificateSpec) -> Option<Entry> {
        let demand = self.demand(spec.clients.as_ref(), &spec.certificate.place);
        let chain = self.certificates(&spec.certificate.path, &spec.certificate.place);
        let path = spec.key.path.clone();
        let key = read_signing_key(&path)
            .map_err(|fault| self.refuse(&spec.key.place, &ServerTlsError::Key { path, fault }))
            .ok();
        let (demand, chain, key) = (demand?, chain?, key?);
        let leaf = chain.first()?.clone();
        let joined = join(&self.provider, &Origin::of(spec), &demand, chain.clone(), key);
        match joined {
            Ok(config) => {
                for doubt in doubt::of_chain(&spec.certificate.path, &chain) {
                    self.doubt(&spec.certificate.place, &doubt);
                }
                Some(Entry::new(config, demand, leaf, Origin::of(spec)))
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

    /// What is asked of clients; `None` where the authorities cannot be used, which is told.
    fn demand(
        &mut self,
        clients: Option<&ClientCertificatesSpec>,
        place: &Place,
    ) -> Option<Arc<Demand>> {
        let asked = match clients {
            None => None,
            Some(ClientCertificatesSpec { mode, authorities }) => {
                let NamedPath { path, place } = authorities;
                let authorities = self.certificates(path, place)?;
                if let Some(doubt) = doubt::of_authorities(path, &authorities) {
                    self.doubt(place, &doubt);
                }
                Some(Asked { mode: *mode, authorities })
            }
        };
        let error = match self.demands.of(asked, &self.provider) {
            Ok(demand) => return Some(demand),
            Err(error) => error,
        };
        match clients {
            Some(ClientCertificatesSpec { authorities, .. }) => {
                let (path, fault) = (authorities.path.clone(), PemFault::Unusable(error));
                self.refuse(&authorities.place, &ServerTlsError::Certificate { path, fault });
            }
            None => self.refuse(place, &ServerTlsError::Unavailable(error)),
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

    /// The listener's own certificate is for whoever gets no other.
    fn no_hosts(&mut self, _: &CertificateSpec, _: &CertificateDer<'_>) -> Option<Vec<NamedHost>> {
        Some(Vec::new())
    }

    /// The names that a certificate is presented for: those that are written, else those in it;
    /// `None` where there is none, which is told.
    fn hosts(
        &mut self,
        spec: &CertificateSpec,
        leaf: &CertificateDer<'_>,
    ) -> Option<Vec<NamedHost>> {
        let names = Leaf::read(leaf).map(|leaf| leaf.dns_names()).unwrap_or_default();
        let path = &spec.certificate.path;
        if !spec.hosts.is_empty() {
            for NamedHost { host, place } in &spec.hosts {
                if !names.iter().any(|name| covers(name, host)) {
                    let (path, host) = (path.clone(), host.clone());
                    self.doubt(place, &Doubt::Unnamed { path, host });
                }
            }
            return Some(spec.hosts.clone());
        }
        if names.is_empty() {
            let error = ServerTlsError::Nameless { path: path.clone() };
            self.refuse(&spec.certificate.place, &error);
            return None;
        }
        let mut hosts: Vec<HostSpec> = names.iter().map(|name| host(name)).collect();
        hosts.sort_unstable_by_key(ToString::to_string);
        hosts.dedup();
        let place = &spec.certificate.place;
        Some(hosts.into_iter().map(|host| NamedHost { host, place: place.clone() }).collect())
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
            Self::Foreign { .. } => {
                "renew it for a name among the tenant's domains, or correct these; it is shown for no other"
            }
            Self::Taken { .. } => "tell them apart by hosts = [\"…\"] of each, or keep one",
            Self::Unavailable(_) => "this is a bug, please report it",
        }
    }
}

/// What rustls is told of a certificate and its key.
pub(super) fn join(
    provider: &Arc<CryptoProvider>,
    origin: &Origin,
    demand: &Demand,
    chain: Vec<CertificateDer<'static>>,
    secret: Arc<dyn SigningKey>,
) -> Result<ServerConfig, ServerTlsError> {
    let (certificate, key) = (&origin.certificate, &origin.key);
    let both = CertifiedKey::new(chain, secret);
    match both.keys_match() {
        // As rustls has it: nobody can tell of a key that does not say its public one.
        Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(TlsError::InconsistentKeys(_)) => {
            let (certificate, key) = (certificate.clone(), key.clone());
            return Err(ServerTlsError::Mismatch { certificate, key });
        }
        Err(error) => {
            let fault = PemFault::Unusable(error);
            return Err(ServerTlsError::Certificate { path: certificate.clone(), fault });
        }
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(ServerTlsError::Unavailable)?
        .with_client_cert_verifier(Arc::clone(&demand.verifier));
    Ok(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(both))))
}

/// A name of a certificate.
pub(super) fn host(name: &str) -> HostSpec {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.strip_prefix("*.") {
        Some(below) => HostSpec::Below(below.to_owned()),
        None => HostSpec::Exact(name.to_owned()),
    }
}

/// Whether clients that ask for `wanted` take a certificate for `name`.
pub(super) fn covers(name: &str, wanted: &HostSpec) -> bool {
    match (host(name), wanted) {
        (HostSpec::Below(below), HostSpec::Exact(wanted)) => {
            wanted.split_once('.').is_some_and(|(_, parent)| parent == below)
        }
        (name, wanted) => name == *wanted,
    }
}

const CERTIFICATE_HINT: &str =
    "a PEM file has blocks that start with -----BEGIN CERTIFICATE-----, the leaf first";

#[cfg(test)]
mod tests;
