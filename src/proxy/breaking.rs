//! The breakers at a pool that has them, a tenant's and the pool's own: whether a request may go on, and what came of it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::config::spec::BreakerSpec;
use crate::health::passive::Verdict;
use crate::model::breakers::Breakers;
use crate::pool::Pool;
use crate::resilience::breaker::whole::{self, OnTrialForAll};
use crate::resilience::breaker::{self, Admitted, Became, Breaker};
use crate::routing::tenant::Tenant;

use super::attempt::Answered;
use super::choice::Choice;
use super::error::{AttemptError, ExchangeError};
use super::forward::Effort;
use super::visit::Visit;
use super::worker::Worker;

/// A request's places among those on trial; `None` where the breakers are closed. Boxed: it lies in what each exchange has.
pub(super) type OnTrial<'t> = Option<Box<Places<'t>>>;

/// A request's places among those on trial, at its tenant's breaker and at the pool's own.
pub(super) struct Places<'t> {
    own: Option<breaker::OnTrial<'t>>,
    whole: Option<OnTrialForAll<'t>>,
}

/// What is to be known of the breakers that a request meets.
struct Met<'t> {
    own: &'t Breaker,
    rules: &'t BreakerSpec,
    all: &'t Breakers,
    now: Instant,
}

/// Lets a request go on unless too many of its tenant's have failed at the pool, or of all tenants'.
///
/// # Errors
/// When they have.
#[cold]
#[inline(never)]
pub(super) fn enter<'t>(
    worker: &Worker,
    choice: &Choice<'t>,
) -> Result<OnTrial<'t>, ExchangeError> {
    let (pool, tenant) = (choice.pool.as_ref(), choice.tenant);
    let Some(Met { own, rules, all, now }) = of(worker, pool, tenant) else { return Ok(None) };
    let refused = |retry_after| ExchangeError::BreakerOpen { retry_after };
    let Admitted { trial, became } = own.admit(rules, now).map_err(refused)?;
    tell(worker, pool, tenant, became);
    let mut places = Places { own: trial, whole: None };
    if rules.whole_pool {
        let Admitted { trial, became } =
            whole::admit(&all.whole, own, rules, now).map_err(refused)?;
        tell_of_all(worker, pool, became);
        places.whole = trial;
    }
    Ok((places.own.is_some() || places.whole.is_some()).then(|| Box::new(places)))
}

/// Takes what came of a request, after all of its attempts. One that could not be connected and may wait for an endpoint is
/// told of once that is over, as all of its rounds are one request; one on trial at once, as others wait for what comes of it.
#[cold]
#[inline(never)]
pub(super) fn settle(
    effort: &Effort<'_>,
    answered: &Result<Answered, ExchangeError>,
    visit: &Visit,
) {
    let on_trial = effort.on_trial.take();
    let may_wait = effort.pool.spec.wait.is_some() && !visit.takes_anybody();
    let is_unconnected = matches!(answered, Err(ExchangeError::Attempt(AttemptError::Connect(_))));
    let (began, verdict) = (effort.began, effort.verdict(answered, effort.began));
    let of = (effort.pool, effort.tenant);
    match on_trial {
        None if may_wait && is_unconnected => {}
        Some(places) if may_wait && is_unconnected && places.own.is_none() => {
            note_for_all(effort.worker, of, places.whole, began, verdict);
        }
        on_trial => note(effort.worker, of, on_trial, began, verdict),
    }
}

/// What the failure of a request says that may have waited for an endpoint, and of which [`settle`] has said nothing.
pub(super) fn untold(choice: &Choice<'_>, error: &ExchangeError) -> Option<Verdict> {
    match error {
        ExchangeError::Attempt(error @ AttemptError::Connect(_)) => {
            choice.pool.spec.wait.and_then(|_| error.verdict())
        }
        _ => None,
    }
}

/// Takes what was untold of a request, now that it waits no longer.
pub(super) fn note_untold(
    worker: &Worker,
    choice: &Choice<'_>,
    verdict: Option<Verdict>,
    visit: &Visit,
) {
    note(worker, (choice.pool, choice.tenant), None, visit.started(), verdict);
}

/// Takes what came of a request that began then.
fn note(
    worker: &Worker,
    (pool, tenant): (&Pool, &Tenant),
    on_trial: OnTrial<'_>,
    began: Instant,
    verdict: Option<Verdict>,
) {
    let Some(verdict) = verdict else { return };
    let Some(Met { own, rules, now, .. }) = of(worker, pool, tenant) else { return };
    let failed = verdict != Verdict::Success;
    let places = on_trial.map(|places| *places);
    let (on_trial, for_all) = places.map_or((None, None), |places| (places.own, places.whole));
    let became = match on_trial {
        Some(on_trial) => on_trial.ends(rules, failed, now),
        None => own.note(rules, failed, (began, now)),
    };
    tell(worker, pool, tenant, became);
    note_for_all(worker, (pool, tenant), for_all, began, Some(verdict));
}

/// As [`note`], for the breaker of the whole pool alone.
fn note_for_all(
    worker: &Worker,
    (pool, tenant): (&Pool, &Tenant),
    on_trial: Option<OnTrialForAll<'_>>,
    began: Instant,
    verdict: Option<Verdict>,
) {
    let Some(verdict) = verdict else { return };
    let Some(Met { own, rules, all, now }) = of(worker, pool, tenant) else { return };
    if !rules.whole_pool {
        return;
    }
    let failed = verdict != Verdict::Success;
    let became = match on_trial {
        Some(on_trial) => on_trial.ends(rules, failed, now),
        None => whole::note(&all.whole, own, rules, failed, (began, now)),
    };
    tell_of_all(worker, pool, became);
}

/// Whether the breakers let all requests of the tenant pass to the pool.
#[cold]
#[inline(never)]
pub(super) fn are_closed(worker: &Worker, choice: &Choice<'_>) -> bool {
    of(worker, choice.pool, choice.tenant).is_none_or(|Met { own, rules, all, .. }| {
        own.is_closed() && (!rules.whole_pool || whole::is_closed(&all.whole))
    })
}

fn of<'t>(worker: &Worker, pool: &'t Pool, tenant: &'t Tenant) -> Option<Met<'t>> {
    let all: &'t Arc<Breakers> = pool.breakers.as_ref()?;
    let rules = pool.spec.breaker.as_ref()?;
    let now = worker.clock.recent();
    let own = tenant.allowance().breaker(pool.label.slot, all, now);
    Some(Met { own, rules, all, now })
}

fn tell(worker: &Worker, pool: &Pool, tenant: &Tenant, became: Option<Became>) {
    let Some(became) = became else { return };
    worker.meter.breaker(&pool.label, became.as_str());
    if !worker.lines.admits() {
        return; // many tenants of a pool that is down
    }
    let (pool, tenant) = (&pool.label.name, tenant.id());
    match became {
        Became::Open(time) => tracing::warn!(
            %pool, tenant, ?time,
            "the breaker opens: too many of the tenant's requests to the pool have failed"
        ),
        Became::HalfOpen => {
            tracing::info!(%pool, tenant, "the breaker is half open: a few requests are on trial");
        }
        Became::Closed => {
            tracing::info!(%pool, tenant, "the breaker is closed: the requests on trial were served");
        }
    }
}

fn tell_of_all(worker: &Worker, pool: &Pool, became: Option<Became>) {
    let Some(became) = became else { return };
    worker.meter.pool_breaker(&pool.label, became.as_str());
    let pool = &pool.label.name;
    match became {
        Became::Open(time) => tracing::warn!(
            %pool, ?time,
            "the pool's breaker opens: too many requests of several tenants have failed"
        ),
        Became::HalfOpen => {
            tracing::info!(%pool, "the pool's breaker is half open: a few requests are on trial");
        }
        Became::Closed => {
            tracing::info!(%pool, "the pool's breaker is closed: the requests on trial were served");
        }
    }
}
