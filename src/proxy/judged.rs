//! What an attempt says of its endpoint: judged at once by what it does in a row, and kept for who
//! compares endpoints with each other.

use std::sync::Arc;

use crate::health::passive::{self, Attempt, Judged, Verdict};
use crate::model::endpoint::Endpoint;
use crate::pool::Pool;
use crate::routing::route::Route;
use crate::telemetry::sightings;

use super::worker::Worker;

/// Takes what an attempt says of its endpoint. `route` took the request, where one did.
pub(super) fn judge(
    worker: &Worker,
    (pool, endpoint): (&Pool, &Arc<Endpoint>),
    attempt: Attempt,
    route: Option<&Route>,
) {
    if attempt.verdict != Verdict::Success || pool.attended {
        keep(worker, (pool, endpoint), attempt, route);
    }
    if let Some(judged) = passive::observe(&pool.members, endpoint, &pool.spec.eject, attempt) {
        tell(worker, (pool, endpoint), judged);
    }
}

#[cold]
#[inline(never)]
fn keep(
    worker: &Worker,
    (pool, endpoint): (&Pool, &Arc<Endpoint>),
    attempt: Attempt,
    route: Option<&Route>,
) {
    let Attempt { verdict, tenant, began, now } = attempt;
    if verdict != Verdict::Success {
        let tenant = (verdict != Verdict::Unreachable).then_some(tenant);
        worker.meter.failed_at(&pool.label, endpoint, tenant);
    }
    // Where there was no connection, nobody knows how long an answer takes.
    if pool.spec.eject.latency.is_some() && verdict != Verdict::Unreachable {
        let route = route.map_or("", |route| &route.name);
        let time = now.saturating_duration_since(began);
        worker.meter.took_at(&pool.label, endpoint, sightings::kind(tenant, route), time);
    }
}

#[cold]
#[inline(never)]
fn tell(worker: &Worker, (pool, endpoint): (&Pool, &Arc<Endpoint>), judged: Judged) {
    match judged {
        Judged::Ejected(ejected) => {
            worker.meter.ejected(&pool.label, ejected.cause.as_str());
            tracing::warn!(
                pool = %pool.label.name, endpoint = %endpoint.label, time = ?ejected.time,
                "an endpoint was ejected {}", ejected.cause.why()
            );
        }
        Judged::Spared => worker.meter.spared(&pool.label),
        Judged::Recovered => {
            worker.meter.tried(&pool.label, "passed");
            tracing::info!(
                pool = %pool.label.name, endpoint = %endpoint.label,
                "an endpoint has served its trial and gets all of its traffic"
            );
        }
    }
}
