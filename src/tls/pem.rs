//! Certificates and private keys from files, and what may be wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::Error as TlsError;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

impl PemFault {
    /// What to do about it; `pem` says what such a file looks like.
    pub(super) fn hint(&self, pem: &'static str) -> &'static str {
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

/// The certificates of a file, in its order.
///
/// # Errors
/// When it cannot be read, or has none.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(PemFault::Without("certificate")),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(PemFault::NotPem),
    }
}

/// The first private key of a file.
///
/// # Errors
/// When it cannot be read or used, or has none.
pub(super) fn read_key(
    path: &Path,
    provider: &CryptoProvider,
) -> Result<PrivateKeyDer<'static>, PemFault> {
    let pem = read(path)?;
    let first = PrivateKeyDer::pem_slice_iter(&pem).next();
    match first {
        // By itself: an error of certificate and key together does not tell which is wrong.
        Some(Ok(key)) => match provider.key_provider.load_private_key(key.clone_key()) {
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
