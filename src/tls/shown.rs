//! What one client has shown under a demand, and until when its session may be resumed: a ticket
//! ends with the certificate that it stands for. Whoever comes with an older one begins anew, and
//! shows its present certificate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ProducesTickets;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme};

use super::demand::Demand;
use super::leaf::Leaf;

/// One handshake under a demand. Verifies and makes tickets as the demand does, and hands the end of
/// the certificate from one to the other.
pub(super) struct Shown {
    demand: Arc<Demand>,
    clock: Arc<dyn TimeProvider>,
    /// When the client's certificate ends, in Unix time; [`NEVER`] = none was shown.
    end: AtomicU64,
}

impl Shown {
    /// Nothing yet.
    pub(super) fn new(demand: Arc<Demand>, clock: Arc<dyn TimeProvider>) -> Self {
        Self { demand, clock, end: AtomicU64::new(NEVER) }
    }
}

impl ClientCertVerifier for Shown {
    fn offer_client_auth(&self) -> bool {
        self.demand.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.demand.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.demand.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let verified = self.demand.verifier.verify_client_cert(leaf, chain, now)?;
        // What is verified can be read; otherwise its session ends at once.
        let end = Leaf::read(leaf).map_or(0, |leaf| leaf.end());
        self.end.store(end, Ordering::Relaxed);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.demand.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.demand.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.demand.verifier.supported_verify_schemes()
    }
}

impl ProducesTickets for Shown {
    fn enabled(&self) -> bool {
        self.demand.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.demand.tickets.lifetime()
    }

    /// The end stands before the session, and is sealed with it.
    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let end = self.end.load(Ordering::Relaxed).to_be_bytes();
        self.demand.tickets.encrypt(&[&end[..], session].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let opened = self.demand.tickets.decrypt(ticket)?;
        let (end, session) = opened.split_first_chunk()?;
        let end = u64::from_be_bytes(*end);
        if self.clock.current_time()?.as_secs() > end {
            return None;
        }
        // What is resumed has the same end again.
        self.end.store(end, Ordering::Relaxed);
        Some(session.to_vec())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("demand", &self.demand).field("end", &self.end).finish()
    }
}

/// Tickets that two have to make and read: those of a demand, and those of a tenant.
#[derive(Debug)]
pub(super) struct Sealed {
    inner: Arc<dyn ProducesTickets>,
    outer: Arc<dyn ProducesTickets>,
}

impl Sealed {
    /// The outer one reads first.
    pub(super) fn new(inner: Arc<dyn ProducesTickets>, outer: Arc<dyn ProducesTickets>) -> Self {
        Self { inner, outer }
    }
}

impl ProducesTickets for Sealed {
    fn enabled(&self) -> bool {
        self.inner.enabled() && self.outer.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime().min(self.outer.lifetime())
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.outer.encrypt(&self.inner.encrypt(session)?)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.inner.decrypt(&self.outer.decrypt(ticket)?)
    }
}

/// The end of what has none.
const NEVER: u64 = u64::MAX;
