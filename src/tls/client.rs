//! Whom we trust when we connect to endpoints, and what we show them. Certificates are always
//! verified.

use std::cell::OnceCell;
use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::spec::{Protocol, UpstreamTlsSpec};

/// Why endpoints cannot be reached by TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientTlsError {
    /// A certificate of the `ca` file is no certificate authority's.
    #[error("a certificate of the ca file cannot be used: {0}")]
    BadAuthority(#[source] rustls::Error),
    /// The client's certificate and key cannot be used.
    #[error("the client certificate cannot be used: {0}")]
    BadIdentity(#[source] rustls::Error),
    /// The system has no certificate authorities.
    #[error("the system has no certificate authorities")]
    NoSystemAuthorities,
    /// The cryptography refuses its own defaults.
    #[error("TLS is not available: {0}")]
    Unavailable(#[source] rustls::Error),
}

impl ClientTlsError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::BadAuthority(_) | Self::BadIdentity(_) => {
                "openssl x509 -in … -text, or openssl pkey -in … -text, shows what it is"
            }
            Self::NoSystemAuthorities => {
                "name a file of them, as in tls = { ca = \"ca.pem\" }, or install ca-certificates"
            }
            Self::Unavailable(_) => "this is a bug, please report it",
        }
    }
}

/// The authorities of the system, which are read at most once: that takes milliseconds, and there may
/// be many pools.
#[derive(Debug, Default)]
pub struct SystemRoots(OnceCell<Arc<RootCertStore>>);

impl SystemRoots {
    fn get(&self) -> Result<Arc<RootCertStore>, ClientTlsError> {
        if let Some(known) = self.0.get() {
            return Ok(Arc::clone(known));
        }
        let mut roots = RootCertStore::empty();
        // Some systems ship certificates that rustls does not take; the others still count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(ClientTlsError::NoSystemAuthorities);
        }
        Ok(Arc::clone(self.0.get_or_init(|| Arc::new(roots))))
    }
}

/// What is needed to open TLS connections to the endpoints of a pool.
///
/// # Errors
/// When a certificate authority cannot be used, or there is none.
pub fn build(
    spec: &UpstreamTlsSpec,
    protocol: Protocol,
    system: &SystemRoots,
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let trusted = spec.ca.as_ref().map(|authorities| authorities.certificates.as_slice());
    let own = spec.identity.as_ref().map(|own| (own.chain.clone(), own.secret.clone_key()));
    trusting(trusted, own, (protocol, system))
}

/// What is needed to open TLS connections to who has a certificate of these authorities, or of the
/// system's; `own` is shown to who asks for a certificate.
///
/// # Errors
/// When a certificate cannot be used, or there is no authority.
pub fn trusting(
    trusted: Option<&[CertificateDer<'static>]>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    (protocol, system): (Protocol, &SystemRoots),
) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let roots = match trusted {
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for certificate in authorities {
                roots.add(certificate.clone()).map_err(ClientTlsError::BadAuthority)?;
            }
            Arc::new(roots)
        }
        None => system.get()?,
    };
    let config = ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(ClientTlsError::Unavailable)?
        .with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some((chain, secret)) => {
            config.with_client_auth_cert(chain, secret).map_err(ClientTlsError::BadIdentity)?
        }
    };
    config.alpn_protocols = alpn(protocol);
    Ok(Arc::new(config))
}

/// Speaks TLS to a service that the gateway itself asks. Its certificate must carry the name that `spec` says, else the `host` that
/// it is found by.
///
/// # Errors
/// When the host is no name that a certificate may carry, or the handshake fails.
pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: &Arc<ClientConfig>,
    (spec, host): (Option<&UpstreamTlsSpec>, &str),
) -> io::Result<TlsStream<S>> {
    let name = match spec.and_then(|spec| spec.server_name.clone()) {
        Some(name) => name,
        None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
    };
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// The same for checks that speak this. None takes up the session of an earlier one, which would ask
/// for no certificate: whether that is still good is a part of what is checked.
pub fn for_checks(requests: &ClientConfig, protocol: Protocol) -> Arc<ClientConfig> {
    let mut config = requests.clone();
    config.alpn_protocols = alpn(protocol);
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn alpn(protocol: Protocol) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::H1 => vec![b"http/1.1".to_vec()],
        Protocol::H2 => vec![b"h2".to_vec()],
    }
}
