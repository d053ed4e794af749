//! Path 3: one request and its answer, every step in order. Read this first: it is the table of
//! contents of the data path.

use std::rc::Rc;

use http::request::Parts;
use http::{Response, StatusCode};

use crate::routing::tenant::Shares;

use super::answer::AnswerBody;
use super::choice::{self, Chosen};
use super::connection::Peer;
use super::error::ExchangeError;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::reply::Reply;
use super::visit::Visit;
use super::worker::{View, Worker};
use super::{extended, forward, guard, hops, hygiene, local, rescue};

/// Serves one request: whatever happens, there is an answer and a record of it.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    head: &mut Parts,
    body: Incoming,
) -> Response<AnswerBody> {
    let mut visit = Visit::begin(worker, peer, head);
    let view = worker.view(); // one table for the whole exchange
    match run(worker, peer, &view, head, body, &mut visit).await {
        Ok(reply) => {
            if reply.is_failure() {
                visit.failed(head);
            }
            reply.answer(worker, peer, visit)
        }
        Err(error) => rescue::answer(&error, head, &view.table, visit),
    }
}

/// One request, from its head to the head of its answer.
async fn run(
    worker: &Rc<Worker>,
    peer: &Peer,
    view: &View,
    head: &mut Parts,
    body: Incoming,
    visit: &mut Visit,
) -> Result<Reply, ExchangeError> {
    extended::receive(head)?;
    guard::check(head, &worker.gateway.downstream)?;
    if let Some(secured) = &peer.secured {
        secured.check(head)?;
    }
    if let Some(answer) = hops::count(head)? {
        visit.sample(Shares::default(), head);
        return Ok(answer);
    }

    let choice = match choice::choose(&view.table, peer, head, visit)? {
        Chosen::Forward(choice) => choice,
        Chosen::Redirect(tenant, route, redirect) => {
            let answer = local::redirect(redirect, tenant, head, (peer, visit.told()));
            return Ok(answer.edited(route));
        }
        Chosen::Respond(route, respond) => return Ok(local::respond(respond).edited(route)),
    };

    if choice.rewrites() {
        visit.keep_asked(head);
    }
    let mut outgoing = Outgoing::prepare(worker, peer, view, &choice, head, body, visit)
        .inspect_err(|_| choice.note_failure(visit))?;
    let (mut answer, mut lease) = forward::send(worker, &choice, &mut outgoing, visit)
        .await
        .inspect_err(|_| choice.note_failure(visit))?;
    if answer.status().is_server_error() {
        choice.note_failure(visit);
    }

    let ended = hygiene::clean_answer(&mut answer);
    lease.nominated = ended.nominated;
    choice.edit_answer(answer.headers_mut());
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Reply::tunnel(outgoing, answer, lease, ended.protocol);
    }
    if outgoing.extended {
        extended::decline(&mut answer);
    }
    Ok(Reply::Forwarded(answer, lease))
}
