//! What is asked of clients: nothing, or a certificate. Session tickets belong to a demand: with the
//! tickets of one, nobody gets past another.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ProducesTickets, WebPkiClientVerifier};
use rustls::{Error as TlsError, HandshakeKind, RootCertStore, ServerConnection};

use crate::config::spec::ClientCertificatesMode;
use crate::model::identity::Identity;

use super::leaf::Leaf;

/// What is asked of the clients of some names.
pub struct Demand {
    asked: Option<Asked>,
    /// Checks what a client shows; of a demand for nothing, it asks for nothing.
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// Makes and reads the tickets of sessions.
    pub(super) tickets: Arc<dyn ProducesTickets>,
}

/// Which certificates are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) mode: ClientCertificatesMode,
    pub(super) authorities: Vec<CertificateDer<'static>>,
}

/// What makes and reads tickets that nobody else reads.
pub(super) fn new_tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    Ticketer::new()
}

/// All demands, each once. What outlives a reload of certificates: the tickets of a demand stay
/// good for as long as it is here.
#[derive(Debug, Default)]
pub struct Demands {
    list: Vec<Arc<Demand>>,
}

impl Demands {
    /// The one that asks for this.
    ///
    /// # Errors
    /// When an authority cannot be used.
    pub(super) fn of(
        &mut self,
        asked: Option<Asked>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<Demand>, TlsError> {
        if let Some(demand) = self.list.iter().find(|demand| demand.asked == asked) {
            return Ok(Arc::clone(demand));
        }
        let verifier = match &asked {
            Some(asked) => verifier(asked, provider)?,
            None => Arc::new(NoClientAuth),
        };
        let demand = Arc::new(Demand { asked, verifier, tickets: Ticketer::new()? });
        self.list.push(Arc::clone(&demand));
        Ok(demand)
    }

    /// Forgets those that nothing asks for any more, with their tickets.
    pub fn tidy(&mut self) {
        self.list.retain(|demand| Arc::strong_count(demand) > 1);
    }
}

fn verifier(
    asked: &Asked,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in &asked.authorities {
        roots.add(authority.clone())?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match asked.mode {
        ClientCertificatesMode::Required => builder,
        ClientCertificatesMode::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| TlsError::General(error.to_string()))
}

impl Demand {
    /// Whether there is one.
    pub(super) fn is_any(&self) -> bool {
        self.asked.is_some()
    }

    /// The authorities that certificates must come from; empty where nothing is asked.
    pub(super) fn authorities(&self) -> &[CertificateDer<'static>] {
        self.asked.as_ref().map_or(&[], |asked| &asked.authorities)
    }

    /// Who the client is, after a handshake; `None` where it has shown no certificate. A session that
    /// was resumed is looked at again: what it began with may be good no more.
    ///
    /// # Errors
    /// When what the client has shown is not enough, or not any more.
    pub(super) fn identify(
        &self,
        connection: &ServerConnection,
        now: impl FnOnce() -> UnixTime,
    ) -> Result<Option<Identity>, TlsError> {
        let Some(asked) = &self.asked else {
            return Ok(None);
        };
        let Some((leaf, chain)) = connection.peer_certificates().and_then(<[_]>::split_first)
        else {
            return match asked.mode {
                ClientCertificatesMode::Optional => Ok(None),
                ClientCertificatesMode::Required => Err(TlsError::NoCertificatesPresented),
            };
        };
        let kind = connection.handshake_kind();
        if !matches!(kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)) {
            self.verifier.verify_client_cert(leaf, chain, now())?;
        }
        // What rustls has verified can be read; a certificate without names is the safe reading.
        Ok(Some(Leaf::read(leaf).map(|leaf| leaf.identity()).unwrap_or_default()))
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.asked.as_ref().map(|asked| asked.mode);
        f.debug_struct("Demand").field("mode", &mode).finish_non_exhaustive()
    }
}
