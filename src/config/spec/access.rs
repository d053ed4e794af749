//! Who may come to a tenant, and how clients show who they are.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderName, HeaderValue, Method};

use crate::base::network::Peers;
use crate::model::key::KeyDigest;

use super::authorizer::AuthorizerSpec;
use super::cors::CorsSpec;
use super::issuer::IssuerSpec;

/// How clients show who they are, and how endpoints hear of it: the same for all tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitiesSpec {
    /// The header of API keys, besides `Authorization`. Default `x-api-key`.
    pub key_header: HeaderName,
    /// The header that tells endpoints who a client is; `None` = they are not told. A client's own is
    /// never forwarded.
    pub subject_header: Option<HeaderName>,
    /// Whether endpoints get API keys, too. Default: no.
    pub forward_keys: bool,
    /// Issuers of signed tokens.
    pub issuers: Vec<IssuerSpec>,
    /// Services that tenants have asked.
    pub authorizers: Vec<Arc<AuthorizerSpec>>,
}

impl IdentitiesSpec {
    /// Headers by which endpoints are told who a client is.
    pub fn told(&self) -> impl Iterator<Item = &HeaderName> {
        let claims = self.issuers.iter().flat_map(|issuer| &issuer.headers).map(|(name, _)| name);
        let said = self.authorizers.iter().flat_map(|authorizer| &authorizer.tell);
        self.subject_header.iter().chain(claims).chain(said)
    }
}

impl Default for IdentitiesSpec {
    fn default() -> Self {
        let key_header = HeaderName::from_static("x-api-key");
        let (issuers, authorizers) = (Vec::new(), Vec::new());
        Self { key_header, subject_header: None, forward_keys: false, issuers, authorizers }
    }
}

/// Who may come to a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSpec {
    /// Kinds of credentials, of which a client must show one; empty = nobody is asked.
    pub authenticate: Vec<CredentialKind>,
    /// The service that is asked for each request; `None` = nobody is.
    pub authorize: Option<Arc<str>>,
    /// The tenant's API keys.
    pub keys: Vec<KeySpec>,
    /// Where clients must be; empty = anywhere.
    pub allow: Vec<Peers>,
    /// Where they must not be; goes before `allow`.
    pub deny: Vec<Peers>,
    /// Methods that are served, `HEAD` with `GET`; empty = any.
    pub methods: Vec<Method>,
    /// Which pages of other origins may use its answers; `None` = that is the endpoints' business.
    pub cors: Option<CorsSpec>,
}

impl AccessSpec {
    /// Whether clients of this address may come; `None` = it has none, as on a Unix socket.
    pub fn lets_in(&self, client: Option<IpAddr>) -> bool {
        let is_among = |peers: &[Peers]| peers.iter().any(|peers| peers.contain(client));
        !is_among(&self.deny) && (self.allow.is_empty() || is_among(&self.allow))
    }

    /// Whether it matters where a client comes from.
    pub fn names_networks(&self) -> bool {
        !(self.allow.is_empty() && self.deny.is_empty())
    }

    /// Whether it serves this method.
    pub fn serves(&self, method: &Method) -> bool {
        let asked = if *method == Method::HEAD { &Method::GET } else { method };
        let has = |method: &Method| self.methods.contains(method);
        self.methods.is_empty() || has(method) || has(asked)
    }

    /// The methods that it serves, as the field lists them.
    pub fn allowed(&self) -> Option<HeaderValue> {
        let mut names: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        HeaderValue::try_from(names.join(", ")).ok()
    }

    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A kind of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key of the tenant.
    ApiKey,
    /// A certificate that names the tenant.
    Certificate,
    /// A signed token that names the tenant.
    Token,
}

impl CredentialKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::Certificate => "client-certificate",
            Self::Token => "jwt",
        }
    }
}

/// An API key of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What it is called in the files.
    pub name: Arc<str>,
    /// What is kept of it.
    pub digest: KeyDigest,
    /// Who shows it. Default: its name.
    pub subject: Arc<str>,
    /// When it stops being valid; `None` = never.
    pub expires: Option<SystemTime>,
}
