//! How long the requests of pools usually take that go round endpoints that are late, as one worker sees it: so that no answer
//! writes what other workers write, too, unless it is late, or its endpoint was.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::members::Members;
use crate::pool::{InFlight, Pool};
use crate::resilience::typical::{Ended, Judgement, Typical};
use crate::telemetry::sightings;

use super::attempt::Answered;
use super::error::{AttemptError, ExchangeError};
use super::forward::Effort;
use super::request_body::Upload;

/// What a worker knows of such pools, by their numbers. A pool that nobody uses has nothing.
#[derive(Debug, Default)]
pub(super) struct Usual {
    pools: RefCell<Vec<Option<Box<OfPool>>>>,
    tidied: Cell<Option<Instant>>,
}

#[derive(Debug)]
struct OfPool {
    /// Whose: numbers are given anew.
    members: Weak<Members>,
    /// By the number of those that are as far away.
    groups: Vec<(u32, Typical)>,
    is_used: bool,
}

impl Usual {
    /// What an attempt says of its endpoint, which is compared with its `peers`.
    fn judge(
        &self,
        pool: &Pool,
        peers: u32,
        (kind, took, ended): (u8, Duration, Ended),
    ) -> Option<Judgement> {
        let mut pools = self.pools.borrow_mut();
        let place = pool.label.slot as usize;
        if place >= pools.len() {
            pools.resize_with(place + 1, || None);
        }
        let slot = &mut pools[place];
        if !slot.as_ref().is_some_and(|own| own.is_of(pool)) {
            *slot = Some(OfPool::new(&pool.members));
        }
        let own = slot.as_mut()?;
        own.is_used = true;
        own.group(peers)?.judge(kind, took, ended)
    }

    /// Lets go of what was not used for a while.
    pub(super) fn tidy(&self, now: Instant) {
        let since = self.tidied.get().map(|tidied| now.saturating_duration_since(tidied));
        if since.is_some_and(|since| since < KEPT) {
            return;
        }
        self.tidied.set(Some(now));
        for own in self.pools.borrow_mut().iter_mut() {
            if own.as_mut().is_some_and(|own| !std::mem::take(&mut own.is_used)) {
                *own = None;
            }
        }
    }
}

impl OfPool {
    #[cold]
    fn new(members: &Arc<Members>) -> Box<Self> {
        Box::new(Self { members: Arc::downgrade(members), groups: Vec::new(), is_used: true })
    }

    fn is_of(&self, pool: &Pool) -> bool {
        std::ptr::eq(self.members.as_ptr(), &*pool.members)
    }

    fn group(&mut self, peers: u32) -> Option<&mut Typical> {
        match self.groups.iter().position(|(known, _)| *known == peers) {
            Some(place) => self.groups.get_mut(place),
            None => self.add(peers),
        }
        .map(|(_, typical)| typical)
    }

    #[cold]
    fn add(&mut self, peers: u32) -> Option<&mut (u32, Typical)> {
        if self.groups.len() >= MOST {
            return None;
        }
        self.groups.reserve_exact(1);
        self.groups.push((peers, Typical::default()));
        self.groups.last_mut()
    }
}

impl Effort<'_> {
    /// Tells of an attempt that has an answer, or had the time for one.
    #[inline(never)]
    pub(super) fn compare(
        &self,
        picked: &InFlight,
        (started, upload): (Instant, &Upload),
        answered: &Result<Answered, ExchangeError>,
    ) {
        let (ended, opened) = match answered {
            Ok((answer, connection)) => {
                let ended = match answer.status().as_u16() {
                    ..400 => Ended::Served,
                    400..500 => Ended::Refused,
                    500.. => Ended::Failed,
                };
                // A dial is not the answer's.
                (ended, started.max(connection.opened()))
            }
            Err(ExchangeError::Attempt(error @ AttemptError::Timeout { .. }))
                if !self.excuses(error, started) =>
            {
                (Ended::GivenUp, started)
            }
            Err(_) => return,
        };
        self.weigh(picked, (opened, upload), ended);
    }

    /// Tells of an attempt that was dropped, with its client or since another one beside it has brought an answer.
    #[cold]
    pub(super) fn compare_dropped(&self, picked: &InFlight, of: (Instant, &Upload)) {
        self.worker.clock.now(); // that a client leaves is no reason to read it
        if !self.pool.excuses_late() {
            self.weigh(picked, of, Ended::GivenUp);
        }
    }

    fn weigh(&self, picked: &InFlight, (started, upload): (Instant, &Upload), ended: Ended) {
        if upload.awaits_client() {
            return; // it says how long the client takes
        }
        let endpoint = picked.endpoint();
        let Some(peers) = endpoint.peers() else { return };
        let now = self.worker.clock.recent(); // read at the attempt's end, or above
        let began = upload.ended_at().map_or(started, |sent| started.max(sent));
        let route = self.route.map_or("", |route| &route.name);
        let kind = sightings::kind(self.tenant.slot(), route);
        let attempt = (kind, now.saturating_duration_since(began), ended);
        match self.worker.usual.judge(self.pool, peers, attempt) {
            None => {}
            Some(Judgement::InTime) => endpoint.comes_in_time(),
            Some(Judgement::Late(weight)) => endpoint.comes_late(weight, began, now),
        }
    }
}

/// 5 min, as what is known of delays.
const KEPT: Duration = Duration::from_secs(300);
/// 16 groups of endpoints, by priority and zone: those beyond are not compared.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::samples;

    const MS: Duration = Duration::from_millis(1);

    fn learn(usual: &Usual, pool: &Pool, peers: u32, took: Duration) -> Option<Judgement> {
        (0..30).map(|_| usual.judge(pool, peers, (3, took, Ended::Served))).last().flatten()
    }

    #[test]
    fn who_is_farther_away_is_compared_with_its_like_alone() {
        let (usual, pool) = (Usual::default(), samples::pool("app"));
        let judgements = [(0, MS), (7, MS * 20), (0, MS), (7, MS * 20)]
            .map(|(peers, took)| learn(&usual, &pool, peers, took));
        assert_eq!(judgements, [Some(Judgement::InTime); 4]);
        let late = usual.judge(&pool, 0, (3, MS * 20, Ended::Served));
        assert!(matches!(late, Some(Judgement::Late(_))), "{late:?}");

        for peers in 0..100 {
            learn(&usual, &pool, peers, MS);
        }
        assert_eq!(usual.judge(&pool, 99, (3, MS, Ended::Served)), None, "that many are bounded");
    }

    #[test]
    fn nothing_is_kept_of_pools_that_are_not_used_or_are_others() {
        let (usual, pool) = (Usual::default(), samples::pool("app"));
        let mut now = Instant::now();
        learn(&usual, &pool, 0, MS);
        let other = samples::pool("app");
        assert_eq!(usual.judge(&other, 0, (3, MS, Ended::Served)), None, "it has the same number");

        usual.tidy(now);
        now += KEPT;
        usual.tidy(now);
        assert!(usual.pools.borrow().iter().all(Option::is_none));
    }
}
