//! Asks each endpoint of a pool regularly whether it works.

mod pace;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::base::tasks::{Stop, Stopped, Tasks};
use crate::base::ticks::Ticks;
use crate::base::units::Percent;
use crate::config::spec::HealthSpec;
use crate::model::downs::Downs;
use crate::model::endpoint::{Endpoint, Health};
use crate::model::ids::{EndpointId, PoolId};
use crate::model::members::Members;
use crate::telemetry::checks;
use crate::telemetry::registry::Metrics;

use super::agreement::{self, Amends};
use super::probe::{Probe, ProbeError};
use super::{Outcome, Tally};

use pace::{Brought, Cause, Pace};

/// The check of one pool.
#[derive(Clone, Debug)]
pub struct Check {
    /// For log lines.
    pub pool: PoolId,
    /// Who is asked.
    pub members: Arc<Members>,
    /// How often, and what counts.
    pub spec: Arc<HealthSpec>,
    /// How one is asked.
    pub probe: Arc<dyn Probe>,
    /// How many probes run at once; shared by all pools of the process, see [`slots`].
    pub slots: Arc<Semaphore>,
    /// Where checks are counted.
    pub metrics: Arc<Metrics>,
    /// Who waits for an endpoint is told by this that one is down.
    pub downs: Arc<Downs>,
}

/// Room for the probes of a whole process: enough for 2,500 endpoints that all hang for a second
/// at an interval of 5 s, where checks that fail bring no others forward once all slots are taken, and
/// few enough to leave the process its file descriptors.
pub fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(512))
}

/// Follows the members and checks each of them until `stop`. A newcomer is checked at once; what
/// is known of an endpoint from before stays until checks say otherwise. After the end, each
/// endpoint keeps its last word: see [`forget`].
pub async fn run(check: Check, mut stop: Stop) {
    check.members.set_newcomer(Health::Pending);
    let check = Arc::new(check);
    let mut changes = check.members.changes();
    let mut loops = HashMap::new();
    loop {
        changes.mark_unchanged();
        follow(&check, &mut loops);
        tokio::select! {
            () = stop.requested() => break,
            changed = changes.changed() => if changed.is_err() { break },
        }
    }
    for (endpoint, tasks) in loops {
        // Waits, so that no late check writes a word after this has returned.
        if tasks.stop(STOP_LIMIT).await != Stopped::Cleanly {
            tracing::warn!(pool = %check.pool, ?endpoint, "a check did not stop in time");
        }
    }
}

/// For a pool that has no check any more, after its [`run`] has ended: traffic alone judges again.
pub fn forget(members: &Members) {
    members.set_newcomer(Health::Unchecked);
    for member in &members.load().all {
        member.endpoint.set_health(Health::Unchecked, None);
    }
    members.refresh();
}

/// Starts a loop for each newcomer, and ends those of the members that left.
fn follow(check: &Arc<Check>, loops: &mut HashMap<EndpointId, Tasks>) {
    let set = check.members.load();
    let present: HashSet<EndpointId> = set.all.iter().map(|member| member.endpoint.id).collect();
    loops.retain(|endpoint, _| present.contains(endpoint));
    for member in &set.all {
        loops.entry(member.endpoint.id).or_insert_with(|| {
            let (check, endpoint) = (Arc::clone(check), Arc::clone(&member.endpoint));
            let mut tasks = Tasks::new("health");
            tasks.spawn_again(move |mut stop| {
                let (check, endpoint) = (Arc::clone(&check), Arc::clone(&endpoint));
                async move {
                    tokio::select! {
                        () = stop.requested() => {}
                        () = check_again_and_again(&check, &endpoint) => {}
                    }
                }
            });
            tasks
        });
    }
}

async fn check_again_and_again(check: &Check, endpoint: &Endpoint) {
    let fast = check.spec.fast_interval;
    let mut tally = Tally::new(endpoint.health());
    let mut ticks = Ticks::jittered(check.spec.interval, Percent::new(SPREAD));
    let (mut pace, mut amends) = (Pace::default(), Amends::default());
    let mut began = None;
    loop {
        tokio::select! {
            () = ticks.next() => {}
            () = endpoint.suspicion().raised(), if pace.listens() => {
                pace.alarm();
                ticks.hasten(began.map_or_else(Instant::now, |began| began + fast));
                continue;
            }
        }
        let start = Instant::now();
        began = Some(start);
        endpoint.suspicion().lower();
        let ejection = agreement::open(endpoint);
        let result = ask(check, endpoint).await;
        if result == Err(ProbeError::OutOfFiles) {
            if pace.is_hasty() {
                ticks.hasten(start + fast); // one was asked for, and there was none
            }
            continue; // nobody was asked: what is known of the endpoint stays
        }
        let outcome = if result.is_ok() { Outcome::Passed } else { Outcome::Failed };
        check.count(pace.cause(), outcome);
        let before = endpoint.health();
        take(check, endpoint, &mut tally, result);
        let brought = Brought { outcome, before, after: endpoint.health() };
        if pace.note(brought, check.spec.fall.saturating_add(check.spec.rise)) {
            // Thousands may hang, as where a whole zone is away: no check of others waits for second looks that
            // only one before them has asked for.
            if pace.cause() == Cause::Traffic || check.slots.available_permits() > 0 {
                ticks.hasten(start + fast);
            }
        }
        if let Some(ejection) = amends.note(outcome, ejection, check.spec.rise)
            && agreement::end(&check.members, endpoint, ejection)
        {
            amends.made();
            let (pool, endpoint) = (&check.pool, &endpoint.label);
            check.metrics.add(&checks::EJECTIONS_ENDED_EARLY, &[&pool.0], 1);
            tracing::info!(%pool, %endpoint, "the ejection ends early: checks pass");
        }
    }
}

impl Check {
    fn count(&self, cause: Cause, outcome: Outcome) {
        let result = match outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
        };
        let labels = [&*self.pool.0, cause.as_str(), result];
        self.metrics.add(&checks::HEALTH_CHECKS, &labels, 1);
    }
}

async fn ask(check: &Check, endpoint: &Endpoint) -> Result<(), ProbeError> {
    let _slot = check.slots.acquire().await; // waiting for a slot is not the endpoint's fault
    let limit = check.spec.timeout;
    match tokio::time::timeout(limit, check.probe.check(endpoint.address.clone())).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::Timeout { limit }),
    }
}

fn take(check: &Check, endpoint: &Endpoint, tally: &mut Tally, result: Result<(), ProbeError>) {
    let outcome = if result.is_ok() { Outcome::Passed } else { Outcome::Failed };
    let reason = result.err().map(|error| error.to_string());
    let before = endpoint.health();
    match tally.note(outcome, check.spec.rise, check.spec.fall) {
        Some(word) => {
            log(check, endpoint, before, word, reason.as_deref());
            endpoint.set_health(word, reason);
            check.members.refresh();
            if word == Health::Down {
                check.downs.add();
            }
        }
        // Still down, perhaps for another reason than before.
        None if before == Health::Down && reason.is_some() => endpoint.set_health(before, reason),
        None => {}
    }
}

fn log(check: &Check, endpoint: &Endpoint, before: Health, word: Health, reason: Option<&str>) {
    let (pool, endpoint) = (&check.pool, &endpoint.label);
    match (word, before) {
        (Health::Down, _) => {
            let reason = reason.unwrap_or_default();
            tracing::warn!(%pool, %endpoint, reason, "the endpoint is down");
        }
        (_, Health::Down) => tracing::info!(%pool, %endpoint, "the endpoint is up again"),
        _ => tracing::debug!(%pool, %endpoint, "the endpoint is up"),
    }
}

/// ± 20 %: the checks of many gateways and pools do not hit an endpoint in step.
const SPREAD: f64 = 20.0;

/// 1 s: a loop only waits, so it hears the word at once.
const STOP_LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
