//! What a listener presents to clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::spec::ListenerTlsSpec;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerTlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("cannot read {what} from {}: {source}", path.display())]
    Unreadable {
        /// `the certificate` or `the private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: PemError,
    },
    /// Certificate and key do not fit together, or one is unusable.
    #[error("the certificate {} and the key {} cannot be used: {source}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What went wrong.
        #[source]
        source: rustls::Error,
    },
}

/// Reads the certificate and key of a listener. HTTP/2 is offered before HTTP/1.1.
///
/// # Errors
/// When a file cannot be read, or certificate and key do not fit.
pub fn build(spec: &ListenerTlsSpec) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let chain = read_chain(&spec.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&spec.key)
        .map_err(|source| unreadable("the private key", &spec.key, source))?;
    let unusable = |source| ServerTlsError::Unusable {
        certificate: spec.certificate.clone(),
        key: spec.key.clone(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| unreadable("the certificate", path, source))?;
    if chain.is_empty() {
        return Err(unreadable("the certificate", path, PemError::NoItemsFound));
    }
    Ok(chain)
}

fn unreadable(what: &'static str, path: &Path, source: PemError) -> ServerTlsError {
    ServerTlsError::Unreadable { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(certificate: &str, key: &str) -> (tempfile::TempDir, ListenerTlsSpec) {
        let folder = tempfile::tempdir().unwrap();
        let spec = ListenerTlsSpec {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        std::fs::write(&spec.certificate, certificate).unwrap();
        std::fs::write(&spec.key, key).unwrap();
        (folder, spec)
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_and_its_key_are_taken() {
        let (certificate, key) = made();
        let (_folder, spec) = files(&certificate, &key);
        assert!(build(&spec).is_ok());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_with_both_names() {
        let (_folder, spec) = files(&made().0, &made().1);
        let message = build(&spec).unwrap_err().to_string();
        assert!(message.contains("cert.pem") && message.contains("key.pem"), "{message}");
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let (_folder, spec) = files("hello", &made().1);
        let message = build(&spec).unwrap_err().to_string();
        assert!(message.starts_with("cannot read the certificate from"), "{message}");
    }
}
