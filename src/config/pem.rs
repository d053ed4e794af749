//! Certificates and private keys from files, and what may be wrong with them.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::Error as TlsError;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is wrong with a PEM file, as the end of a sentence that begins with its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemFault {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// A folder, or a pipe whose writer would be waited for.
    #[error("is not a file")]
    NoFile,
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
    pub fn hint(&self, pem: &'static str) -> &'static str {
        match self {
            Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => {
                "create it, or correct the path; it starts at the folder of this file"
            }
            Self::Unreadable(_) | Self::NoFile => "look at its kind, owner and permissions",
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
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemFault> {
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
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemFault> {
    let pem = read(path)?;
    let first = PrivateKeyDer::pem_slice_iter(&pem).next();
    match first {
        // By itself: an error of certificate and key together does not tell which is wrong.
        Some(Ok(key)) => match aws_lc_rs::sign::any_supported_type(&key) {
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

/// Files of certificates and keys, with a digest of what each said just before it was read.
pub type References = BTreeMap<PathBuf, u64>;

/// A digest of what a file says now. While it stays the same, nothing was written.
pub fn digest(path: &Path) -> u64 {
    read_whole(path).1
}

/// What a file says now, or what is wrong with it, and the digest of that.
pub(super) fn read_whole(path: &Path) -> (Result<Vec<u8>, PemFault>, u64) {
    let mut digest = DefaultHasher::new();
    let read = read(path);
    match &read {
        Ok(bytes) => bytes.hash(&mut digest),
        Err(fault) => fault.to_string().hash(&mut digest),
    }
    (read, digest.finish())
}

/// What the files say now.
pub fn digests<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> References {
    paths.into_iter().map(|path| (path.clone(), digest(path))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, PemFault> {
    // Opening a named pipe would wait for its writer, perhaps for ever.
    if !std::fs::metadata(path).map_err(PemFault::Unreadable)?.is_file() {
        return Err(PemFault::NoFile);
    }
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut pem))
        .map_err(PemFault::Unreadable)?;
    if pem.len() as u64 > LARGEST { Err(PemFault::TooLarge) } else { Ok(pem) }
}

/// What a file of a private key looks like.
pub const KEY_HINT: &str =
    "a PEM file of a key has a block that starts with -----BEGIN PRIVATE KEY-----";

/// 1 MiB: a chain of hundreds of certificates.
const LARGEST: u64 = 1 << 20;
