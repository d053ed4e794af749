//! How a request names its tenant. Whatever bytes a client sends, the answer is one tenant or an
//! error, never a guess.

use std::fmt;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::auth::Credential;
use crate::config::spec::{CertificateField, CredentialKind, NameFrom, PathTenant};
use crate::model::identity::Identity;
use crate::model::ids::{TenantId, TenantIdError};

use super::host;
use super::table::Table;
use super::tenant::Tenant;

/// What is known of a client besides the head of its request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'s> {
    /// Who it is by its verified certificate.
    pub certificate: Option<&'s Identity>,
    /// What the head shows of who sent it.
    pub credential: Credential<'s>,
}

/// A request's tenant, and the path that is left to route by and to forward.
#[derive(Clone, Copy, Debug)]
pub struct Named<'t, 'h> {
    /// The tenant. It may be suspended.
    pub tenant: &'t Arc<Tenant>,
    /// The path, without the segment that named the tenant where that is to be stripped. It starts
    /// with a slash, but for the `*` of `OPTIONS *`.
    pub path: &'h str,
    /// The field that named it, where one did: it has that id as its one value.
    pub field: Option<&'t HeaderName>,
}

/// What a client's certificate says of whether the client is a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// It names no tenant that there is, or not clearly.
    Nothing,
    /// It is this one.
    Own,
    /// It is another one, or of several.
    Other,
}

/// Why a request has no tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamingError {
    /// None of the configured ways is present.
    #[error("the request names no tenant")]
    Missing,
    /// It is named, but not in one clear and valid way.
    #[error("the tenant in {place} {why}")]
    Ambiguous {
        /// Where it was read.
        place: Place,
        /// What is wrong.
        why: Ambiguity,
    },
    /// There is no such tenant.
    #[error("there is no tenant \"{id}\"")]
    Unknown {
        /// The id that was named.
        id: TenantId,
    },
}

/// Where a request named its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this header.
    Header(HeaderName),
    /// In the host.
    Host,
    /// In this part of the client's certificate.
    Certificate(CertificateField),
    /// In the first segment of the path.
    Path,
}

/// What is wrong with the name of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ambiguity {
    /// It is given more than once, be it with equal values.
    #[error("is given more than once")]
    Repeated,
    /// It is a comma list.
    #[error("is a list")]
    List,
    /// It is no valid id.
    #[error("{0}")]
    Invalid(TenantIdError),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header {name}"),
            Self::Host => f.write_str("the host"),
            Self::Certificate(field) => f.write_str(match field {
                CertificateField::CommonName => "the common name of the client certificate",
                CertificateField::Dns => "the DNS names of the client certificate",
                CertificateField::Uri => "the URIs of the client certificate",
            }),
            Self::Path => f.write_str("the path"),
        }
    }
}

impl Table {
    /// The tenant of a request of a client who has `shown` this: the first of the configured ways that
    /// is present decides.
    ///
    /// # Errors
    /// When no way is present, the first present one is not one valid id, or there is no such
    /// tenant.
    pub fn name<'t, 'h>(
        &'t self,
        head: &'h Parts,
        shown: &Shown<'_>,
    ) -> Result<Named<'t, 'h>, NamingError> {
        for way in &self.naming.from {
            if let Some(named) = self.ask(way, head, shown)? {
                return Ok(named);
            }
        }
        Err(NamingError::Missing)
    }

    /// What one way says; `None` where it is not present.
    pub(super) fn ask<'t, 'h>(
        &'t self,
        way: &'t NameFrom,
        head: &'h Parts,
        shown: &Shown<'_>,
    ) -> Result<Option<Named<'t, 'h>>, NamingError> {
        let path = head.uri.path();
        let id = match way {
            NameFrom::Header(name) => {
                let named = from_header(&head.headers, name)?.map(|id| self.named(id, path));
                return named
                    .transpose()
                    .map(|named| named.map(|named| Named { field: Some(name), ..named }));
            }
            NameFrom::Host { prefix, suffix } => return self.named_by_host(head, prefix, suffix),
            NameFrom::Certificate { field, prefix, suffix } => match shown.certificate {
                Some(identity) => from_certificate(identity, *field, prefix, suffix)?,
                None => None,
            },
            NameFrom::Path(keep) => {
                let named = from_path(path, *keep)?;
                return named.map(|(id, path)| self.named(id, path)).transpose();
            }
            NameFrom::Credential(kind) => match (shown.credential, kind) {
                (Credential::Key(key), CredentialKind::ApiKey) => Some(&*key.tenant),
                (Credential::Token(token), CredentialKind::Token) => Some(&*token.tenant),
                _ => None,
            },
            NameFrom::Domain => return self.named_by_domain(head),
            NameFrom::Default(id) => return self.named(id.as_str(), path).map(Some),
        };
        id.map(|id| self.named(id, path)).transpose()
    }

    /// What a client's certificate says of whether it is this tenant, whatever else names the request's:
    /// the first of the configured ways that finds a tenant decides. One that finds none hides none of the
    /// others.
    pub fn vouched(&self, identity: &Identity, tenant: &str) -> Vouched {
        for way in &self.naming.from {
            let NameFrom::Certificate { field, prefix, suffix } = way else { continue };
            let names = || fitting(identity, *field, prefix, suffix);
            if names().any(|id| id != tenant && self.tenant(id).is_some()) {
                return Vouched::Other;
            }
            if names().next().is_some() && names().all(|id| id == tenant) {
                return Vouched::Own;
            }
        }
        Vouched::Nothing
    }

    /// Whether credentials may name the tenant of a request.
    pub fn is_named_by_credentials(&self) -> bool {
        self.naming.from.iter().any(|way| matches!(way, NameFrom::Credential(_)))
    }

    fn named<'t, 'h>(&'t self, id: &str, path: &'h str) -> Result<Named<'t, 'h>, NamingError> {
        match self.tenant(id) {
            Some(tenant) => Ok(Named { tenant, path, field: None }),
            None => Err(unknown(id)),
        }
    }

    /// A host that is nobody's domain leaves the choice to the next way, as a request without a host.
    #[inline(never)]
    fn named_by_domain<'t, 'h>(
        &'t self,
        head: &'h Parts,
    ) -> Result<Option<Named<'t, 'h>>, NamingError> {
        if head.uri.authority().is_none() && head.headers.get_all(HOST).iter().nth(1).is_some() {
            let why = Ambiguity::Repeated;
            return Err(NamingError::Ambiguous { place: Place::Host, why });
        }
        let id = host::of(head).and_then(|host| self.domains.find(&host));
        id.map(|id| self.named(id, head.uri.path())).transpose()
    }

    /// A host that does not fit leaves the choice to the next way, as a request without a host.
    fn named_by_host<'t, 'h>(
        &'t self,
        head: &'h Parts,
        prefix: &str,
        suffix: &str,
    ) -> Result<Option<Named<'t, 'h>>, NamingError> {
        if head.uri.authority().is_none() && head.headers.get_all(HOST).iter().nth(1).is_some() {
            let why = Ambiguity::Repeated;
            return Err(NamingError::Ambiguous { place: Place::Host, why });
        }
        let Some(host) = host::of(head) else {
            return Ok(None);
        };
        let label = host.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        let fits = |label: &&str| !label.contains('.') && TenantId::check(label.as_bytes()).is_ok();
        label.filter(fits).map(|id| self.named(id, head.uri.path())).transpose()
    }
}

fn from_header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, NamingError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let checked = if values.next().is_some() {
        Err(Ambiguity::Repeated)
    } else if value.as_bytes().contains(&b',') {
        Err(Ambiguity::List)
    } else {
        TenantId::check(value.as_bytes()).map_err(Ambiguity::Invalid)
    };
    checked
        .map(Some)
        .map_err(|why| NamingError::Ambiguous { place: Place::Header(name.clone()), why })
}

/// What stands for the tenant in the names of this kind that fit.
fn fitting<'i>(
    identity: &'i Identity,
    field: CertificateField,
    prefix: &str,
    suffix: &str,
) -> impl Iterator<Item = &'i str> {
    let (names, border) = match field {
        CertificateField::CommonName => (&identity.common_names, None),
        CertificateField::Dns => (&identity.dns_names, Some('.')),
        CertificateField::Uri => (&identity.uris, Some('/')),
    };
    let within = move |name: &'i str| name.strip_prefix(prefix)?.strip_suffix(suffix);
    let is_one = move |id: &&str| border.is_none_or(|border| !id.contains(border));
    names.iter().filter_map(move |name| within(name)).filter(is_one)
}

/// What the one name that fits says. A certificate that is of several tenants by this is of none.
fn from_certificate<'i>(
    identity: &'i Identity,
    field: CertificateField,
    prefix: &str,
    suffix: &str,
) -> Result<Option<&'i str>, NamingError> {
    let mut fitting = fitting(identity, field, prefix, suffix);
    let Some(id) = fitting.next() else {
        return Ok(None);
    };
    let checked = if fitting.any(|other| other != id) {
        Err(Ambiguity::Repeated)
    } else {
        TenantId::check(id.as_bytes()).map_err(Ambiguity::Invalid)
    };
    checked
        .map(Some)
        .map_err(|why| NamingError::Ambiguous { place: Place::Certificate(field), why })
}

/// The first segment and the path that is left.
fn from_path(path: &str, tenant: PathTenant) -> Result<Option<(&str, &str)>, NamingError> {
    let Some(after) = path.strip_prefix('/') else {
        return Ok(None);
    };
    let end = after.find('/').unwrap_or(after.len());
    let (segment, rest) = after.split_at(end);
    if segment.is_empty() {
        return Ok(None);
    }
    let id = TenantId::check(segment.as_bytes()).map_err(|why| NamingError::Ambiguous {
        place: Place::Path,
        why: Ambiguity::Invalid(why),
    })?;
    Ok(Some(match tenant {
        PathTenant::Keep => (id, path),
        PathTenant::Strip if rest.is_empty() => (id, "/"),
        PathTenant::Strip => (id, rest),
    }))
}

fn unknown(id: &str) -> NamingError {
    match TenantId::new(id) {
        Ok(id) => NamingError::Unknown { id },
        Err(_) => NamingError::Missing,
    }
}

#[cfg(test)]
mod tests;
