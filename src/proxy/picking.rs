//! Which endpoint an exchange tries next.

use crate::model::ids::EndpointId;
use crate::pool::InFlight;
use crate::pool::balancer::PickKey;
use crate::resilience::retry::Failure;

use super::error::ExchangeError;
use super::forward::Effort;
use super::outgoing::Outgoing;
use super::steered::Steered;
use super::visit::Visit;

impl Effort<'_> {
    /// The endpoint of the next attempt. After a failure that was no answer, one that is out is
    /// better than one that has just failed.
    pub(super) fn pick(
        &self,
        tried: &[EndpointId],
        last: Option<Failure>,
        outgoing: &Outgoing<'_>,
    ) -> Option<InFlight> {
        let steered = outgoing.steered.as_deref();
        if tried.is_empty()
            && self.pool.members.is_watchful()
            && !steered.is_some_and(Steered::is_kept)
            && let Some(picked) = self.pick_on_trial(outgoing)
        {
            return Some(picked);
        }
        if self.pool.is_sharded() {
            return self.pick_own(tried, last, steered);
        }
        let picked = match steered {
            None => self.pool.pick(PickKey::default(), tried)?,
            Some(steered) => steered.pick(self.pool, tried)?,
        };
        let silent = !matches!(last, None | Some(Failure::Status(_) | Failure::Grpc(_)));
        if silent && tried.contains(&picked.endpoint().id) {
            return self.pool.pick_left_out(tried).or(Some(picked));
        }
        Some(picked)
    }

    /// The same in a pool of which each tenant has a few endpoints. A request that has reached none of them
    /// has harmed nobody, and goes on to others before it fails.
    #[inline(never)]
    fn pick_own(
        &self,
        tried: &[EndpointId],
        last: Option<Failure>,
        steered: Option<&Steered>,
    ) -> Option<InFlight> {
        let tenant = self.tenant.id();
        let picked = match steered {
            None => self.pool.pick_own(tenant, PickKey::default(), tried)?,
            Some(steered) => steered.pick_own(self.pool, tenant, tried)?,
        };
        let silent = !matches!(last, None | Some(Failure::Status(_) | Failure::Grpc(_)));
        if silent && tried.contains(&picked.endpoint().id) {
            let next = (!self.reaches.get()).then(|| self.pool.pick_next(tenant, tried)).flatten();
            let left_out = || self.pool.pick_own_left_out(tenant, tried);
            return next.or_else(left_out).or(Some(picked));
        }
        Some(picked)
    }

    /// Where nobody may be picked: anybody that is not drained, for a request that has waited for somebody in vain.
    ///
    /// # Errors
    /// When there is nobody.
    #[cold]
    #[inline(never)]
    pub(super) fn pick_at_last(
        &self,
        tried: &[EndpointId],
        visit: &Visit,
    ) -> Result<InFlight, ExchangeError> {
        let picked = match (visit.takes_anybody(), self.pool.is_sharded()) {
            (false, _) => None,
            (true, false) => self.pool.pick_left_out(tried),
            (true, true) => self.pool.pick_own_left_out(self.tenant.id(), tried),
        };
        picked.ok_or(ExchangeError::NoEndpoint)
    }

    /// Whether a request that goes to anybody has been to all that there are.
    #[cold]
    #[inline(never)]
    pub(super) fn has_nobody_left(
        &self,
        last: Failure,
        tried: &[EndpointId],
        (outgoing, visit): (&Outgoing<'_>, &Visit),
    ) -> bool {
        self.pick(tried, Some(last), outgoing).is_none() && self.pick_at_last(tried, visit).is_err()
    }

    /// An endpoint that comes back from an ejection, where this request is the next one of its trial.
    #[cold]
    #[inline(never)]
    fn pick_on_trial(&self, outgoing: &Outgoing<'_>) -> Option<InFlight> {
        let (now, slot) = (self.worker.clock.recent(), self.tenant.slot());
        // What fails there shall be tried elsewhere.
        let may_repeat = outgoing.idempotent && self.rule.attempts > 1 && outgoing.is_repeatable();
        match self.pool.is_sharded() {
            false => self.pool.pick_on_trial(slot, may_repeat, now),
            true => {
                let tenant = (self.tenant.id(), slot);
                self.pool.pick_own_on_trial(tenant, may_repeat, now)
            }
        }
    }

    /// Whether there is another endpoint for this request that may well answer.
    pub(super) fn has_sound_untried(&self, tried: &[EndpointId]) -> bool {
        match self.pool.is_sharded() {
            false => self.pool.has_sound_untried(tried),
            true => {
                self.pool.has_own_sound_untried(self.tenant.id(), tried)
                    || (!self.reaches.get() && self.pool.has_sound_untried(tried))
            }
        }
    }

    /// Whether another attempt would go to an endpoint that was not tried and may well answer.
    #[cold]
    pub(super) fn offers_sound(&self, tried: &[EndpointId]) -> bool {
        match self.pool.is_sharded() {
            false => self.pool.offers_sound(tried),
            true => self.pool.offers_own_sound(self.tenant.id(), tried),
        }
    }

    /// Whether another attempt would go to an endpoint that was not tried: one that is out is none, though it
    /// may look sound.
    #[cold]
    pub(super) fn is_elsewhere(&self, tried: &[EndpointId]) -> bool {
        match self.pool.is_sharded() {
            false => self.pool.has_untried(tried),
            true => self.pool.has_own_untried(self.tenant.id(), tried),
        }
    }
}
