//! Certificates and private keys from files, and what may be wrong with them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustls::Error as TlsError;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;

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
    certificates_in(&read(path)?)
}

/// The certificates of a text, in its order.
///
/// # Errors
/// When it has none.
pub fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
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
    first_key_in(&read(path)?).map(|(key, _)| key)
}

/// The first private key of a file, for who signs with it.
///
/// # Errors
/// When it cannot be read or used, or has none.
pub fn read_signing_key(path: &Path) -> Result<Arc<dyn SigningKey>, PemFault> {
    signing_key_in(&read(path)?)
}

/// The first private key of a text, for who signs with it.
///
/// # Errors
/// When it has none, or none that can be used.
pub fn signing_key_in(pem: &[u8]) -> Result<Arc<dyn SigningKey>, PemFault> {
    first_key_in(pem).map(|(_, key)| key)
}

/// By itself: an error of certificate and key together does not tell which is wrong.
fn first_key_in(pem: &[u8]) -> Result<(PrivateKeyDer<'static>, Arc<dyn SigningKey>), PemFault> {
    match PrivateKeyDer::pem_slice_iter(pem).next() {
        Some(Ok(key)) => match aws_lc_rs::sign::any_supported_type(&key) {
            Ok(signing) => Ok((key, signing)),
            Err(error) => Err(PemFault::Unusable(error)),
        },
        Some(Err(_)) => Err(PemFault::NotPem),
        None if contains(pem, b"ENCRYPTED PRIVATE KEY-----") => Err(PemFault::Encrypted),
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
    let read = read(path);
    let digest = digest_of(&read);
    (read, digest)
}

/// The digest of what was read.
pub fn digest_of(read: &Result<Vec<u8>, PemFault>) -> u64 {
    let mut digest = DefaultHasher::new();
    match read {
        Ok(bytes) => bytes.hash(&mut digest),
        Err(fault) => fault.to_string().hash(&mut digest),
    }
    digest.finish()
}

/// What the files say now.
pub fn digests<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> References {
    paths.into_iter().map(|path| (path.clone(), digest(path))).collect()
}

/// What a file says, which may have some length and no more.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, PemFault> {
    // Opening a device may have it do something.
    if !std::fs::metadata(path).map_err(PemFault::Unreadable)?.is_file() {
        return Err(PemFault::NoFile);
    }
    // Opening a named pipe that has taken the file's place would wait for its writer, perhaps for ever.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(PemFault::Unreadable)?;
    if !file.metadata().map_err(PemFault::Unreadable)?.is_file() {
        return Err(PemFault::NoFile);
    }
    let mut pem = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut pem).map_err(PemFault::Unreadable)?;
    if pem.len() as u64 > LARGEST { Err(PemFault::TooLarge) } else { Ok(pem) }
}

/// What a file of a private key looks like.
pub const KEY_HINT: &str =
    "a PEM file of a key has a block that starts with -----BEGIN PRIVATE KEY-----";

/// 1 MiB: a chain of hundreds of certificates.
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_no_file_of_some_size_is_refused_at_once_and_a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::fs::write(at("large"), vec![b'-'; LARGEST as usize + 1]).unwrap();
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
        let told = |name: &str| read(&at(name)).unwrap_err().to_string();

        assert_eq!(told("pipe"), "is not a file");
        assert_eq!(told("."), "is not a file");
        assert_eq!(told("zero"), "is not a file");
        assert_eq!(told("large"), "is larger than 1 MiB");
        assert!(told("none").starts_with("cannot be read: No such file"));
        assert!(told("loop").starts_with("cannot be read: "));
        assert_eq!(read(&at("link")).unwrap(), b"text");
    }
}
