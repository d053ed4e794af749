//! A tenant's breaker at a pool that has them: whether a request may go on, and what came of it.

use tokio::time::Instant;

use crate::health::passive::Verdict;
use crate::pool::Pool;
use crate::resilience::breaker::{self, Admitted, Became, Breaker};
use crate::routing::tenant::Tenant;

use super::attempt::Answered;
use super::choice::Choice;
use super::error::{AttemptError, ExchangeError};
use super::forward::Effort;
use super::visit::Visit;
use super::worker::Worker;

/// A request's place among those on trial; `None` where the breaker is closed. Boxed: it lies in what each exchange has.
pub(super) type OnTrial<'t> = Option<Box<breaker::OnTrial<'t>>>;

/// Lets a request go on unless too many of its tenant's have failed at the pool.
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
    let Some((breaker, rules)) = of(worker, pool, tenant).zip(pool.spec.breaker.as_ref()) else {
        return Ok(None);
    };
    match breaker.admit(rules, worker.clock.recent()) {
        Ok(Admitted { trial, became }) => {
            tell(worker, pool, tenant, became);
            Ok(trial.map(Box::new))
        }
        Err(retry_after) => Err(ExchangeError::BreakerOpen { retry_after }),
    }
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
    if on_trial.is_none() && may_wait && is_unconnected {
        return;
    }
    let (began, verdict) = (effort.began, effort.verdict(answered, effort.began));
    note(effort.worker, (effort.pool, effort.tenant), on_trial, began, verdict);
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
    let Some((breaker, rules)) = of(worker, pool, tenant).zip(pool.spec.breaker.as_ref()) else {
        return;
    };
    let (failed, now) = (verdict != Verdict::Success, worker.clock.recent());
    let became = match on_trial {
        Some(on_trial) => on_trial.ends(rules, failed, now),
        None => breaker.note(rules, failed, (began, now)),
    };
    tell(worker, pool, tenant, became);
}

fn of<'t>(worker: &Worker, pool: &Pool, tenant: &'t Tenant) -> Option<&'t Breaker> {
    let all = pool.breakers.as_ref()?;
    Some(tenant.allowance().breaker(pool.label.slot, all, worker.clock.recent()))
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
