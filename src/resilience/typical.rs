//! How long the requests of a pool typically take to the heads of their answers, by kinds of requests that are alike, and
//! which answers are late beside that. Pure; owned by one worker, so that it costs an answer a few comparisons.
//!
//! What is typical is the time that three of four answers do not go beyond, found by steps ("frugal streaming"): up by 3/32
//! where an answer took longer, down by 1/32 where it did not. Of an endpoint that is slow come fewer answers than a
//! quarter, as requests go round it; where all become slow, it has followed them after some fifty answers.

use std::time::Duration;

use crate::model::answer_times::KINDS;
use crate::model::lateness::Weight;

/// What is typical of each kind.
#[derive(Clone, Debug, Default)]
pub struct Typical([Kind; KINDS]);

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// In units of 64 ns, up to 4 min.
    time: u32,
    /// The share of late answers among some 250 of late, of 65,536.
    late: u16,
    /// Answers that it is known from, up to [`ENOUGH`].
    seen: u8,
}

/// How an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By an answer.
    Served,
    /// By one of class 4, which may come at once since nothing was done for it.
    Refused,
    /// By one of class 5, which is judged elsewhere.
    Failed,
    /// It had none by then: nobody waits for it any longer.
    GivenUp,
}

/// What an answer says of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is no later than others.
    InTime,
    /// It is.
    Late(Weight),
}

impl Typical {
    /// What an attempt with a request of this kind that has ended so says, and learns from it; `None`: nothing.
    pub fn judge(&mut self, kind: u8, took: Duration, ended: Ended) -> Option<Judgement> {
        let took = u32::try_from(took.as_nanos() >> UNIT).unwrap_or(u32::MAX);
        self.0[usize::from(kind) % KINDS].judge(took, ended)
    }
}

impl Kind {
    fn judge(&mut self, took: u32, ended: Ended) -> Option<Judgement> {
        let is_known = self.seen >= ENOUGH;
        let is_late = took > self.time.saturating_mul(2).saturating_add(FLOOR);
        self.learn(took, ended);
        if !is_known || (ended == Ended::GivenUp && !is_late) {
            return None;
        }
        self.count(is_late);
        match (is_late, ended) {
            (false, _) => Some(Judgement::InTime),
            (true, Ended::Failed) => None,
            (true, _) if self.late < FEW => Some(Judgement::Late(Weight::Much)),
            (true, _) if self.late < MANY => Some(Judgement::Late(Weight::Little)),
            (true, _) => None, // such requests take now this long, now that
        }
    }

    fn learn(&mut self, took: u32, ended: Ended) {
        if self.seen == 0 {
            if ended == Ended::Served {
                (self.time, self.seen) = (took, 1);
            }
            return;
        }
        let (is_new, is_longer) = (self.seen < ENOUGH, took > self.time);
        // Large steps in the beginning: the first one may have been any.
        let step = self.time / if is_new { 8 } else { 32 };
        if is_longer {
            self.time = self.time.saturating_add(step.saturating_mul(3).max(1));
        } else if ended == Ended::Served {
            self.time -= step;
        }
        // What was refused at once, or given up, says nothing of how long it takes, unless it took longer.
        if is_new && (ended == Ended::Served || is_longer) {
            self.seen += 1;
        }
    }

    fn count(&mut self, is_late: bool) {
        match is_late {
            true => self.late += (u16::MAX - self.late) / SHARE_OF,
            false => self.late -= self.late / SHARE_OF,
        }
    }
}

/// 64 ns.
const UNIT: u32 = 6;
/// 20 answers.
const ENOUGH: u8 = 20;
/// 5 ms beyond twice what is typical, in those units: less is not felt, and chance where requests take 1 ms.
const FLOOR: u32 = 5_000_000 >> UNIT;
/// The share of late answers is one of the last 256.
const SHARE_OF: u16 = 256;
/// A sixteenth: where one answer of sixteen is late by chance, three in a row are so once in 4,096 times.
const FEW: u16 = 1 << 12;
/// A quarter: beyond, nothing is typical.
const MANY: u16 = 1 << 14;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const LATE: Option<Judgement> = Some(Judgement::Late(Weight::Much));
    const IN_TIME: Option<Judgement> = Some(Judgement::InTime);

    fn known(took: Duration) -> Typical {
        let mut typical = Typical::default();
        for _ in 0..ENOUGH {
            assert_eq!(typical.judge(0, took, Ended::Served), None, "too little is known");
        }
        typical
    }

    fn typical_of(typical: &Typical) -> Duration {
        Duration::from_nanos(u64::from(typical.0[0].time) << UNIT)
    }

    #[test]
    fn what_takes_more_than_twice_as_long_and_five_milliseconds_is_late() {
        let mut typical = known(MS * 20);
        assert_eq!(typical.judge(0, MS * 38, Ended::Served), IN_TIME);
        assert_eq!(typical.judge(0, MS * 60, Ended::Served), LATE);
        assert_eq!(typical.judge(1, MS * 60, Ended::Served), None, "another kind");
        let mut typical = known(MS);
        assert_eq!(typical.judge(0, MS * 6, Ended::Served), IN_TIME);
    }

    #[test]
    fn who_is_given_up_is_late_or_says_nothing_and_failures_are_judged_elsewhere() {
        let mut typical = known(MS * 20);
        assert_eq!(typical.judge(0, MS * 60, Ended::GivenUp), LATE);
        assert_eq!(typical.judge(0, MS, Ended::GivenUp), None);
        assert_eq!(typical.judge(0, MS * 60, Ended::Failed), None);
        assert_eq!(typical.judge(0, MS, Ended::Failed), IN_TIME);
        assert_eq!(typical.judge(0, MS * 100, Ended::Refused), LATE);
    }

    #[test]
    fn what_is_refused_at_once_makes_nothing_else_late() {
        let mut typical = known(MS * 50);
        (0..1_000).for_each(|_| _ = typical.judge(0, MS, Ended::Refused));
        assert_eq!(typical.judge(0, MS * 60, Ended::Served), IN_TIME);
    }

    #[test]
    fn where_all_become_slow_nobody_is_late_after_a_while() {
        let mut typical = known(MS * 2);
        let judged = (0..200).map(|_| typical.judge(0, MS * 200, Ended::Served));
        let late = judged.filter(|judged| *judged != IN_TIME).count();
        assert!((30..70).contains(&late), "{late}");
    }

    #[test]
    fn where_many_answers_are_late_by_themselves_they_say_little_or_nothing() {
        let said = |each: u32| {
            let mut typical = known(MS * 2);
            let take = |nth: u32| if nth.is_multiple_of(each) { MS * 100 } else { MS * 2 };
            (0..4_000).map(|nth| typical.judge(0, take(nth), Ended::Served)).last().unwrap();
            typical.judge(0, MS * 100, Ended::Served)
        };
        assert_eq!(said(100), LATE);
        assert_eq!(said(8), Some(Judgement::Late(Weight::Little)));
        assert!(matches!(said(3), None | IN_TIME), "that is typical of it");
    }

    #[test]
    fn the_answers_of_one_slow_endpoint_of_ten_do_not_become_typical() {
        let mut typical = known(MS * 2);
        for nth in 0..2_000 {
            let took = if nth % 10 == 0 { MS * 200 } else { MS * 2 };
            typical.judge(0, took, Ended::Served);
        }
        assert!(typical_of(&typical) < MS * 4, "{:?}", typical_of(&typical));
    }

    proptest! {
        #[test]
        fn any_times_in_any_order_do_no_harm(
            attempts in proptest::collection::vec((any::<u8>(), any::<u64>(), 0_u8..4), 0..300),
        ) {
            let mut typical = Typical::default();
            for (kind, nanos, ended) in attempts {
                let ends = [Ended::Served, Ended::Refused, Ended::Failed, Ended::GivenUp];
                typical.judge(kind, Duration::from_nanos(nanos), ends[usize::from(ended)]);
            }
        }

        #[test]
        fn what_is_typical_is_about_the_time_that_three_of_four_do_not_go_beyond(
            micros in proptest::collection::vec(500_u64..100_000, 50),
            seed in any::<u64>(),
        ) {
            let mut typical = Typical::default();
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..3_000 {
                let took = Duration::from_micros(*random.choice(&micros).unwrap());
                typical.judge(0, took, Ended::Served);
            }
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            let [low, high] = [25, 46].map(|at| Duration::from_micros(sorted[at]));
            let seen = typical_of(&typical);
            prop_assert!(seen * 10 > low * 8 && seen * 10 < high * 12, "{low:?} {seen:?} {high:?}");
        }
    }
}
