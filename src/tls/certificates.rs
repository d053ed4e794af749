//! What one listener presents, by the name that a client asks for (SNI). Immutable; replaced as a
//! whole.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::{Error as TlsError, ServerConfig, ServerConnection};

use crate::config::spec::HostSpec;
use crate::model::identity::Identity;

use super::demand::Demand;

/// The certificates of a listener.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<Box<str>, Arc<Entry>>,
    /// `*.x` under `x`.
    below: HashMap<Box<str>, Arc<Entry>>,
    default: Option<Arc<Entry>>,
}

/// One certificate and what goes with it: all that a handshake needs.
#[derive(Debug)]
pub struct Entry {
    /// What rustls is told.
    pub config: Arc<ServerConfig>,
    /// What is asked of its clients.
    pub(super) demand: Arc<Demand>,
}

impl Entry {
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
    pub(super) fn with_default(default: Option<Entry>) -> Self {
        Self { default: default.map(Arc::new), ..Self::default() }
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
