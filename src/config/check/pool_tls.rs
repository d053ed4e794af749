//! TLS to the endpoints of a pool: whom to trust, and what to show. The files are read here, so that
//! what they say is part of a pool's meaning: other certificates make another pool of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::pem::{KEY_HINT, PemFault, read_certificates, read_key};
use crate::config::raw::{At, UpstreamTls};
use crate::config::spec::{AuthoritiesSpec, IdentitySpec, UpstreamTlsSpec};
use crate::config::text::{FilePath, Written};

use super::beside;

/// Checks the key `tls` of a pool.
pub(super) fn check(
    raw: Option<UpstreamTls>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<UpstreamTlsSpec> {
    let raw = raw.filter(|tls| tls.on)?;
    let ca = raw.ca.and_then(|ca| authorities(ca, folder, &key.name("ca"), faults));
    let identity = match (raw.cert, raw.key) {
        (Some(cert), Some(secret)) => identity(cert, secret, folder, key, faults),
        (None, None) => None,
        (cert, secret) => {
            let start = cert.or(secret).map_or(0, |half| half.start);
            let hint = "write tls = { cert = \"client.pem\", key = \"client.key\" }";
            faults.add_missing(key, start, "needs both cert and key, or neither", hint);
            None
        }
    };
    Some(UpstreamTlsSpec { ca, identity, server_name: raw.server_name })
}

/// The URL of a service that the gateway itself asks: it says whether TLS is spoken there.
pub(super) struct ByUrl {
    /// The key that it stands in.
    pub(super) key: &'static str,
    /// Its scheme without TLS; with it, an `s` follows.
    pub(super) scheme: &'static str,
    pub(super) is_secure: bool,
}

impl ByUrl {
    /// Checks the key `tls` beside it.
    pub(super) fn tls(
        self,
        raw: Option<At<UpstreamTls>>,
        folder: Option<&Path>,
        key: &Key<'_>,
        faults: &mut Faults<'_>,
    ) -> Option<UpstreamTlsSpec> {
        let Self { key: url, scheme, is_secure } = self;
        let Some(At { value: raw, start }) = raw else {
            let plain = UpstreamTlsSpec { ca: None, identity: None, server_name: None };
            return is_secure.then_some(plain);
        };
        if raw.on != is_secure {
            let hint = match is_secure {
                true => format!("leave it out, or write {url} = \"{scheme}://…\""),
                false => format!("write {url} = \"{scheme}s://…\""),
            };
            faults.add(key, start, format!("is at odds with the {url}"), Some(hint));
            return None;
        }
        check(Some(raw), folder, key, faults)
    }
}

fn authorities(
    raw: At<Written<FilePath>>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<AuthoritiesSpec> {
    let start = raw.start;
    let path = named(raw, folder, faults);
    let read = read_certificates(&path).and_then(|certificates| match unusable(&certificates) {
        None => Ok(certificates),
        Some(error) => Err(PemFault::Unusable(error)),
    });
    match read {
        Ok(certificates) => Some(AuthoritiesSpec { path, certificates }),
        Err(fault) => {
            refuse(&path, &fault, CERTIFICATES, (key, start), faults);
            None
        }
    }
}

/// Why a certificate cannot be an authority's.
fn unusable(certificates: &[CertificateDer<'static>]) -> Option<rustls::Error> {
    let mut roots = RootCertStore::empty();
    certificates.iter().find_map(|certificate| roots.add(certificate.clone()).err())
}

fn identity(
    cert: At<Written<FilePath>>,
    secret: At<Written<FilePath>>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<IdentitySpec> {
    let (cert_key, secret_key) = (key.name("cert"), key.name("key"));
    let places = ((&cert_key, cert.start), (&secret_key, secret.start));
    let certificate_path = named(cert, folder, faults);
    let key_path = named(secret, folder, faults);
    let chain = read_certificates(&certificate_path)
        .map_err(|fault| refuse(&certificate_path, &fault, CHAIN, places.0, faults));
    let secret =
        read_key(&key_path).map_err(|fault| refuse(&key_path, &fault, KEY_HINT, places.1, faults));
    let (chain, secret) = (chain.ok()?, secret.ok()?);
    let provider = aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain.clone(), secret.clone_key(), &provider) {
        Ok(_) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            let what = format!(
                "the key {} is not the one of the certificate {}",
                key_path.display(),
                certificate_path.display()
            );
            let hint = "name the key that the certificate was made for; the leaf certificate comes \
                        first in its file";
            faults.add(places.1.0, places.1.1, what, Some(hint.to_owned()));
            return None;
        }
        Err(error) => {
            refuse(&certificate_path, &PemFault::Unusable(error), CHAIN, places.0, faults);
            return None;
        }
    }
    Some(IdentitySpec {
        certificate: certificate_path,
        key: key_path,
        chain,
        secret: Arc::new(secret),
    })
}

/// The path that is written, which is watched from now on.
fn named(raw: At<Written<FilePath>>, folder: Option<&Path>, faults: &mut Faults<'_>) -> PathBuf {
    let path = beside(folder, raw.value.0.0);
    faults.refer(&path);
    path
}

fn refuse(
    path: &Path,
    fault: &PemFault,
    pem: &'static str,
    (key, at): (&Key<'_>, usize),
    faults: &mut Faults<'_>,
) {
    let what = format!("{} {fault}", path.display());
    faults.add(key, at, what, Some(fault.hint(pem).to_owned()));
}

/// What a file of authorities looks like.
const CERTIFICATES: &str = "a PEM file has blocks that start with -----BEGIN CERTIFICATE-----";

/// What a file of a certificate looks like.
const CHAIN: &str =
    "a PEM file has blocks that start with -----BEGIN CERTIFICATE-----, the leaf first";
