//! What a listener presents at one moment: certificates of its own, and those of tenants.

use std::sync::Arc;

use rustls::{Error as TlsError, ServerConfig, ServerConnection};

use crate::model::identity::Identity;

use super::certificates::{Certificates, Entry};
use super::demand::Demand;
use super::tenants::{Found, Tenants};

/// What a listener presents at one moment.
#[derive(Clone, Debug)]
pub struct Offer {
    own: Arc<Certificates>,
    tenants: Arc<Tenants>,
}

/// What there is for one name.
#[derive(Clone, Debug)]
pub struct Chosen {
    entry: Arc<Entry>,
    demand: Arc<Demand>,
}

impl Offer {
    /// Of a listener, with what tenants present.
    pub fn new(own: Arc<Certificates>, tenants: Arc<Tenants>) -> Self {
        Self { own, tenants }
    }

    /// What is presented to who asks for this name, lower case and without a last dot, or for none: the more precise
    /// certificate, and of two that are as precise the listener's.
    ///
    /// What is asked of clients is the listener's to say: of those who are shown a tenant's certificate it is what it
    /// would be without that.
    pub fn find(&self, name: Option<&str>) -> Option<Chosen> {
        let own = self.own.find(name);
        let tenants = name.filter(|_| !self.tenants.is_empty()).and_then(|name| self.tenant(name));
        match (tenants, own) {
            (None, own) => own.map(|entry| Chosen::new(entry, entry.demand())),
            (Some(entry), Some(own)) => Some(Chosen::new(entry, own.demand())),
            (Some(entry), None) => Some(Chosen::new(entry, self.own.otherwise()?)),
        }
    }

    /// The certificate of a tenant that is shown for a name.
    fn tenant(&self, name: &str) -> Option<&Arc<Entry>> {
        if self.own.has_exact(name) {
            return None;
        }
        match self.tenants.exact(name) {
            Found::Entry(entry) => return Some(entry),
            Found::Bare => return None,
            Found::Nothing => {}
        }
        let (label, parent) = name.split_once('.')?;
        let is_free = !label.is_empty() && !self.own.has_below(parent);
        if is_free { self.tenants.below(parent) } else { None }
    }

    /// Whether every name gets the same.
    pub fn is_one_for_all(&self) -> bool {
        self.own.is_one_for_all() && self.tenants.is_empty()
    }
}

impl Chosen {
    fn new(entry: &Arc<Entry>, demand: &Arc<Demand>) -> Self {
        Self { entry: Arc::clone(entry), demand: Arc::clone(demand) }
    }

    /// What rustls is told in one handshake.
    ///
    /// # Errors
    /// When the cryptography refuses its own defaults.
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.entry.config_for(&self.demand)
    }

    /// Who the client is by its certificate, after a handshake; `None` where it has shown none.
    ///
    /// # Errors
    /// When what the client has shown is not enough, or not any more.
    pub fn identify(&self, connection: &ServerConnection) -> Result<Option<Identity>, TlsError> {
        self.entry.identify_for(&self.demand, connection)
    }

    /// Whether it is the same certificate, with the same demand on clients.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry) && Arc::ptr_eq(&self.demand, &other.demand)
    }
}
