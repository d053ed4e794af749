//! What a TLS connection was begun with: the name that its client asked for, what it was shown, and
//! who it is. Which requests it may carry follows from that.

use http::request::Parts;
use rustls::ServerConnection;

use crate::model::identity::Identity;
use crate::routing::host;
use crate::tls::offer::{Chosen, Offer};

use super::error::ExchangeError;

/// What a TLS connection was begun with.
#[derive(Debug)]
pub(super) struct Secured {
    /// The certificates of that moment: others may be in force for new connections.
    offer: Offer,
    chosen: Chosen,
    /// Whether every host was shown the same then.
    is_for_all: bool,
    /// The name that was asked for, lower case.
    name: Option<Box<str>>,
    identity: Option<Identity>,
}

impl Secured {
    /// After the handshake.
    ///
    /// # Errors
    /// When what the client has shown is not enough.
    pub(super) fn after(
        connection: &ServerConnection,
        offer: Offer,
        chosen: Chosen,
    ) -> Result<Self, rustls::Error> {
        let identity = chosen.identify(connection)?;
        let name = connection.server_name().map(|name| plain(name).into());
        let is_for_all = offer.is_one_for_all();
        Ok(Self { offer, chosen, is_for_all, name, identity })
    }

    /// Who the client is by its certificate.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether a request is for a host that its connection was begun for: one with the same
    /// certificate, and the same demand on clients (RFC 9110 §7.4, §15.5.20). A connection to one
    /// host must not be a way around what another one demands.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn check(&self, head: &Parts) -> Result<(), ExchangeError> {
        if self.is_for_all {
            return Ok(());
        }
        // Without a host it is for whom the connection is for.
        let Some(host) = host::of(head) else {
            return Ok(());
        };
        if self.name.as_deref() == Some(host.as_ref()) {
            return Ok(());
        }
        match self.offer.find(Some(&host)) {
            Some(found) if self.chosen.is(found) => Ok(()),
            _ => Err(ExchangeError::Misdirected),
        }
    }
}

/// A name as certificates are found by it.
pub(super) fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}
