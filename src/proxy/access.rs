//! Who may come to a tenant: looked at once the tenant is named, before anything else is done for it.
//! Everything here is out of line, since most tenants let everybody in.

use http::header::{HeaderMap, HeaderValue};
use http::request::Parts;

use crate::auth::{Credential, Refusal, api_key, jwt};
use crate::config::spec::{AccessSpec, CredentialKind, IdentitiesSpec};
use crate::model::caller::{Caller, Proof};
use crate::model::identity::Identity;
use crate::routing::naming::{NamingError, Shown, Vouched};
use crate::routing::table::Table;
use crate::routing::tenant::Tenant;
use crate::upstream::Fields;

use super::choice::Parties;
use super::cors::Crossing;
use super::error::ExchangeError;
use super::reply::Reply;
use super::visit::Visit;

/// Why a request has no tenant: a credential that is refused, or is missing where it would have
/// named one, is told before anything else.
#[cold]
pub(super) fn unnamed(
    error: NamingError,
    table: &Table,
    shown: &Shown<'_>,
    visit: &Visit,
) -> ExchangeError {
    match (shown.credential, error) {
        (Credential::Refused(refusal), _) => refused(refusal, visit),
        (Credential::Nothing, NamingError::Missing) if table.is_named_by_credentials() => {
            refused(Refusal::Missing, visit)
        }
        (_, error) => error.into(),
    }
}

/// Lets a request of this tenant in, and notes who sent it. Gives the answer to a browser that asks
/// before it sends one.
///
/// # Errors
/// Why it is not let in.
#[cold]
#[inline(never)]
pub(super) fn admit<'t>(
    parties: &mut Parties<'t>,
    (tenant, table): (&'t Tenant, &Table),
    shown: &Shown<'_>,
    head: &Parts,
    visit: &mut Visit,
) -> Result<Option<Box<Reply>>, ExchangeError> {
    let everybody = AccessSpec::default();
    let access = tenant.access();
    let lets_in = |access: &AccessSpec| {
        access.lets_in(visit.client()) && !(visit.hides_client() && access.names_networks())
    };
    if !access.is_none_or(lets_in) {
        return Err(refused(Refusal::Network, visit));
    }
    // Before anything is asked of the client: browsers show nothing with what they ask before.
    if let Some(cors) = access.and_then(|access| access.cors.as_ref()) {
        let crossing = parties.crossing.insert(Box::new(Crossing::of(cors, head)));
        if let Some(answer) = crossing.preflight() {
            return Ok(Some(answer));
        }
    }
    let access = access.unwrap_or(&everybody);
    match caller(tenant, (table, access), shown) {
        Ok(Some(caller)) => visit.note(|record| record.caller = Some(Box::new(caller))),
        Ok(None) => {}
        Err(refusal) => return Err(refused(refusal, visit)),
    }
    match access.serves(&head.method) {
        true => Ok(None),
        false => Err(refused(Refusal::Method, visit)),
    }
}

/// Who sent a request; `None` = nobody is asked, and nobody has said.
fn caller(
    tenant: &Tenant,
    (table, access): (&Table, &AccessSpec),
    shown: &Shown<'_>,
) -> Result<Option<Caller>, Refusal> {
    let accepts = |kind| access.authenticate.is_empty() || access.authenticate.contains(&kind);
    let demands = |kind| access.authenticate.contains(&kind);
    let vouched = match shown.certificate {
        None => None,
        Some(identity) => match table.vouched(identity, tenant.id()) {
            // Whatever else it shows, and whatever is demanded.
            Vouched::Other => return Err(Refusal::OtherTenant),
            Vouched::Own => Some(identity).filter(|_| demands(CredentialKind::Certificate)),
            Vouched::Nothing => None,
        },
    };
    match shown.credential {
        Credential::Refused(refusal) => Err(refusal),
        Credential::Key(key) if *key.tenant != *tenant.id() => Err(Refusal::OtherTenant),
        Credential::Key(key) if accepts(CredentialKind::ApiKey) => Ok(Some(key.caller())),
        Credential::Token(token) if *token.tenant != *tenant.id() => Err(Refusal::OtherTenant),
        Credential::Token(token) if accepts(CredentialKind::Token) => {
            Ok(Some(token.caller.clone()))
        }
        Credential::Nothing | Credential::Key(_) | Credential::Token(_) if vouched.is_some() => {
            let subject = vouched.and_then(Identity::subject).unwrap_or_default();
            let (subject, told) = (printable(subject)?, Box::default());
            Ok(Some(Caller { subject, proof: Proof::Certificate, told }))
        }
        Credential::Key(_) | Credential::Token(_) => Err(Refusal::NotAccepted),
        Credential::Nothing if access.authenticate.is_empty() => Ok(None),
        Credential::Nothing => Err(Refusal::Missing),
    }
}

/// A name as it can be sent in a header and stand in a log: no two are the same. Certificates may
/// hold any text.
///
/// # Errors
/// When it is too long to be told whole.
fn printable(name: &str) -> Result<Box<str>, Refusal> {
    if name.len() > LONGEST_NAME {
        return Err(Refusal::Malformed);
    }
    let mut plain = String::with_capacity(name.len());
    let last = name.len().saturating_sub(1);
    for (at, byte) in name.bytes().enumerate() {
        let is_plain = byte.is_ascii_graphic() || (byte == b' ' && at > 0 && at < last);
        if is_plain && byte != b'%' {
            plain.push(char::from(byte));
        } else {
            plain.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    Ok(plain.into())
}

fn digit(number: u8) -> char {
    char::from_digit(number.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

fn refused(refusal: Refusal, visit: &Visit) -> ExchangeError {
    visit.count_refusal(refusal.reason());
    ExchangeError::Refused(refusal)
}

/// Tells the endpoint who sent the request, and takes away by what that was proven. A client's own
/// word on it is gone already.
#[cold]
#[inline(never)]
pub(super) fn introduce(
    caller: &Caller,
    identity: &IdentitiesSpec,
    head: &mut Parts,
    added: &mut Fields,
) {
    hide(caller, identity, &mut head.headers);
    if let Some(name) = &identity.subject_header
        && let Some(Ok(subject)) = caller.subject().map(HeaderValue::from_str)
    {
        added.push((name.clone(), subject));
    }
    added.extend(caller.told.iter().cloned());
}

/// Takes away by what a client has proven who it is, where that ends at the gateway.
pub(super) fn hide(caller: &Caller, identity: &IdentitiesSpec, headers: &mut HeaderMap) {
    match caller.proof {
        Proof::ApiKey if !identity.forward_keys => api_key::hide(headers, &identity.key_header),
        Proof::ApiKey | Proof::Authorizer | Proof::Token { forward: true, .. } => {}
        Proof::Token { forward: false, .. } => jwt::hide(headers),
        // A credential that the tenant does not accept is shown beside it all the same.
        Proof::Certificate => {
            if !identity.forward_keys {
                api_key::hide(headers, &identity.key_header);
            }
            jwt::hide_of(headers, &identity.issuers);
        }
    }
    api_key::hide_look_alikes(headers, &identity.key_header);
}

/// How a client is asked for a credential (RFC 6750 §3).
pub(super) fn challenge(refusal: Refusal) -> HeaderValue {
    HeaderValue::from_static(match refusal {
        Refusal::Missing => "Bearer realm=\"tenantry\"",
        Refusal::Malformed | Refusal::Repeated => {
            "Bearer realm=\"tenantry\", error=\"invalid_request\""
        }
        _ => "Bearer realm=\"tenantry\", error=\"invalid_token\"",
    })
}

/// 256 bytes: a SPIFFE id with a long path.
const LONGEST_NAME: usize = 256;
