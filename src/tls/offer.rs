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
    /// `None` = they present nothing.
    tenants: Option<Arc<Tenants>>,
}

/// What there is for one name.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'o> {
    entry: &'o Arc<Entry>,
    demand: &'o Arc<Demand>,
}

/// What a connection was begun with.
#[derive(Clone, Debug)]
pub struct Chosen {
    entry: Arc<Entry>,
    demand: Arc<Demand>,
}

impl Offer {
    /// Of a listener, with what tenants present, if they do.
    pub fn new(own: Arc<Certificates>, tenants: Option<Arc<Tenants>>) -> Self {
        Self { own, tenants }
    }

    /// What is presented to who asks for this name, lower case and without a last dot, or for none: the more precise
    /// certificate, and of two that are as precise the listener's.
    ///
    /// What is asked of clients is the listener's to say: of those who are shown a tenant's certificate it is what it
    /// would be without that.
    pub fn find(&self, name: Option<&str>) -> Option<Pick<'_>> {
        let own = self.own.find(name);
        let tenants = self.tenants.as_ref().zip(name);
        let tenants = tenants.and_then(|(tenants, name)| self.of_tenant(tenants, name));
        let (entry, demand) = match (tenants, own) {
            (None, own) => own.map(|entry| (entry, entry.demand()))?,
            (Some(entry), Some(own)) => (entry, own.demand()),
            (Some(entry), None) => (entry, self.own.otherwise()?),
        };
        Some(Pick { entry, demand })
    }

    /// The certificate of a tenant that is shown for a name.
    fn of_tenant<'o>(&self, tenants: &'o Tenants, name: &str) -> Option<&'o Arc<Entry>> {
        if self.own.has_exact(name) {
            return None;
        }
        match tenants.exact(name) {
            Found::Entry(entry) => return Some(entry),
            Found::Bare => return None,
            Found::Nothing => {}
        }
        let (label, parent) = name.split_once('.')?;
        let is_free = !label.is_empty() && !self.own.has_below(parent);
        if is_free { tenants.below(parent) } else { None }
    }

    /// Whether every name gets the same.
    pub fn is_one_for_all(&self) -> bool {
        self.own.is_one_for_all() && self.tenants.is_none()
    }
}

impl Pick<'_> {
    /// For a connection that goes on with it.
    pub fn keep(self) -> Chosen {
        Chosen { entry: Arc::clone(self.entry), demand: Arc::clone(self.demand) }
    }
}

impl Chosen {
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
    pub fn is(&self, other: Pick<'_>) -> bool {
        Arc::ptr_eq(&self.entry, other.entry) && Arc::ptr_eq(&self.demand, other.demand)
    }
}
