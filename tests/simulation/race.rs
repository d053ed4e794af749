//! A second attempt beside a first one that takes long: a short form of `proxy/hedge.rs` and `proxy/delays.rs`.

use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use tenantry::base::fair::{Handle, Kind, Permit};
use tenantry::model::ids::EndpointId;
use tenantry::pool::InFlight;
use tenantry::pool::balancer::PickKey;
use tenantry::resilience::hedging::{HedgeRule, is_poor};

use super::effort::{Effort, Outcome, SLOT};

impl<'g> Effort<'g> {
    /// `hedge::rule`.
    pub(crate) fn hedge(&self) -> Option<HedgeRule<'g>> {
        let rule = HedgeRule::resolve(None, self.pool.spec.retry.hedge.as_ref())?;
        rule.allows(&Method::GET).then_some(rule)
    }

    /// `hedge::race`: a first attempt, and another one beside it where it takes too long. Tells the endpoint of that one where it
    /// has failed.
    pub(crate) async fn race(
        &self,
        rule: HedgeRule<'_>,
        first: InFlight,
    ) -> (Outcome, Option<EndpointId>) {
        let (line, began) = (&self.gateway.timeline, Instant::now());
        let quantile = self.gateway.latencies.borrow().quantile(rule.after);
        let delay = quantile.map(|delay| delay.max(rule.floor));
        let id = first.endpoint().id;
        let mut one = Box::pin(self.attempt(first));
        let early = match delay {
            None => Some(one.as_mut().await),
            Some(delay) => tokio::select! {
                biased;
                outcome = one.as_mut() => Some(outcome),
                () = line.sleep(delay) => None,
            },
        };
        if let Some(outcome) = early {
            self.learn(&outcome, began.elapsed());
            return (outcome, None);
        }
        let Some((second, _place)) = self.second(id) else {
            let outcome = one.await;
            self.learn(&outcome, began.elapsed());
            return (outcome, None);
        };
        let (other, twin) = (second.endpoint().id, Instant::now());
        let mut two = Box::pin(self.attempt(second));
        tokio::select! {
            biased;
            outcome = one.as_mut() => {
                self.learn(&outcome, began.elapsed());
                if is_good(&outcome) { (outcome, None) } else { (two.await, Some(other)) }
            }
            outcome = two.as_mut() => {
                if is_good(&outcome) {
                    // The first one is given up, and counts as one that takes a little less than the delay.
                    let least = delay.unwrap_or_default().saturating_sub(MILLISECOND);
                    self.gateway.latencies.borrow_mut().observe(least);
                    self.learn(&outcome, twin.elapsed());
                    return (outcome, None);
                }
                let outcome = one.await;
                self.learn(&outcome, began.elapsed());
                (outcome, Some(other))
            }
        }
    }

    fn learn(&self, outcome: &Outcome, took: Duration) {
        if outcome.is_ok_and(|status| !status.is_server_error()) {
            self.gateway.latencies.borrow_mut().observe(took);
        }
    }

    /// `hedge::begin_second`: paid from the budget, and by a place that nobody waits for.
    fn second(&self, first: EndpointId) -> Option<(InFlight, Option<Permit>)> {
        if self.rule.attempts < 2 {
            return None;
        }
        let place = match self.pool.gate() {
            None => None,
            Some(gate) => Some(Handle::of(gate).try_enter(Kind::named(""), Instant::now())?),
        };
        let picked = self.pool.pick(PickKey::default(), &[first])?;
        let is_other = picked.endpoint().id != first;
        let may = is_other && self.tenant.allowance.withdraw(SLOT, self.rule.fill());
        may.then_some((picked, place))
    }
}

/// Whether an answer ends the race of two attempts.
fn is_good(outcome: &Outcome) -> bool {
    outcome.is_ok_and(|status| !is_poor(status))
}

const MILLISECOND: Duration = Duration::from_millis(1);
