//! What one listener presents, by the name that a client asks for (SNI). Immutable; replaced as a
//! whole.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{Error as TlsError, ServerConfig, ServerConnection};

use crate::config::spec::{
    CertificateSpec, ClientCertificatesMode, ClientCertificatesSpec, HostSpec,
};
use crate::model::identity::Identity;

use super::demand::Demand;
use super::shown::{Sealed, Shown};

/// The certificates of a listener.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<Box<str>, Arc<Entry>>,
    /// `*.x` under `x`.
    below: HashMap<Box<str>, Arc<Entry>>,
    default: Option<Arc<Entry>>,
    /// What is asked of those who ask for a tenant's name that nothing here is for; `None` = they cannot come.
    otherwise: Option<Otherwise>,
    /// Each once.
    all: Vec<Arc<Entry>>,
}

/// What is asked of clients, and where that is written.
#[derive(Clone, Debug)]
pub(super) struct Otherwise {
    pub(super) demand: Arc<Demand>,
    /// As in [`Origin`].
    pub(super) clients: Option<(ClientCertificatesMode, PathBuf)>,
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
    /// Seals the tickets of a tenant's sessions, whatever is asked of clients; `None` = it is a listener's.
    seal: Option<Arc<dyn ProducesTickets>>,
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
        Self {
            certificate: spec.certificate.path.clone(),
            key: spec.key.path.clone(),
            clients: Self::clients(spec.clients.as_ref()),
        }
    }

    pub(super) fn clients(
        spec: Option<&ClientCertificatesSpec>,
    ) -> Option<(ClientCertificatesMode, PathBuf)> {
        spec.map(|clients| (clients.mode, clients.authorities.path.clone()))
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
        Self { config: Arc::new(config), demand, leaf, origin, seal: None }
    }

    /// A tenant's, with what seals the tickets of its sessions.
    pub(super) fn of_tenant(
        mut config: ServerConfig,
        nothing: Arc<Demand>,
        leaf: CertificateDer<'static>,
        (origin, seal): (Origin, Option<Arc<dyn ProducesTickets>>),
    ) -> Self {
        settle(&mut config);
        if let Some(seal) = &seal {
            config.ticketer = Arc::clone(seal);
        }
        Self { config: Arc::new(config), demand: nothing, leaf, origin, seal }
    }

    /// What is asked of its clients, where the listener does not say it.
    pub(super) fn demand(&self) -> &Arc<Demand> {
        &self.demand
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
        self.config_for(&self.demand)
    }

    /// As [`Self::config`], where this is asked of clients.
    pub(super) fn config_for(&self, demand: &Arc<Demand>) -> Result<Arc<ServerConfig>, TlsError> {
        if !demand.is_any() {
            return Ok(Arc::clone(&self.config));
        }
        let clock = Arc::clone(&self.config.time_provider);
        let shown = Arc::new(Shown::new(Arc::clone(demand), Arc::clone(&clock)));
        let provider = Arc::clone(self.config.crypto_provider());
        let verifier = Arc::clone(&shown) as Arc<dyn ClientCertVerifier>;
        let mut config = ServerConfig::builder_with_details(provider, clock)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.config.cert_resolver));
        settle(&mut config);
        config.ticketer = match &self.seal {
            Some(seal) => Arc::new(Sealed::new(shown, Arc::clone(seal))),
            None => shown,
        };
        Ok(Arc::new(config))
    }

    /// The same by another clock.
    #[cfg(test)]
    pub(super) fn with_clock(&self, clock: Arc<dyn rustls::time_provider::TimeProvider>) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        config.time_provider = clock;
        let (demand, leaf) = (Arc::clone(&self.demand), self.leaf.clone());
        let (origin, seal) = (self.origin.clone(), self.seal.clone());
        Self { config: Arc::new(config), demand, leaf, origin, seal }
    }

    /// Who the client is by its certificate, after a handshake; `None` where it has shown none.
    ///
    /// # Errors
    /// When what the client has shown is not enough, or not any more.
    pub fn identify(&self, connection: &ServerConnection) -> Result<Option<Identity>, TlsError> {
        self.identify_for(&self.demand, connection)
    }

    /// As [`Self::identify`], where this was asked of the client.
    pub(super) fn identify_for(
        &self,
        demand: &Demand,
        connection: &ServerConnection,
    ) -> Result<Option<Identity>, TlsError> {
        let now = || self.config.time_provider.current_time().unwrap_or_else(UnixTime::now);
        demand.identify(connection, now)
    }
}

impl Certificates {
    /// With what is presented to who asks for no name, or for one that is not here, and with what is asked of them
    /// where they are shown a tenant's certificate.
    pub(super) fn with_default(default: Option<Arc<Entry>>, otherwise: Option<Otherwise>) -> Self {
        let all = default.iter().cloned().collect();
        let of = |entry: &Arc<Entry>| Otherwise {
            demand: Arc::clone(&entry.demand),
            clients: entry.origin.clients.clone(),
        };
        let otherwise = default.as_ref().map(of).or(otherwise);
        Self { default, otherwise, all, ..Self::default() }
    }

    /// What is asked of those whose name nothing here is for.
    pub(super) fn otherwise(&self) -> Option<&Arc<Demand>> {
        self.otherwise.as_ref().map(|otherwise| &otherwise.demand)
    }

    /// The same, where it is written as this says.
    pub(super) fn otherwise_of(
        &self,
        clients: &Option<(ClientCertificatesMode, PathBuf)>,
    ) -> Option<&Arc<Demand>> {
        let otherwise = self.otherwise.as_ref();
        otherwise.filter(|otherwise| otherwise.clients == *clients).map(|one| &one.demand)
    }

    /// Whether there is something for exactly this name.
    pub(super) fn has_exact(&self, name: &str) -> bool {
        self.exact.contains_key(name)
    }

    /// Whether there is something for the names of one label before this.
    pub(super) fn has_below(&self, parent: &str) -> bool {
        self.below.contains_key(parent)
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
    pub(super) fn is_one_for_all(&self) -> bool {
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
