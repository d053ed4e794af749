//! Whose request it is and what becomes of it: the tenant, the route, and what the route says.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use tokio::time::Instant;

use crate::config::answers::MaintenanceSpec;
use crate::config::spec::{RetrySpec, SplitBy, TenantState, TimeoutsSpec};
use crate::model::ids::Label;
use crate::pool::Pool;
use crate::resilience::deadline::Deadlines;
use crate::resilience::retry::RetryRule;
use crate::routing::action::{Action, Respond};
use crate::routing::naming::Shown;
use crate::routing::redirect::Redirect;
use crate::routing::route::{Besides, Route};
use crate::routing::split::Split;
use crate::routing::table::Table;
use crate::routing::tenant::Tenant;
use crate::routing::{Query, host};
use crate::upstream::Fields;

use super::access;
use super::connection::Peer;
use super::cors::Crossing;
use super::error::ExchangeError;
use super::reply::Reply;
use super::visit::Visit;

/// What becomes of a request.
pub(super) enum Chosen<'t> {
    /// It is forwarded.
    Forward(Choice<'t>),
    /// The route answers with another location.
    Redirect(&'t Tenant, &'t Route, &'t Redirect),
    /// The route answers by itself.
    Respond(&'t Route, &'t Respond),
    /// The gateway has answered for the tenant.
    Answered(Box<Reply>),
}

/// For whom a request is and where it goes, once that is known. The record has their numbers: names
/// are for failures and for what is logged.
#[derive(Default)]
pub(super) struct Parties<'t> {
    pub(super) tenant: Option<&'t Tenant>,
    pub(super) pool: Option<&'t Label>,
    /// What a page of another origin is told, where the tenant says which may.
    pub(super) crossing: Option<Box<Crossing<'t>>>,
}

/// Where a request is forwarded.
pub(super) struct Choice<'t> {
    pub(super) tenant: &'t Tenant,
    /// The field that named the tenant, where one did.
    pub(super) named_by: Option<&'t HeaderName>,
    /// `None`: no route takes it, and the tenant's own pool does.
    pub(super) route: Option<&'t Route>,
    pub(super) pool: &'t Arc<Pool>,
    /// The target to forward, where it is not the client's.
    pub(super) target: Option<PathAndQuery>,
}

/// Names the tenant and finds the route.
///
/// # Errors
/// When there is no such tenant, it is not served, or nothing takes the request.
pub(super) fn choose<'t>(
    table: &'t Table,
    peer: &Peer,
    head: &Parts,
    parties: &mut Parties<'t>,
    visit: &mut Visit,
) -> Result<Chosen<'t>, ExchangeError> {
    let identity = peer.secured.as_ref().and_then(|secured| secured.identity());
    let mut shown = Shown { certificate: identity, ..Shown::default() };
    let mut held = None;
    if table.knows_credentials() {
        shown.credential = table.credential(head, &mut held);
    }
    let named = match table.name(head, &shown) {
        Ok(named) => named,
        Err(error) => return Err(access::unnamed(error, table, &shown, visit)),
    };
    let tenant = named.tenant.as_ref();
    parties.tenant = Some(tenant);
    visit.is_for(tenant, head);
    if tenant.state != TenantState::Active {
        serve_anyway(tenant, visit)?;
    }

    if tenant.is_guarded() || table.knows_credentials() || identity.is_some() {
        let answered = access::admit(parties, (tenant, table), &shown, head, visit)?;
        if let Some(answered) = answered {
            return Ok(Chosen::Answered(answered));
        }
    }

    let route = find_route(tenant, head, named.path);
    visit.note_for_log(|record| record.route = route.map(|route| Arc::clone(&route.name)));
    visit.trail(|trail| trail.takes(route.map(|route| &route.name)));

    if let Some(route) = route.filter(|route| route.maintenance.is_some()) {
        let_in(route.maintenance.as_deref(), visit).inspect_err(|_| {
            visit.note_failure(|record| record.route = Some(Arc::clone(&route.name)))
        })?;
    }

    let pool = match route.map(|route| (route, &route.action)) {
        Some((route, Action::Redirect(redirect))) => {
            return Ok(Chosen::Redirect(tenant, route, redirect));
        }
        Some((route, Action::Respond(respond))) => return Ok(Chosen::Respond(route, respond)),
        Some((_, Action::Forward(pool))) => pool,
        Some((_, Action::Split(split))) => split_pool(split, tenant, head, visit),
        Some((_, Action::TenantPool)) | None => {
            tenant.pool.as_ref().ok_or(ExchangeError::NoRoute)?
        }
    };
    parties.pool = Some(&pool.label);
    visit.goes_to(&pool.label);
    let target = target(head, route, named.path)?;
    let route = route.map(Arc::as_ref);
    Ok(Chosen::Forward(Choice { tenant, named_by: named.field, route, pool, target }))
}

/// Refuses a request of a tenant that is not served, or not for everybody.
#[cold]
#[inline(never)]
fn serve_anyway(tenant: &Tenant, visit: &Visit) -> Result<(), ExchangeError> {
    match tenant.state {
        TenantState::Active => Ok(()),
        TenantState::Maintenance => let_in(tenant.maintenance(), visit),
        TenantState::Suspended => Err(ExchangeError::Suspended),
        TenantState::Quarantined => Err(ExchangeError::Quarantined),
    }
}

/// Refuses who is not let in while something is worked on. Behind trusted proxies that is asked of
/// the client whom they name.
fn let_in(work: Option<&MaintenanceSpec>, visit: &Visit) -> Result<(), ExchangeError> {
    match work {
        Some(work)
            if visit.hides_client()
                || !work.allow.iter().any(|peers| peers.contain(visit.client())) =>
        {
            Err(ExchangeError::Maintenance { retry_after: work.retry_after })
        }
        _ => Ok(()),
    }
}

fn find_route<'t>(tenant: &'t Tenant, head: &Parts, path: &str) -> Option<&'t Arc<Route>> {
    if !tenant.has_routes() {
        return None;
    }
    let host = host::of(head);
    tenant.find(&Query {
        host: host.as_deref(),
        path,
        method: &head.method,
        headers: &head.headers,
        query: head.uri.query(),
    })
}

fn split_pool<'t>(split: &'t Split, tenant: &Tenant, head: &Parts, visit: &Visit) -> &'t Arc<Pool> {
    let by_header = match &split.by {
        SplitBy::Header(name) => head.headers.get(name),
        SplitBy::RequestId => None,
    };
    let of = (tenant.id(), &head.headers);
    match by_header {
        Some(value) => split.choose(of, value.as_bytes()),
        None => split.choose(of, visit.request_id().as_bytes()),
    }
}

/// The target that the endpoint sees, where the tenant's segment was stripped or a prefix
/// replaced.
fn target(
    head: &Parts,
    route: Option<&Arc<Route>>,
    path: &str,
) -> Result<Option<PathAndQuery>, ExchangeError> {
    let path = route.map_or(Cow::Borrowed(path), |route| route.rewrite.path(path));
    if path == head.uri.path() {
        return Ok(None);
    }
    let target = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    let target = PathAndQuery::try_from(target)
        .map_err(|_| ExchangeError::BadRequest("the path is not valid once it is rewritten"))?;
    Ok(Some(target))
}

impl<'t> Chosen<'t> {
    /// The route that takes the request, where one does.
    pub(super) fn route(&self) -> Option<&'t Route> {
        match self {
            Self::Forward(choice) => choice.route,
            Self::Redirect(_, route, _) | Self::Respond(route, _) => Some(route),
            Self::Answered(_) => None,
        }
    }

    /// When the exchange that began then must have ended.
    pub(super) fn end(&self, started: Instant) -> Option<Instant> {
        match self {
            Self::Forward(choice) => choice.deadlines().end(started),
            Self::Redirect(..) | Self::Respond(..) | Self::Answered(_) => None,
        }
    }

    /// Tells the log which route it was, after a failure.
    pub(super) fn note_failure(&self, visit: &mut Visit) {
        visit.note_failure(|record| {
            record.route = self.route().map(|route| Arc::clone(&route.name));
        });
    }
}

impl<'t> Choice<'t> {
    /// Whether target or host become others before the request is forwarded.
    pub(super) fn rewrites(&self) -> bool {
        self.target.is_some() || self.route.is_some_and(|route| route.rewrite.host.is_some())
    }

    /// Tells the log which route it was, after a failure.
    pub(super) fn note_failure(&self, visit: &mut Visit) {
        visit.note_failure(|record| {
            record.route = self.route.map(|route| Arc::clone(&route.name));
        });
    }

    /// What is done with the route's requests while they are forwarded.
    pub(super) fn besides(&self) -> Option<&'t Besides> {
        self.route.and_then(|route| route.besides.as_deref())
    }

    /// The deadlines of this exchange.
    pub(super) fn deadlines(&self) -> Deadlines {
        let own = self.route.map_or(&TimeoutsSpec::UNSAID, |route| &route.timeouts);
        Deadlines::resolve(own, &self.pool.spec.timeouts)
    }

    /// The retry rule of this exchange.
    pub(super) fn retry_rule(&self) -> RetryRule<'t> {
        let own = self.route.map_or(&RetrySpec::UNSAID, |route| &route.retry);
        RetryRule::resolve(own, &self.pool.spec.retry)
    }

    /// Edits the request's fields as the route says, also those that are still to be `added`.
    pub(super) fn edit_request(&self, headers: &mut HeaderMap, added: &mut Fields) {
        if let Some(route) = self.route.filter(|route| !route.request_headers.is_empty()) {
            for (name, value) in added.drain(..) {
                headers.append(name, value);
            }
            route.request_headers.apply(headers);
        }
    }

    /// Whether the route says what becomes of a field of the request.
    pub(super) fn decides(&self, name: &HeaderName) -> bool {
        self.route.is_some_and(|route| route.request_headers.names(name))
    }

    /// Edits the answer's fields as the route says.
    pub(super) fn edit_answer(&self, headers: &mut HeaderMap) {
        if let Some(route) = self.route {
            route.response_headers.apply(headers);
        }
    }
}
