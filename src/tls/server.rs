//! What a listener presents to clients.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error as TlsError, ServerConfig};

use crate::config::spec::ListenerTlsSpec;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerTlsError {
    /// The file of the certificate.
    #[error("{} {fault}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: PemFault,
    },
    /// The file of the private key.
    #[error("{} {fault}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: PemFault,
    },
    /// Each is right by itself.
    #[error("the key {} is not the one of the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The cryptography refuses its own defaults.
    #[error("TLS is not available: {0}")]
    Unavailable(TlsError),
}

/// What is wrong with a PEM file, as the end of a sentence that begins with its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemFault {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// No PEM file is as large.
    #[error("is larger than 1 MiB")]
    TooLarge,
    /// Blocks that do not end, or are not Base64.
    #[error("is not a PEM file")]
    NotPem,
    /// It has blocks of another kind, or none.
    #[error("has no {0} in it")]
    Without(&'static str),
    /// The private key is locked.
    #[error("has an encrypted private key in it, which nobody could unlock at a start")]
    Encrypted,
    /// What is in it is broken, or of a kind that is not supported.
    #[error("cannot be used: {0}")]
    Unusable(TlsError),
}

impl ServerTlsError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Certificate { fault, .. } => fault.hint(CERTIFICATE_HINT),
            Self::Key { fault, .. } => fault.hint(KEY_HINT),
            Self::Mismatch { .. } => {
                "name the key that the certificate was made for; the leaf certificate comes first \
                 in its file"
            }
            Self::Unavailable(_) => "this is a bug, please report it",
        }
    }
}

impl PemFault {
    fn hint(&self, pem: &'static str) -> &'static str {
        match self {
            Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => {
                "create it, or correct the path; it starts at the folder of this file"
            }
            Self::Unreadable(_) => "look at its kind, owner and permissions",
            Self::TooLarge | Self::NotPem | Self::Without(_) => pem,
            Self::Encrypted => "store it without a pass phrase: openssl pkey -in … -out …",
            Self::Unusable(_) => "openssl x509 -in … -text, or openssl pkey -in … -text, shows it",
        }
    }
}

/// Reads the certificate and key of a listener. HTTP/2 is offered before HTTP/1.1.
///
/// # Errors
/// When a file cannot be read or used, or certificate and key do not fit: all that is wrong.
pub fn build(spec: &ListenerTlsSpec) -> Result<Arc<ServerConfig>, Vec<ServerTlsError>> {
    let path = spec.certificate.path.clone();
    let chain = read_chain(&path).map_err(|fault| ServerTlsError::Certificate { path, fault });
    let path = spec.key.path.clone();
    let key = read_key(&path).map_err(|fault| ServerTlsError::Key { path, fault });
    match (chain, key) {
        (Ok(chain), Ok(key)) => join(spec, chain, key).map_err(|error| vec![error]),
        (chain, key) => Err([chain.err(), key.err()].into_iter().flatten().collect()),
    }
}

fn join(
    spec: &ListenerTlsSpec,
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let (certificate, key) = (&spec.certificate.path, &spec.key.path);
    let mut config = ServerConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(ServerTlsError::Unavailable)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| match error {
            TlsError::InconsistentKeys(_) => {
                ServerTlsError::Mismatch { certificate: certificate.clone(), key: key.clone() }
            }
            error => {
                let fault = PemFault::Unusable(error);
                ServerTlsError::Certificate { path: certificate.clone(), fault }
            }
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(PemFault::Without("certificate")),
        Ok(chain) => Ok(chain),
        Err(_) => Err(PemFault::NotPem),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemFault> {
    let pem = read(path)?;
    let first = PrivateKeyDer::pem_slice_iter(&pem).next();
    match first {
        // By itself: an error of certificate and key together does not tell which is wrong.
        Some(Ok(key)) => match super::provider().key_provider.load_private_key(key.clone_key()) {
            Ok(_) => Ok(key),
            Err(error) => Err(PemFault::Unusable(error)),
        },
        Some(Err(_)) => Err(PemFault::NotPem),
        None if contains(&pem, b"ENCRYPTED PRIVATE KEY-----") => Err(PemFault::Encrypted),
        None => Err(PemFault::Without("private key")),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn read(path: &Path) -> Result<Vec<u8>, PemFault> {
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut pem))
        .map_err(PemFault::Unreadable)?;
    if pem.len() as u64 > LARGEST { Err(PemFault::TooLarge) } else { Ok(pem) }
}

/// 1 MiB: a chain of hundreds of certificates.
const LARGEST: u64 = 1 << 20;

const CERTIFICATE_HINT: &str =
    "a PEM file has blocks that start with -----BEGIN CERTIFICATE-----, the leaf first";

const KEY_HINT: &str =
    "a PEM file of a key has a block that starts with -----BEGIN PRIVATE KEY-----";

#[cfg(test)]
mod tests {
    use crate::config::Place;
    use crate::config::spec::NamedPath;

    use super::*;

    fn files(certificate: &str, key: &str) -> (tempfile::TempDir, ListenerTlsSpec) {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let place = Place { file: "gateway.toml".into(), line: 1, column: 1, key: name.into() };
            NamedPath { path, place }
        };
        let spec = ListenerTlsSpec {
            certificate: named("cert.pem", certificate),
            key: named("key.pem", key),
        };
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
        let errors = build(&spec).unwrap_err();
        let message = errors[0].to_string();
        assert!(matches!(errors[0], ServerTlsError::Mismatch { .. }), "{errors:?}");
        assert!(message.contains("cert.pem") && message.contains("key.pem"), "{message}");
    }

    #[test]
    fn each_fault_of_a_file_is_told_of_the_file_that_has_it() {
        let (good, key) = made();
        let block = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
        let check = |certificate: &str, key: &str, expected: &str| {
            let (_folder, spec) = files(certificate, key);
            let message = build(&spec).unwrap_err()[0].to_string();
            assert!(message.contains(expected), "{message} is not {expected}");
        };
        check("hello", &key, "cert.pem has no certificate in it");
        check(&key, &key, "cert.pem has no certificate in it");
        check("-----BEGIN CERTIFICATE-----\n", &key, "cert.pem is not a PEM file");
        check(&block("CERTIFICATE"), &key, "cert.pem cannot be used: ");
        check(&good, &good, "key.pem has no private key in it");
        check(&good, &block("PRIVATE KEY"), "key.pem cannot be used: ");
        check(&good, &block("ENCRYPTED PRIVATE KEY"), "key.pem has an encrypted private key");
        check(&"x".repeat(1 << 21), &key, "cert.pem is larger than 1 MiB");
    }
}
