//! Who a client is, by what it shows: API keys and signed tokens. Nothing of a secret is kept, told or logged.

pub mod api_key;
pub mod issuer;
pub mod jwt;
pub mod keys;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::spec::IdentitiesSpec;

use api_key::Found;
use issuer::Keyring;
use jwt::Token;
use keys::{Key, Keys};

/// What a request shows of who sent it.
#[derive(Clone, Copy, Debug, Default)]
pub enum Credential<'k> {
    /// Nothing that is meant for the gateway.
    #[default]
    Nothing,
    /// An API key that is known and in force.
    Key(&'k Key),
    /// A signed token that is valid.
    Token(&'k Token),
    /// Something that proves nothing.
    Refused(Refusal),
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The tenant demands a credential, and there is none.
    #[error("the request shows no credential, and the tenant demands one")]
    Missing,
    /// Nobody has such a key, or its issuer has not signed a token.
    #[error("the credential is not a valid one")]
    Unknown,
    /// It was valid.
    #[error("the credential has expired")]
    Expired,
    /// It is not written as it should be.
    #[error("the credential is malformed")]
    Malformed,
    /// There are several.
    #[error("the request shows more than one credential")]
    Repeated,
    /// The token is meant for somebody else.
    #[error("the token is not meant for this gateway")]
    Audience,
    /// The token's issuer may not speak for the tenant.
    #[error("the token's issuer does not speak for the tenant that it names")]
    Issuer,
    /// The tenant wants one of another kind.
    #[error("the tenant does not accept credentials of this kind")]
    NotAccepted,
    /// It is another tenant's than the one that the request names.
    #[error("the credential is not one of the tenant that the request names")]
    OtherTenant,
    /// What the token's issuer signs with is not known: nothing can be said of the token.
    #[error("the keys of the token's issuer are not known at the moment")]
    NoKeys,
    /// It comes from where nobody may come from.
    #[error("clients of this address are not let in")]
    Network,
    /// The tenant does not serve the method.
    #[error("the method is not served here")]
    Method,
}

impl Refusal {
    /// The value of the `reason` label, and the log's word. Never rename one.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::Repeated => "repeated",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::NotAccepted => "not_accepted",
            Self::OtherTenant => "other_tenant",
            Self::NoKeys => "no_keys",
            Self::Network => "network",
            Self::Method => "method",
        }
    }
}

/// What a request shows, where anything is known that could be shown: API keys, and tokens of issuers
/// whose keys are in `rings`. Out of line, as most gateways know nothing. What a token says is kept in `held`.
#[cold]
#[inline(never)]
pub fn look<'k>(
    (keys, rings): (&'k Keys, &[Arc<Keyring>]),
    identity: &IdentitiesSpec,
    headers: &HeaderMap,
    held: &'k mut Option<Box<Token>>,
) -> Credential<'k> {
    let key = api_key::find(headers, &identity.key_header);
    let token = jwt::find(headers, &identity.issuers, rings);
    match (key, token) {
        (Found::Nothing, None) => Credential::Nothing,
        (Found::Nothing, Some(Ok(token))) => Credential::Token(held.insert(Box::new(token))),
        (Found::Nothing, Some(Err(refusal))) => Credential::Refused(refusal),
        (Found::Repeated, _) | (_, Some(_)) => Credential::Refused(Refusal::Repeated),
        (Found::Malformed, None) => Credential::Refused(Refusal::Malformed),
        (Found::Key(digest), None) => match keys.find(&digest) {
            None => Credential::Refused(Refusal::Unknown),
            Some(key) if key.is_over() => Credential::Refused(Refusal::Expired),
            Some(key) => Credential::Key(key),
        },
    }
}

/// Takes away the values of a field that hold what endpoints do not get. The others keep their order.
fn hide_where(
    headers: &mut HeaderMap,
    name: &HeaderName,
    is_hidden: impl Fn(&HeaderValue) -> bool,
) {
    let kept = headers.get_all(name).iter().filter(|value| !is_hidden(value));
    let kept: Vec<HeaderValue> = kept.cloned().collect();
    headers.remove(name);
    for value in kept {
        headers.append(name, value);
    }
}
