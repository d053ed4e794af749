//! Regular intervals: one that is spread, so that many loops of one interval do not beat in step, and one with an end.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::tasks::Stop;
use super::units::Percent;

/// Ticks about every `interval`, each time drawn anew from `interval` ± `spread`.
#[derive(Debug)]
pub struct Ticks {
    interval: Duration,
    spread: Percent,
    next: Instant,
}

impl Ticks {
    /// The first tick is due at once.
    pub fn jittered(interval: Duration, spread: Percent) -> Self {
        Self { interval: interval.min(LONGEST), spread, next: Instant::now() }
    }

    /// Waits for the next tick. A tick that was missed because the work took longer is due at
    /// once, and only one of them: missed ticks are not caught up on. May be dropped at any time.
    pub async fn next(&mut self) {
        sleep_until(self.next).await;
        let now = Instant::now();
        let late = now.saturating_duration_since(self.next) > self.interval;
        let from = if late { now } else { self.next };
        self.next = from + spread(self.interval, self.spread);
    }

    /// Brings the next tick forward to this instant, unless it is due before that anyway. Those that
    /// follow are counted from it.
    pub fn hasten(&mut self, to: Instant) {
        self.next = self.next.min(to);
    }
}

/// Turns of a task that must not end in the midst of what it keeps: one each interval, and a last one when it is to stop.
#[derive(Debug)]
pub struct Turns {
    ticks: Interval,
    stop: Stop,
    /// Whether there is none after this one.
    is_last: bool,
}

impl Turns {
    /// The first one is due at once. One that takes long is followed by the next an interval later.
    pub fn each(time: Duration, stop: Stop) -> Self {
        let mut ticks = interval(time);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, stop, is_last: false }
    }

    /// Waits for the next turn; false = there was the last one.
    pub async fn next(&mut self) -> bool {
        if self.is_last {
            return false;
        }
        tokio::select! {
            () = self.stop.requested() => self.is_last = true,
            _ = self.ticks.tick() => {}
        }
        true
    }
}

/// `time`, drawn from ± `share` of it.
pub fn spread(time: Duration, share: Percent) -> Duration {
    let factor = 1.0 + share.share() * (2.0 * fastrand::f64() - 1.0);
    time.mul_f64(factor)
}

/// 30 days: keeps the sums of instants far from their end, whatever was asked for.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use crate::base::tasks::{Stopped, Tasks};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_tick_is_at_once_and_the_others_lie_within_the_spread() {
        let every = Duration::from_secs(5);
        let mut ticks = Ticks::jittered(every, Percent::new(20.0));
        let mut last = Instant::now();
        ticks.next().await;
        assert_eq!(last.elapsed(), Duration::ZERO);

        let mut gaps = Vec::new();
        for _ in 0..200 {
            ticks.next().await;
            gaps.push(last.elapsed().as_millis());
            last = Instant::now();
        }

        assert!(gaps.iter().all(|gap| (3999..=6002).contains(gap)), "{gaps:?}");
        assert!(gaps.iter().any(|gap| *gap < 4600) && gaps.iter().any(|gap| *gap > 5400));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_is_hastened_moves_those_that_follow() {
        let start = Instant::now();
        let mut ticks = Ticks::jittered(Duration::from_secs(10), Percent::new(0.0));
        ticks.next().await;

        ticks.hasten(start + Duration::from_secs(60));
        ticks.hasten(start + Duration::from_secs(3));
        ticks.next().await;
        assert_eq!(start.elapsed().as_secs(), 3);
        ticks.next().await;

        assert_eq!(start.elapsed().as_secs(), 13);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_to_stop_has_one_turn_more() {
        let mut tasks = Tasks::new("test");
        let (send, mut turns) = mpsc::unbounded_channel();
        tasks.spawn(|stop| async move {
            let mut turns = Turns::each(Duration::from_secs(5), stop);
            while turns.next().await {
                send.send(Instant::now()).unwrap();
            }
        });
        let start = Instant::now();
        let mut next = async || turns.recv().await.map(|at| (at - start).as_secs());
        assert_eq!([next().await, next().await, next().await], [Some(0), Some(5), Some(10)]);
        tokio::time::sleep(Duration::from_secs(1)).await;

        assert_eq!(tasks.stop(Duration::from_secs(1)).await, Stopped::Cleanly);

        assert_eq!([next().await, next().await], [Some(11), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn missed_ticks_are_not_caught_up_on() {
        let mut ticks = Ticks::jittered(Duration::from_secs(1), Percent::new(0.0));
        ticks.next().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let late = Instant::now();

        ticks.next().await;
        assert_eq!(late.elapsed(), Duration::ZERO);
        ticks.next().await;
        ticks.next().await;

        assert!(late.elapsed() >= Duration::from_millis(999));
    }
}
