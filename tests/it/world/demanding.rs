//! What an origin presents that demands a certificate of whoever connects, and writes down what it was
//! asked for and shown.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

/// A demand, and what came of it.
pub(crate) struct Demanding {
    /// For an origin.
    pub(crate) config: Arc<ServerConfig>,
    notes: Arc<Notes>,
}

struct Notes {
    verifier: Arc<dyn ClientCertVerifier>,
    presented: Arc<CertifiedKey>,
    names: Mutex<Vec<Option<String>>>,
    shown: Mutex<Vec<CertificateDer<'static>>>,
}

impl Demanding {
    /// Presents a certificate, and demands one of this authority's making. No session is resumed,
    /// so that each connection shows one.
    pub(crate) fn of(presented: CertifiedKey, authority: CertificateDer<'static>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority).expect("an authority");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let notes = Arc::new(Notes {
            verifier: verifier.build().expect("a demand"),
            presented: Arc::new(presented),
            names: Mutex::default(),
            shown: Mutex::default(),
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_client_cert_verifier(Arc::clone(&notes) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(&notes) as Arc<dyn ResolvesServerCert>);
        config.send_tls13_tickets = 0;
        Self { config: Arc::new(config), notes }
    }

    /// The names that were asked for (SNI).
    pub(crate) fn names(&self) -> Vec<Option<String>> {
        self.notes.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The good certificates that were shown.
    pub(crate) fn shown(&self) -> Vec<CertificateDer<'static>> {
        self.notes.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Notes {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        Some(Arc::clone(&self.presented))
    }
}

impl ClientCertVerifier for Notes {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(leaf, chain, now)?;
        let leaf = leaf.clone().into_owned();
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).push(leaf);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").finish_non_exhaustive()
    }
}
