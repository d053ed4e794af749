//! What became of a run: before something broke, meanwhile, and at its end.

use std::fmt;
use std::time::Duration;

use super::book::{WINDOW, Window};
use super::cases::Case;

/// A run, as it was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// Which case it was of which seed.
    told: String,
    /// From when to when something was broken.
    fault: (Duration, Duration),
    windows: Vec<Window>,
    /// Tells two runs apart.
    pub(crate) trace: u64,
    /// Answers that endpoints have made for nobody.
    pub(crate) wasted: u64,
    /// Requests that the endpoints have begun with that have had the fewest and the most.
    pub(crate) shares: [u64; 2],
    pub(crate) before: Phase,
    pub(crate) during: Phase,
    /// The last quarter of that.
    pub(crate) held: Phase,
    pub(crate) after: Phase,
    /// How long after the end of the fault users were served as before, and went on to be.
    pub(crate) back: Duration,
    /// How often the pool was bounded as it was overrun.
    pub(crate) bounds: u32,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Phase {
    /// Users that came, a second.
    came: f64,
    /// Users that were served, a second.
    pub(crate) goodput: f64,
    /// The share of those that came who were served, be it later.
    pub(crate) content: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Requests to the gateway for each user.
    pub(crate) asked: f64,
    /// Requests to endpoints for each request to the gateway.
    pub(crate) sent: f64,
    /// How long 99 of 100 requests that the gateway refused had waited at most.
    pub(crate) refused: Duration,
}

impl Report {
    pub(crate) fn of(
        (case, seed): (&Case, u64),
        (windows, trace): (Vec<Window>, u64),
        (wasted, shares): (u64, [u64; 2]),
    ) -> Self {
        // As much at either end, and not the first moments, in which nobody is busy yet.
        let (broke, mended) = case.fault;
        let span = broke / 2;
        let phase = |from, to| Phase::of(part(&windows, from, to));
        let before = phase(span, broke);
        let Case { name, balance, users, breaks, .. } = case;
        Self {
            told: format!("{name}, seed {seed}: {balance}, {users:?}, {breaks:?}"),
            fault: case.fault,
            trace,
            wasted,
            shares,
            before,
            during: phase(broke, mended),
            held: phase(mended - (mended - broke) / 4, mended),
            after: phase(case.end - span, case.end),
            back: back(part(&windows, mended, case.end)),
            bounds: windows.iter().map(|one| one.bounds).sum(),
            windows,
        }
    }

    /// Whether as many users are served in the end as were in the beginning, or as many of those that come where fewer come, and
    /// no more is sent to endpoints for each of them than then.
    pub(crate) fn has_returned(&self) -> bool {
        let Self { before, after, .. } = self;
        let of_these = before.goodput * after.came / before.came;
        after.goodput >= before.goodput.min(of_these) * SAME
            && after.content >= before.content * SAME
            && after.sent_by_user() <= before.sent_by_user() * 1.1
    }

    /// Panics where this does not hold, and shows what was.
    pub(crate) fn require(&self, rule: &str, holds: bool) {
        assert!(holds, "not so: {rule}\n{self}");
    }
}

impl Phase {
    /// Requests to endpoints for each user. For each request to the gateway there are more as well where fewer are refused.
    fn sent_by_user(&self) -> f64 {
        self.asked * self.sent
    }

    fn of(windows: &[Window]) -> Self {
        let sum =
            |of: fn(&Window) -> u32| -> f64 { windows.iter().map(|one| f64::from(of(one))).sum() };
        let (came, content) = (sum(|one| one.came), sum(|one| one.content));
        let (served, asked, sent) =
            (sum(|one| one.served), sum(|one| one.asked), sum(|one| one.sent));
        let sorted = |of: fn(&Window) -> &Vec<u32>| -> Vec<u32> {
            let mut all: Vec<u32> = windows.iter().flat_map(of).copied().collect();
            all.sort_unstable();
            all
        };
        let (waits, refusals) = (sorted(|one| &one.waits), sorted(|one| &one.refusals));
        let seconds = (windows.len() as f64 * WINDOW.as_secs_f64()).max(f64::MIN_POSITIVE);
        Self {
            came: came / seconds,
            goodput: served / seconds,
            content: content / came.max(1.0),
            p50: quantile(&waits, 50),
            p99: quantile(&waits, 99),
            asked: asked / came.max(1.0),
            sent: sent / asked.max(1.0),
            refused: quantile(&refusals, 99),
        }
    }
}

/// The windows from one moment to another.
fn part(windows: &[Window], from: Duration, to: Duration) -> &[Window] {
    let place = |time: Duration| {
        let place = usize::try_from(time.as_millis() / WINDOW.as_millis());
        place.unwrap_or(usize::MAX).min(windows.len())
    };
    &windows[place(from)..place(to)]
}

/// Of sorted times, the one that so many per cent do not go beyond.
fn quantile(sorted: &[u32], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    let micros = sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default();
    Duration::from_micros(micros.into())
}

/// The end of the last second in which much fewer were served than came.
fn back(windows: &[Window]) -> Duration {
    let is_bad = |second: &[Window]| {
        let sum = |of: fn(&Window) -> u32| f64::from(second.iter().map(of).sum::<u32>());
        sum(|one| one.served) < sum(|one| one.came) * MUCH
    };
    let last = windows.chunks(PER_SECOND).rposition(is_bad);
    Duration::from_secs(last.map_or(0, |second| second as u64 + 1))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (broke, mended) = self.fault;
        writeln!(f, "{}, from {broke:?} to {mended:?}", self.told)?;
        for (name, phase) in [
            ("before", &self.before),
            ("during", &self.during),
            ("at last", &self.held),
            ("in the end", &self.after),
        ] {
            writeln!(f, "{name:>10}: {phase}")?;
        }
        writeln!(f, "as before after {:?}, {} answers for nobody", self.back, self.wasted)?;
        writeln!(f, "endpoints have begun with {:?} requests", self.shares)?;
        writeln!(f, "   s   came served failed  asked   sent refused ejected p99 ms")?;
        for (second, windows) in self.windows.chunks(PER_SECOND).enumerate() {
            let sum = |of: fn(&Window) -> u32| windows.iter().map(of).sum::<u32>();
            let (came, served, failed) =
                (sum(|one| one.came), sum(|one| one.served), sum(|one| one.failed));
            let (asked, sent) = (sum(|one| one.asked), sum(|one| one.sent));
            let (refused, ejected) = (sum(|one| one.refused), sum(|one| one.ejected));
            let p99 = Phase::of(windows).p99.as_millis();
            let row = format!("{second:>4} {came:>6} {served:>6} {failed:>6} {asked:>6} {sent:>6}");
            writeln!(f, "{row} {refused:>7} {ejected:>7} {p99:>6}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { came: _, goodput, content, p50, p99, asked, sent, refused } = self;
        let (share, p50, p99) = (content * 100.0, p50.as_millis(), p99.as_millis());
        let refused = refused.as_millis();
        write!(
            f,
            "{goodput:.0} served a second, {share:.1} % of those that came; p50 {p50} ms, p99 {p99} ms; \
             {asked:.2} asked for each user, {sent:.2} sent for each asked, refused within {refused} ms"
        )
    }
}

/// Within 5 %: some are on their way at either end.
const SAME: f64 = 0.95;
/// Below that a second is a bad one, and no chance.
const MUCH: f64 = 0.85;
const PER_SECOND: usize = 10;
