//! Path 3: one request and its answer, every step in order. Read this first: it is the table of
//! contents of the data path.

use std::rc::Rc;

use http::StatusCode;
use http::request::Parts;

use crate::model::fields::X_TENANTRY_DEBUG;
use crate::routing::table::Table;
use crate::routing::tenant::{Shares, Tenant};

use super::answer::Answer;
use super::authorize::{self, Question};
use super::choice::{self, Chosen, Parties};
use super::connection::{Busy, Peer};
use super::error::ExchangeError;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::reply::Reply;
use super::visit::Visit;
use super::worker::{View, Worker};
use super::{canary, extended, forward, guard, hops, hygiene, limited, local, rescue, waiting};

/// Serves one request: whatever happens, there is an answer and a record of it.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    head: &mut Parts,
    body: Incoming,
) -> Answer {
    let busy = Busy::begin(Rc::clone(peer));
    let mut visit = Visit::begin(worker, peer, head);
    let view = worker.view(); // one table for the whole exchange
    visit.follow(peer, &view.table, head);
    let mut parties = Parties::default();
    let ran = run(worker, peer, (&view, &mut parties), head, body, &mut visit).await;
    let trail = visit.take_trail();
    let limits = visit.take_limits();
    let problem = ran.as_ref().err().map(rescue::name);
    let mut answer = match ran {
        Ok(reply) => {
            if reply.is_failure() {
                visit.failed(head, &parties);
            }
            reply.answer(worker, peer, visit)
        }
        Err(error) => rescue::answer(&error, head, &view.table, &parties, visit).into(),
    };
    if worker.debug_tokens.is_some() {
        // An endpoint has no say in it.
        answer.head.headers_mut().remove(X_TENANTRY_DEBUG);
    }
    if let Some(crossing) = parties.crossing {
        crossing.tell(answer.head.headers_mut());
    }
    if let Some(limits) = limits {
        limited::tell(&limits, answer.head.headers_mut());
    }
    if let Some(trail) = trail {
        trail.tell(problem, answer.head.headers_mut());
    }
    answer.body.hold(busy);
    answer
}

/// One request, from its head to the head of its answer.
async fn run<'v>(
    worker: &Rc<Worker>,
    peer: &Peer,
    (view, parties): (&'v View, &mut Parties<'v>),
    head: &mut Parts,
    body: Incoming,
    visit: &mut Visit,
) -> Result<Reply, ExchangeError> {
    extended::receive(head)?;
    let size = guard::check(head, &worker.gateway.downstream)?;
    peer.secured.as_ref().map_or(Ok(()), |secured| secured.check(head))?;
    if let Some(answer) = hops::count(head)? {
        visit.sample(Shares::default(), head);
        return Ok(answer);
    }

    let chosen = choice::choose(&view.table, peer, head, parties, visit)?;
    visit.trail(|trail| trail.chose(&chosen));
    let is_answered = matches!(chosen, Chosen::Answered(_)); // nobody asked who the client is
    let held_up = parties.tenant.filter(|tenant| tenant.holds_up() && !is_answered);
    if let Some(tenant) = held_up {
        // In a box: it is rare, and large beside what all others are.
        let held = hold_up(worker, peer, (tenant, &view.table), (&chosen, &mut *head), visit);
        if let Some(denied) = Box::pin(held).await.inspect_err(|_| chosen.note_failure(visit))? {
            return Ok(*denied);
        }
    }
    let choice = match chosen {
        Chosen::Forward(choice) => choice,
        Chosen::Redirect(tenant, route, redirect) => {
            return Ok(local::redirect(redirect, tenant, head, (peer, visit.told())).edited(route));
        }
        Chosen::Respond(route, respond) => {
            let answer = local::respond(respond).edited(route);
            return Ok(if extended::was(head) { answer.declined() } else { answer });
        }
        Chosen::Answered(answer) => return Ok(*answer),
    };

    if choice.rewrites() {
        visit.keep_asked(head);
    }
    let mut outgoing = Outgoing::prepare(worker, peer, view, &choice, (head, size), body, visit)
        .inspect_err(|_| choice.note_failure(visit))?;
    let sent = match choice.besides() {
        None => forward::send(worker, &choice, &mut outgoing, visit).await,
        Some(besides) => canary::send(worker, peer, (&choice, besides), &mut outgoing, visit).await,
    };
    let (mut answer, mut lease) = match sent {
        Ok(sent) => sent,
        Err(error) if choice.besides().is_some() => return Err(error), // it has waited already
        Err(error) => waiting::again(worker, &choice, (&mut outgoing, &mut *visit), error).await?,
    };
    if answer.status().is_server_error() {
        choice.note_failure(visit);
    }

    let ended = hygiene::clean_answer(&mut answer);
    lease.nominated = ended.nominated;
    if let Some(steered) = outgoing.steered.as_deref() {
        steered.tell(worker, &choice, lease.in_flight.endpoint(), &mut answer);
    }
    choice.edit_answer(answer.headers_mut());
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Reply::tunnel(outgoing, answer, lease, ended.protocol);
    }
    if outgoing.extended {
        extended::decline(&mut answer);
    }
    Ok(Reply::Forwarded(answer, lease))
}

/// A request that may have to wait: for limits, and for a service that is asked whether it may go on. That comes behind
/// all that refuses a request by itself, so that strangers cost the service little, and before any queue and any endpoint.
/// Gives the service's answer where that is the client's.
async fn hold_up(
    worker: &Worker,
    peer: &Peer,
    (tenant, table): (&Tenant, &Table),
    (chosen, head): (&Chosen<'_>, &mut Parts),
    visit: &mut Visit,
) -> Result<Option<Box<Reply>>, ExchangeError> {
    let end = chosen.end(visit.started());
    let forwarded = matches!(chosen, Chosen::Forward(_));
    let asks = tenant.asks() && chosen.route().is_none_or(|route| route.authorize);
    let question = asks.then_some(Question { tenant, table, head: &*head, end, forwarded });
    let denied = match tenant.is_limited() {
        false => authorize::ask(question, worker, peer, visit).await?,
        true => {
            limited::admit(worker, peer, (tenant, chosen.route()), (end, question), visit).await?
        }
    };
    if asks {
        authorize::clean(table, tenant, head);
    }
    Ok(denied)
}
