//! The line of those who wait for an endpoint: who is next, and when one asks again that found nobody.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::base::fair::{Came, Claim, Handle, Kind, Permit};
use crate::model::room::Room;
use crate::telemetry::waiting::WaitOutcome;

use super::super::choice::Choice;
use super::Lack;

/// A request's place in the line of those who wait.
pub(super) struct Line {
    gate: Handle,
    kind: Kind,
    claim: Claim,
}

impl Line {
    pub(super) fn of(choice: &Choice<'_>, room: &Room, until: Instant) -> Self {
        let (own, route) = (choice.tenant.queue(), choice.route);
        let gate = Handle::of(room.gate());
        let kind = Kind::named(route.map_or("", |route| &route.name));
        let claim = Claim {
            flow: choice.tenant.slot(),
            weight: own.weight,
            class: own.class(route.and_then(|route| route.priority)),
            most: usize::MAX, // its seat is bounded
            until,
            cost: gate.cost(kind),
        };
        Self { gate, kind, claim }
    }

    /// Until when.
    pub(super) fn until(&self) -> Instant {
        self.claim.until
    }

    /// Waits for a turn; tells what becomes of it where none comes in time. One that cannot be sent though somebody may be picked pauses
    /// before it asks again, longer each time.
    pub(super) async fn turn(&self, lack: Lack, rounds: u32) -> Result<Permit, WaitOutcome> {
        if rounds > 0 || lack == Lack::Connection {
            let pause = pause(rounds, fastrand::f64());
            sleep_until((Instant::now() + pause).min(self.claim.until)).await;
        }
        let now = Instant::now();
        if now >= self.claim.until {
            return Err(WaitOutcome::Late);
        }
        match self.gate.come(self.kind, &self.claim, now) {
            Came::In(turn) => Ok(turn),
            Came::Waits(waiting) => waiting.turn().await.ok_or_else(|| self.missed()),
            Came::Full => Err(WaitOutcome::Late),
        }
    }

    /// What becomes of one that has waited for its turn in vain: others may have theirs.
    fn missed(&self) -> WaitOutcome {
        match self.gate.limit() {
            Some(0) => WaitOutcome::Late,
            _ => WaitOutcome::Crowded,
        }
    }
}

/// How long one pauses that has been sent so often: spread by `drawn`, from 0 to 1, over the second half.
fn pause(rounds: u32, drawn: f64) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << rounds.min(8)).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + drawn.clamp(0.0, 1.0) / 2.0)
}

/// 100 ms, then twice as long each time: most that restart are back within a second or two.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// 1 s: who is back is found that soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::base::fair::{Class, Gate};

    use super::*;

    /// A place in the line before a gate, for a second.
    fn line(gate: &Arc<Gate>) -> Line {
        let (gate, kind) = (Handle::of(gate), Kind::named(""));
        let until = Instant::now() + Duration::from_secs(1);
        let class = Class::Normal;
        let claim = Claim { flow: 1, weight: 1, class, most: usize::MAX, until, cost: 1 };
        Line { gate, kind, claim }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_turn_while_others_have_theirs_is_told_apart_from_who_waits_for_nobody() {
        let gate = Arc::new(Gate::new(1));
        let turn = line(&gate).turn(Lack::Anybody, 0).await;
        assert!(turn.is_ok());

        let crowded = line(&gate).turn(Lack::Anybody, 0).await;
        gate.set_limit(0);
        let late = line(&gate).turn(Lack::Anybody, 0).await;
        let pausing = line(&gate).turn(Lack::Connection, u32::MAX).await;

        assert_eq!(crowded.err(), Some(WaitOutcome::Crowded));
        assert_eq!([late.err(), pausing.err()], [Some(WaitOutcome::Late); 2]);
    }

    #[test]
    fn pauses_grow_up_to_a_second_and_are_spread() {
        let of = |rounds| [pause(rounds, 0.0), pause(rounds, 1.0)].map(|pause| pause.as_millis());

        assert_eq!([of(0), of(1), of(2)], [[50, 100], [100, 200], [200, 400]]);
        assert_eq!([of(4), of(u32::MAX)], [[500, 1000], [500, 1000]]);
    }
}
