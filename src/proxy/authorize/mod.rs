//! Asks a service whether a request may go on, for tenants that say so: everything here is out of line.
//! What it answers is used again for requests that show and ask the same, and of several that come at once one asks.

mod call;
mod verdict;
mod verdicts;

use std::rc::Rc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderName, Method, Request};
use tokio::time::{Instant, timeout_at};

use crate::auth::Refusal;
use crate::config::spec::{AuthorizerSpec, OnError};
use crate::model::caller::{Caller, Proof};
use crate::routing::authorizer::Authorizer;
use crate::routing::host;
use crate::routing::table::Table;
use crate::routing::tenant::Tenant;

use super::connection::Peer;
use super::error::ExchangeError;
use super::extended;
use super::hygiene::X_REQUEST_ID;
use super::reply::Reply;
use super::visit::Visit;
use super::worker::Worker;

use verdict::{Fault, Verdict};
use verdicts::{Found, Key};

pub(super) use verdicts::Verdicts;

/// Asks for a request of this tenant. Gives the client's answer where that is the service's.
///
/// # Errors
/// When it is not let in, or nobody can be asked.
pub(super) async fn ask(
    worker: &Worker,
    peer: &Peer,
    (tenant, table): (&Tenant, &Table),
    (head, end): (&Parts, Option<Instant>),
    visit: &mut Visit,
) -> Result<Option<Reply>, ExchangeError> {
    let Some(name) = tenant.access().and_then(|access| access.authorize.as_deref()) else {
        return Ok(None);
    };
    let began = Instant::now();
    let Some(authorizer) = table.authorizer(name) else {
        worker.meter.authorized("error", Duration::ZERO);
        return Err(ExchangeError::Unauthorizable(Fault::NoEndpoint.to_string().into()));
    };
    let asked = asked(&authorizer.spec, peer, (tenant, table), head, visit);
    let (verdict, is_known) = find(worker, authorizer, tenant, asked, end).await;
    let result = if is_known { "cached" } else { verdict.result() };
    worker.meter.authorized(result, began.elapsed());
    match &*verdict {
        Verdict::Allowed { subject, told } => {
            let told = told.iter().cloned();
            visit.note(|record| match &mut record.caller {
                Some(caller) => {
                    caller.told = caller.told.iter().cloned().chain(told).collect();
                }
                none => {
                    let (subject, proof) = (subject.clone().unwrap_or_default(), Proof::Authorizer);
                    *none = Some(Box::new(Caller { subject, proof, told: told.collect() }));
                }
            });
            Ok(None)
        }
        Verdict::OtherTenant => {
            visit.count_refusal(Refusal::OtherTenant.reason());
            Err(Refusal::OtherTenant.into())
        }
        Verdict::Denied(answer) => {
            let reply = answer.reply();
            Ok(Some(if extended::was(head) { reply.declined() } else { reply }))
        }
        Verdict::Failed(fault) => {
            if worker.lines.admits() {
                let (authorizer, tenant) = (&*authorizer.spec.name, tenant.id());
                tracing::warn!(authorizer, tenant, %fault, "it cannot be asked whether a request may go on");
            }
            match authorizer.spec.on_error {
                OnError::Allow => Ok(None),
                OnError::Deny => Err(ExchangeError::Unauthorizable(fault.to_string().into())),
            }
        }
    }
}

/// What is known, what somebody else is told who asks the same, or what the service says; and whether it was
/// known.
async fn find(
    worker: &Worker,
    authorizer: &Authorizer,
    tenant: &Tenant,
    asked: Parts,
    end: Option<Instant>,
) -> (Rc<Verdict>, bool) {
    let spec = &authorizer.spec;
    let key = Key::of(spec, tenant.id(), &asked);
    let own = Instant::now() + spec.timeout;
    let until = end.map_or(own, |end| end.min(own));
    loop {
        let lead = match worker.verdicts.find(&key, Instant::now()) {
            Found::Known(verdict) => return (verdict, true),
            Found::Asked(mut flight) => {
                let heard = timeout_at(until, flight.wait_for(Option::is_some)).await;
                match heard {
                    Ok(Ok(heard)) => match &*heard {
                        Some(verdict) => return (Rc::clone(verdict), true),
                        None => continue,
                    },
                    Ok(Err(_)) => continue, // who asked has left
                    Err(_) => {
                        return (Rc::new(Verdict::Failed(Fault::Timeout(spec.timeout))), false);
                    }
                }
            }
            Found::Nobody(lead) => lead,
        };
        let call = call::call(worker, &authorizer.pool, tenant.slot(), asked);
        let (verdict, lasts) = match timeout_at(until, call).await {
            Ok(Ok(answer)) => verdict::judge(answer, spec, tenant.id()),
            Ok(Err(fault)) => (Verdict::Failed(fault), Duration::ZERO),
            Err(_) => (Verdict::Failed(Fault::Timeout(spec.timeout)), Duration::ZERO),
        };
        let verdict = Rc::new(verdict);
        lead.land(&verdict, Instant::now(), lasts);
        return (verdict, false);
    }
}

/// The question: a request without a body that says what is asked for, by whom, and what is shown.
fn asked(
    spec: &AuthorizerSpec,
    peer: &Peer,
    (tenant, table): (&Tenant, &Table),
    head: &Parts,
    visit: &Visit,
) -> Parts {
    let mut asked = Request::new(()).into_parts().0;
    asked.method = Method::GET;
    asked.uri = spec.path.clone().into();
    let told = visit.told();
    let headers = &mut asked.headers;
    headers.insert(USER_AGENT, AGENT);
    let mut say = |name: &'static str, value: Option<HeaderValue>| {
        value.map(|value| headers.insert(HeaderName::from_static(name), value))
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    say("x-forwarded-method", HeaderValue::from_str(head.method.as_str()).ok());
    say("x-forwarded-uri", HeaderValue::from_str(path).ok());
    let scheme = told.map_or(peer.scheme(), |told| told.scheme);
    say("x-forwarded-proto", HeaderValue::from_str(scheme).ok());
    let host = told.and_then(|told| told.host.clone());
    say("x-forwarded-host", host.or_else(|| HeaderValue::from_str(host::authority(head)?).ok()));
    let client = visit.client().filter(|_| !visit.hides_client());
    say(
        "x-forwarded-for",
        client.and_then(|client| HeaderValue::try_from(client.to_string()).ok()),
    );
    for name in [AUTHORIZATION].iter().chain(&spec.headers) {
        for value in head.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    if let Ok(id) = HeaderValue::from_str(tenant.id()) {
        headers.insert(&table.naming.forward_as, id);
    }
    headers.insert(X_REQUEST_ID, visit.request_id());
    asked
}

const AGENT: HeaderValue = HeaderValue::from_static("tenantry-authorize");
