//! What a certificate says: the names in it, and until when it is good. Never whether it is to be
//! trusted: that is for rustls.

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::model::identity::Identity;

/// A certificate that was read.
pub(super) struct Leaf<'c> {
    certificate: X509Certificate<'c>,
}

/// Why a certificate is no use today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untimely {
    /// It has ended.
    Expired,
    /// It has not begun.
    Early,
}

impl<'c> Leaf<'c> {
    /// Reads it; `None` where it is no certificate.
    pub(super) fn read(certificate: &'c CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(Self { certificate })
    }

    /// Its DNS names, lower case.
    pub(super) fn dns_names(&self) -> Box<[Box<str>]> {
        self.names(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            _ => None,
        })
    }

    /// Who it is for, where it is a client's.
    pub(super) fn identity(&self) -> Identity {
        let common_names = self.certificate.subject().iter_common_name();
        Identity {
            // One that is no text would still be one: it must not make another the only one.
            common_names: common_names
                .map(|name| name.as_str().unwrap_or_default().into())
                .collect(),
            dns_names: self.dns_names(),
            uris: self.names(|name| match name {
                GeneralName::URI(name) => Some((*name).into()),
                _ => None,
            }),
        }
    }

    /// Whether it says of another one that it was issued by it. Who trusts a chain verifies it; this
    /// is for who has put one together.
    pub(super) fn names_as_issuer(&self, issuer: &Leaf<'_>) -> bool {
        self.certificate.issuer().as_raw() == issuer.certificate.subject().as_raw()
    }

    /// When it ends, in Unix time.
    pub(super) fn end(&self) -> u64 {
        u64::try_from(self.certificate.validity().not_after.timestamp()).unwrap_or(0)
    }

    /// Whether it is good at this time.
    pub(super) fn at(&self, now: UnixTime) -> Result<(), Untimely> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = self.certificate.validity();
        if now > validity.not_after.timestamp() {
            return Err(Untimely::Expired);
        }
        if now < validity.not_before.timestamp() { Err(Untimely::Early) } else { Ok(()) }
    }

    fn names(&self, wanted: impl Fn(&GeneralName<'_>) -> Option<Box<str>>) -> Box<[Box<str>]> {
        // With two such extensions there is no telling which one counts: none does.
        let extension = self.certificate.subject_alternative_name().ok().flatten();
        let names = extension.map_or(&[][..], |extension| &extension.value.general_names[..]);
        names.iter().filter_map(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let names = ["A.example.com".to_owned(), "10.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_names_are_those_of_their_kinds() {
        let certificate = made(|params| {
            params.distinguished_name.push(DnType::CommonName, "acme");
            let uri = "spiffe://example.com/acme".try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        });

        let identity = Leaf::read(&certificate).unwrap().identity();

        assert_eq!(identity.common_names, ["acme".into()].into());
        assert_eq!(identity.dns_names, ["a.example.com".into()].into());
        assert_eq!(identity.uris, ["spiffe://example.com/acme".into()].into());
    }

    #[test]
    fn a_certificate_is_good_from_its_beginning_to_its_end() {
        let certificate = made(|params| {
            params.not_before = rcgen::date_time_ymd(2024, 1, 1);
            params.not_after = rcgen::date_time_ymd(2024, 1, 2);
        });
        let leaf = Leaf::read(&certificate).unwrap();
        let begin = 1_704_067_200;
        let at = |seconds| leaf.at(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));

        assert_eq!(at(begin - 1), Err(Untimely::Early));
        assert_eq!((at(begin), at(begin + 86_400)), (Ok(()), Ok(())));
        assert_eq!(at(begin + 86_401), Err(Untimely::Expired));
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        assert!(Leaf::read(&CertificateDer::from_slice(&[0x30, 0])).is_none());
    }
}
