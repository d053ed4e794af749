//! What one listener presents, by the name that a client asks for (SNI). Immutable; replaced as a
//! whole.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error as TlsError, ServerConfig, ServerConnection};

use crate::config::spec::{CertificateSpec, ClientCertificatesMode, HostSpec};
use crate::model::identity::Identity;

use super::demand::Demand;
use super::shown::Shown;

/// The certificates of a listener.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<Box<str>, Arc<Entry>>,
    /// `*.x` under `x`.
    below: HashMap<Box<str>, Arc<Entry>>,
    default: Option<Arc<Entry>>,
    /// Each once.
    all: Vec<Arc<Entry>>,
}

/// One certificate and what goes with it: all that a handshake needs.
#[derive(Debug)]
pub struct Entry {
    /// What rustls is told where nothing is asked of clients.
    config: Arc<ServerConfig>,
    /// What is asked of its clients.
    demand: Arc<Demand>,
    leaf: CertificateDer<'static>,
    origin: Origin,
}

/// Where a certificate and its demand come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file of the chain.
    pub certificate: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
    /// What is asked of clients, and the file of the authorities.
    pub clients: Option<(ClientCertificatesMode, PathBuf)>,
}

impl Origin {
    /// As the config says.
    pub(super) fn of(spec: &CertificateSpec) -> Self {
        let clients = spec.clients.as_ref();
        Self {
            certificate: spec.certificate.path.clone(),
            key: spec.key.path.clone(),
            clients: clients.map(|clients| (clients.mode, clients.authorities.path.clone())),
        }
    }
}

impl Entry {
    /// From what was made for it; how sessions are kept, and what is agreed on, is said here.
    pub(super) fn new(
        mut config: ServerConfig,
        demand: Arc<Demand>,
        leaf: CertificateDer<'static>,
        origin: Origin,
    ) -> Self {
        settle(&mut config);
        if !demand.is_any() {
            config.ticketer = Arc::clone(&demand.tickets);
        }
        Self { config: Arc::new(config), demand, leaf, origin }
    }

    /// The certificate itself.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The authorities that its clients' certificates come from.
    pub(super) fn authorities(&self) -> &[CertificateDer<'static>] {
        self.demand.authorities()
    }

    /// What rustls is told in one handshake.
    ///
    /// # Errors
    /// When the cryptography refuses its own defaults.
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        if !self.demand.is_any() {
            return Ok(Arc::clone(&self.config));
        }
        let clock = Arc::clone(&self.config.time_provider);
        let shown = Arc::new(Shown::new(Arc::clone(&self.demand), Arc::clone(&clock)));
        let provider = Arc::clone(self.config.crypto_provider());
        let verifier = Arc::clone(&shown) as Arc<dyn ClientCertVerifier>;
        let mut config = ServerConfig::builder_with_details(provider, clock)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.config.cert_resolver));
        settle(&mut config);
        config.ticketer = shown;
        Ok(Arc::new(config))
    }

    /// The same by another clock.
    #[cfg(test)]
    pub(super) fn with_clock(&self, clock: Arc<dyn rustls::time_provider::TimeProvider>) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        config.time_provider = clock;
        let (demand, leaf) = (Arc::clone(&self.demand), self.leaf.clone());
        Self { config: Arc::new(config), demand, leaf, origin: self.origin.clone() }
    }

    /// Who the client is by its certificate, after a handshake; `None` where it has shown none.
    ///
    /// # Errors
    /// When what the client has shown is not enough, or not any more.
    pub fn identify(&self, connection: &ServerConnection) -> Result<Option<Identity>, TlsError> {
        let now = || self.config.time_provider.current_time().unwrap_or_else(UnixTime::now);
        self.demand.identify(connection, now)
    }
}

impl Certificates {
    /// With what is presented to who asks for no name, or for one that is not here.
    pub(super) fn with_default(default: Option<Arc<Entry>>) -> Self {
        let all = default.iter().cloned().collect();
        Self { default, all, ..Self::default() }
    }

    /// Each certificate once, in the order of the config.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.all.iter()
    }

    /// Adds a certificate, before its names.
    pub(super) fn add(&mut self, entry: &Arc<Entry>) {
        self.all.push(Arc::clone(entry));
    }

    /// Adds one name; `false` where it is taken.
    pub(super) fn insert(&mut self, host: &HostSpec, entry: &Arc<Entry>) -> bool {
        let (names, name) = match host {
            HostSpec::Exact(name) => (&mut self.exact, name),
            HostSpec::Below(name) => (&mut self.below, name),
        };
        let place = names.entry(name.as_str().into());
        let is_free = matches!(place, std::collections::hash_map::Entry::Vacant(_));
        place.or_insert_with(|| Arc::clone(entry));
        is_free
    }

    /// What is presented to who asks for this name, lower case and without a last dot, or for none.
    pub fn find(&self, name: Option<&str>) -> Option<&Arc<Entry>> {
        name.and_then(|name| self.named(name)).or(self.default.as_ref())
    }

    fn named(&self, name: &str) -> Option<&Arc<Entry>> {
        if let Some(entry) = self.exact.get(name) {
            return Some(entry);
        }
        let (label, parent) = name.split_once('.')?;
        if label.is_empty() { None } else { self.below.get(parent) }
    }

    /// Whether every name gets the same.
    pub fn is_one_for_all(&self) -> bool {
        self.default.is_some() && self.exact.is_empty() && self.below.is_empty()
    }
}

fn settle(config: &mut ServerConfig) {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // The order of the suites is ours: see `provider`.
    config.ignore_client_order = true;
    // Sessions are resumed from tickets alone: a store of sessions is a lock that all workers take.
    config.session_storage = Arc::new(NoServerSessionStorage {});
}
