//! What a service is told of a request: a head of bounded size, and a digest by which answers are told apart.

use aws_lc_rs::digest::{Context, SHA256};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, Request};

use crate::config::spec::AskedPart;
use crate::model::fields::look_alike;
use crate::routing::authorizer::Authorizer;
use crate::routing::host;
use crate::routing::table::Table;
use crate::routing::tenant::Tenant;

use crate::proxy::access;
use crate::proxy::connection::Peer;
use crate::proxy::error::ExchangeError;
use crate::proxy::hygiene::{self, X_REQUEST_ID};
use crate::proxy::visit::Visit;

/// A digest of what an answer hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) [u8; 32]);

/// The question: a request without a body that says what is asked for, by whom, and what is shown.
///
/// # Errors
/// When that is too much. It is told to the client: a service that breaks off for the size of a question has said nothing,
/// and a client could have it do that.
pub(super) fn head(
    authorizer: &Authorizer,
    peer: &Peer,
    (tenant, table): (&Tenant, &Table),
    head: &Parts,
    visit: &Visit,
) -> Result<Parts, ExchangeError> {
    let mut asked = Request::new(()).into_parts().0;
    asked.method = Method::GET;
    let headers = &mut asked.headers;
    headers.insert(USER_AGENT, AGENT);
    for part in AskedPart::ALL {
        if let Some(value) = said(part, peer, head, visit) {
            headers.insert(part.field(), value);
        }
    }
    let mut shown = HeaderMap::new();
    for name in shown_in(authorizer) {
        if hygiene::is_nominated(&head.headers, name) {
            continue; // the endpoint does not hear of it either
        }
        for value in head.headers.get_all(name) {
            shown.append(name, value.clone());
        }
    }
    if let Some(caller) = visit.caller() {
        access::hide(caller, &table.naming.identity, &mut shown);
    }
    hygiene::join_cookies(&mut shown); // HTTP/2 has them in crumbs
    headers.extend(shown);
    if let Ok(id) = HeaderValue::from_str(tenant.id()) {
        headers.insert(&table.naming.forward_as, id);
    }
    let subject = visit.caller().and_then(|caller| caller.subject());
    if let (Some(name), Some(Ok(subject))) =
        (&table.naming.identity.subject_header, subject.map(HeaderValue::from_str))
    {
        headers.insert(name, subject);
    }
    headers.insert(X_REQUEST_ID, visit.request_id());
    let field =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + OF_A_FIELD;
    match headers.iter().map(field).sum::<usize>() > LARGEST {
        true => Err(ExchangeError::HeadTooLarge {
            limit: format!("{LARGEST} bytes of what says who may come"),
        }),
        false => Ok(asked),
    }
}

/// Takes away what an application might take for something that the client shows, and nobody was asked for.
pub(super) fn clean(authorizer: &Authorizer, headers: &mut HeaderMap) {
    let is_shown = |name: &HeaderName| shown_in(authorizer).any(|own| own == name);
    let is_like =
        |name: &HeaderName| shown_in(authorizer).any(|own| look_alike(own.as_str(), name.as_str()));
    let fakes = headers.keys().filter(|name| is_like(name) && !is_shown(name));
    let fakes: Vec<HeaderName> = fakes.cloned().collect();
    for name in fakes {
        headers.remove(name);
    }
}

/// The headers in which the client shows something.
fn shown_in(authorizer: &Authorizer) -> impl Iterator<Item = &HeaderName> {
    [&SHOWN].into_iter().chain(&authorizer.spec.headers)
}

fn said(part: AskedPart, peer: &Peer, head: &Parts, visit: &Visit) -> Option<HeaderValue> {
    let told = visit.told();
    let text = |text: &str| HeaderValue::from_str(text).ok();
    match part {
        AskedPart::Method => text(head.method.as_str()),
        AskedPart::Uri => text(head.uri.path_and_query().map_or("/", |path| path.as_str())),
        AskedPart::Proto => text(told.map_or(peer.scheme(), |told| told.scheme)),
        AskedPart::Host => {
            told.and_then(|told| told.host.clone()).or_else(|| text(host::authority(head)?))
        }
        AskedPart::For => {
            let client = visit.client().filter(|_| !visit.hides_client())?;
            text(&client.to_string())
        }
    }
}

impl Key {
    /// Of a question for a tenant, by its number, which no other ever has, and for whom the gateway knows already, where it does.
    /// Who is asked is in it as it is asked now, so that no answer outlives a change.
    pub(super) fn of(
        authorizer: &Authorizer,
        (tenant, subject): (&Tenant, &str),
        asked: &Parts,
    ) -> Self {
        let mut context = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_le_bytes()); // so that no two are written alike
            context.update(part);
        };
        add(authorizer.spec.name.as_bytes());
        add(&authorizer.since.to_le_bytes());
        add(&tenant.slot().to_le_bytes());
        add(subject.as_bytes());
        let parts: Vec<HeaderName> =
            authorizer.spec.cache_key.iter().map(|part| part.field()).collect();
        for name in shown_in(authorizer).chain(&parts) {
            add(name.as_str().as_bytes());
            let values: Vec<&HeaderValue> = asked.headers.get_all(name).iter().collect();
            add(&(values.len() as u64).to_le_bytes());
            values.into_iter().for_each(|value| add(value.as_bytes()));
        }
        let mut key = [0; 32];
        key.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(key)
    }
}

/// Where clients show who they are by HTTP's own rules.
static SHOWN: HeaderName = AUTHORIZATION;
const AGENT: HeaderValue = HeaderValue::from_static("tenantry-authorize");
/// 16 KiB: as much as servers commonly take as a head.
const LARGEST: usize = 16 << 10;
/// 32 bytes, as HTTP/2 counts (RFC 9113 §6.5.2).
const OF_A_FIELD: usize = 32;
