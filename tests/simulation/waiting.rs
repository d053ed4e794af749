//! A request that nobody may be picked for, or whose endpoints cannot be reached, in a pool that has such requests wait: a short form
//! of `proxy/waiting/mod.rs`, over the room and the turns themselves.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use tenantry::base::fair::{Came, Claim, Class, Handle, Kind, Permit};
use tenantry::config::spec::{TimeoutsSpec, WaitSpec};
use tenantry::model::room::{Bounds, Room, Seat};
use tenantry::resilience::deadline::Deadlines;
use tenantry::resilience::retry::Failure;

use super::gateway::{Gateway, Lost, Tenant, Visit};

/// What a request lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Anybody,
    Connection,
}

type Sent = Result<StatusCode, Lost>;

impl Gateway {
    /// `waiting::again`: what has failed so is sent anew, once somebody may serve it.
    pub(crate) async fn again(&self, tenant: &Tenant, visit: &Visit, lost: Lost) -> Sent {
        match self.pool.spec.wait.zip(self.lack(visit, lost)) {
            Some((spec, lack)) => Box::pin(self.hold(tenant, visit, (spec, lack, lost))).await,
            None => Err(lost),
        }
    }

    async fn hold(
        &self,
        tenant: &Tenant,
        visit: &Visit,
        (spec, mut lack, mut lost): (WaitSpec, Lack, Lost),
    ) -> Sent {
        let Some(room) = self.pool.members.room() else { return Err(lost) };
        let deadlines = Deadlines::resolve(&TimeoutsSpec::UNSAID, &self.pool.spec.timeouts);
        let (now, end) = (Instant::now(), deadlines.end(visit.came));
        let until = end.map_or(now + spec.time, |end| end.min(now + spec.time));
        let bounds = Bounds { length: spec.length as u64, memory: spec.memory.0 };
        let enter = || room.enter(&bounds, tenant.slot, HELD).ok();
        let Some(mut seat) = enter() else {
            return self.try_anybody(tenant, visit, (lack, lost)).await;
        };
        let mut rounds = 0;
        while let Some(turn) = self.turn((tenant, room), (lack, rounds), until).await {
            let (sent, kept) = self.send_in_turn((turn, seat), tenant, visit).await;
            let failed = match sent {
                Err(failed) => failed,
                sent => return sent,
            };
            match self.lack(visit, failed) {
                Some(again) => (lack, lost) = (again, failed),
                None => return Err(failed),
            }
            match kept.or_else(enter) {
                Some(kept) => seat = kept,
                None => return self.try_anybody(tenant, visit, (lack, lost)).await,
            }
            rounds += 1;
        }
        drop(seat);
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(lost);
        }
        self.try_anybody(tenant, visit, (lack, lost)).await
    }

    /// `Line::turn`.
    async fn turn(
        &self,
        (tenant, room): (&Tenant, &Arc<Room>),
        (lack, rounds): (Lack, u32),
        until: Instant,
    ) -> Option<Permit> {
        if rounds > 0 || lack == Lack::Connection {
            let longest = FIRST_PAUSE.saturating_mul(1 << rounds.min(8)).min(LONGEST_PAUSE);
            let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
            self.timeline.sleep_until((Instant::now() + pause).min(until)).await;
        }
        let now = Instant::now();
        if now >= until {
            return None;
        }
        let (gate, kind) = (Handle::of(room.gate()), Kind::named(""));
        let claim = Claim {
            flow: tenant.slot,
            weight: 1,
            class: Class::Normal,
            most: usize::MAX,
            until,
            cost: gate.cost(kind),
        };
        match gate.come(kind, &claim, now) {
            Came::In(turn) => Some(turn),
            Came::Waits(waiting) => waiting.turn().await,
            Came::Full => None,
        }
    }

    /// `Stay::in_turn`: the seat ends with the turn, and is kept by one that has failed within it.
    async fn send_in_turn(
        &self,
        (turn, seat): (Permit, Seat),
        tenant: &Tenant,
        visit: &Visit,
    ) -> (Sent, Option<Seat>) {
        let mut sending = pin!(self.send(tenant, visit));
        let early = tokio::select! {
            biased;
            sent = sending.as_mut() => Some(sent),
            () = self.timeline.sleep(LONGEST_TURN) => None,
        };
        drop(turn);
        match early {
            Some(sent) => (sent, Some(seat)),
            None => {
                drop(seat);
                (sending.await, None)
            }
        }
    }

    /// `lack` and `have_all_failed`.
    fn lack(&self, visit: &Visit, lost: Lost) -> Option<Lack> {
        let have_all_failed = || {
            visit.attempts.get() >= self.pool.members.load().eligible.endpoints.len()
                || !self.pool.has_sound_untried(&[])
        };
        match lost {
            Lost::NoEndpoint => Some(Lack::Anybody),
            Lost::Failed(Failure::Connect) if have_all_failed() => Some(Lack::Connection),
            _ => None,
        }
    }

    async fn try_anybody(
        &self,
        tenant: &Tenant,
        visit: &Visit,
        (lack, lost): (Lack, Lost),
    ) -> Sent {
        if lack == Lack::Connection {
            return Err(lost); // they were tried
        }
        visit.takes_anybody.set(true);
        self.send(tenant, visit).await
    }
}

/// 16 KiB: what a request of HTTP/1.1 holds.
const HELD: u64 = 16 * 1024;
/// As `proxy/waiting/` has them.
const LONGEST_TURN: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
