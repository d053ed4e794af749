//! A tenant's breaker at a pool that has them: whether a request may go on, and what came of it.

use tokio::time::Instant;

use crate::health::passive::Verdict;
use crate::pool::Pool;
use crate::resilience::breaker::{self, Admitted, Became, Breaker};
use crate::routing::tenant::Tenant;

use super::choice::Choice;
use super::error::ExchangeError;
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

/// Takes what came of a request that began then, after all of its attempts.
#[cold]
#[inline(never)]
pub(super) fn note(
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
