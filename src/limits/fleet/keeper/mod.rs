//! Keeps the reserves filled: looks every few milliseconds what is used of the limits that are in use,
//! and asks the store. Where that is lost, it is looked for again and again, and all limits are held
//! by each gateway alone meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::base::tasks::Stop;
use crate::telemetry::registry::Metrics;
use crate::telemetry::shared_limits as metrics;

use super::desk::{Desk, LOOK, Question};
use super::fault::{Fault, REASONS};
use super::store::{Answer, Store};
use super::{Arrivals, Fleet, Mode};
use crate::limits::gcra::Ticks;

/// Keeps the reserves of a gateway filled.
#[derive(Debug)]
pub struct Keeper<S> {
    fleet: Arc<Fleet>,
    arrivals: Arrivals,
    desk: Desk,
    store: S,
    /// How long an answer may take until the store is late.
    patience: Duration,
    metrics: Arc<Metrics>,
    /// Calls that have failed since one has not.
    failed: u32,
    /// It was told that a key had held something else.
    has_told: bool,
}

impl<S: Store> Keeper<S> {
    /// Fills the reserves of `fleet` from a store; its keys begin with `prefix`. An answer that takes
    /// longer than `patience` is waited for by nobody but this.
    pub fn new(
        (fleet, arrivals): (Arc<Fleet>, Arrivals),
        (store, prefix): (S, &str),
        patience: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        for result in [OK].into_iter().chain(REASONS) {
            metrics.add(&metrics::CALLS, &[result], 0);
        }
        for kind in [GRANTED, COUNTED, GIVEN_BACK] {
            metrics.add(&metrics::REQUESTS, &[kind], 0);
        }
        metrics.set(&metrics::UP, &[], 0.0);
        metrics.set(&metrics::IN_USE, &[], 0.0);
        metrics.add_seconds(&metrics::CALL_SECONDS, &[], Duration::ZERO);
        metrics.add_seconds(&metrics::LATE_SECONDS, &[], Duration::ZERO);
        let desk = Desk::new(Arc::clone(&fleet), prefix.to_owned());
        Self { fleet, arrivals, desk, store, patience, metrics, failed: 0, has_told: false }
    }

    /// Keeps them filled until `stop`, and gives back then what is there.
    pub async fn run(mut self, mut stop: Stop) {
        let mut told = None;
        loop {
            let began = Instant::now();
            let opened = tokio::select! {
                () = stop.requested() => return,
                opened = self.store.open() => opened,
            };
            let fault = match opened {
                Err(fault) => {
                    self.count(Some(&fault), began);
                    fault
                }
                Ok(()) => {
                    self.count(None, began);
                    self.found();
                    told = None;
                    match self.serve(&mut stop).await {
                        Err(fault) => fault,
                        Ok(()) => return self.end().await,
                    }
                }
            };
            self.lost(&fault, told != Some(fault.reason()));
            told = Some(fault.reason());
            self.failed += 1;
            tokio::select! {
                () = stop.requested() => return,
                () = sleep(pause(self.failed)) => {}
            }
        }
    }

    /// Serves until `stop`, or until the store is lost.
    async fn serve(&mut self, stop: &mut Stop) -> Result<(), Fault> {
        let mut last = None;
        loop {
            let limits = self.desk.len();
            let looks = async {
                match limits {
                    0 => std::future::pending().await, // there is nothing to look at
                    limits => sleep(look_pause(limits).mul_f64(0.5 + fastrand::f64())).await,
                }
            };
            tokio::select! {
                () = stop.requested() => return Ok(()),
                Some(cell) = self.arrivals.recv() => {
                    let now = self.now();
                    self.desk.arrive(cell, now);
                }
                () = looks => {}
            }
            let now = self.now();
            self.desk.welcome(&mut self.arrivals, now);
            if let Some(Ticks(last)) = last {
                self.fleet.heed(Ticks(now.0.saturating_sub(last)));
            }
            self.desk.let_in(now);
            let questions = self.desk.plan(now);
            last = (!self.desk.is_empty()).then_some(now);
            self.metrics.set(&metrics::IN_USE, &[], self.desk.len() as f64);
            self.settle(&questions).await?;
        }
    }

    /// Has questions answered. The store is late when all of them together take longer than one may wait.
    async fn settle(&mut self, questions: &[Question]) -> Result<(), Fault> {
        let late_at = Instant::now() + self.patience;
        let settled = self.settle_until(questions, late_at).await;
        if self.fleet.mode() == Mode::Late {
            let late = Instant::now().saturating_duration_since(late_at);
            self.metrics.add_seconds(&metrics::LATE_SECONDS, &[], late);
        }
        if settled.is_ok() {
            self.fleet.set(Mode::Shared);
        }
        settled
    }

    async fn settle_until(
        &mut self,
        questions: &[Question],
        late_at: Instant,
    ) -> Result<(), Fault> {
        for some in questions.chunks(AT_ONCE) {
            let began = Instant::now();
            let answers = self.answers(some, late_at).await;
            self.count(answers.as_ref().err(), began);
            let tally = self.desk.learn(some, &answers?);
            if tally.replaced > 0 && !std::mem::replace(&mut self.has_told, true) {
                let (store, keys) = (self.store.place(), tally.replaced);
                tracing::warn!(
                    store,
                    keys,
                    "keys of shared limits have held something else, which was replaced: the prefix must be nobody else's"
                );
            }
            let kinds = [
                (GRANTED, tally.granted),
                (COUNTED, tally.counted),
                (GIVEN_BACK, tally.given_back),
            ];
            for (kind, requests) in kinds.into_iter().filter(|(_, requests)| *requests > 0) {
                self.metrics.add(&metrics::REQUESTS, &[kind], requests);
            }
        }
        Ok(())
    }

    /// What the store says. While it is late, requests do not wait for it.
    async fn answers(
        &mut self,
        questions: &[Question],
        late_at: Instant,
    ) -> Result<Vec<Answer>, Fault> {
        let asks: Vec<_> = questions.iter().map(|question| question.ask.clone()).collect();
        let mut asking = std::pin::pin!(self.store.ask(&asks));
        let answers = loop {
            tokio::select! {
                biased;
                answers = asking.as_mut() => break answers?,
                () = sleep(look_pause(self.desk.len())) => {}
            }
            let now = Ticks::of(self.fleet.born.elapsed());
            if Instant::now() >= late_at {
                self.fleet.late(now);
            }
            self.desk.let_in(now);
        };
        if answers.len() != questions.len() {
            return Err(Fault::Nonsense("an answer is missing".to_owned()));
        }
        self.failed = 0;
        Ok(answers)
    }

    /// Gives back what is there, as far as the store takes it at once.
    async fn end(&mut self) {
        let now = self.now();
        self.desk.welcome(&mut self.arrivals, now);
        let questions = self.desk.end(now);
        if let Err(fault) = self.settle(&questions).await {
            tracing::debug!(%fault, "what was left of shared limits could not be given back");
        }
        self.alone();
    }

    fn found(&mut self) {
        let now = self.now();
        self.desk.welcome(&mut self.arrivals, now);
        self.desk.forget(now);
        self.fleet.tell(None);
        self.fleet.set(Mode::Shared);
        self.metrics.set(&metrics::UP, &[], 1.0);
        tracing::info!(store = self.store.place(), "limits are shared with other gateways");
    }

    fn lost(&mut self, fault: &Fault, is_news: bool) {
        self.alone();
        self.metrics.set(&metrics::UP, &[], 0.0);
        self.metrics.set(&metrics::IN_USE, &[], 0.0);
        if is_news {
            let (store, hint) = (self.store.place(), fault.hint());
            self.fleet.tell(Some(fault.to_string()));
            tracing::warn!(store, %fault, hint, "limits are not shared: each gateway holds them alone until the store is back");
        } else {
            tracing::debug!(%fault, "limits are still not shared");
        }
    }

    /// The gateway's own counts alone hold from now on.
    fn alone(&mut self) {
        self.fleet.set(Mode::Lost);
        let now = self.now();
        self.desk.welcome(&mut self.arrivals, now);
        self.desk.release();
    }

    fn count(&self, fault: Option<&Fault>, began: Instant) {
        let result = fault.map_or(OK, Fault::reason);
        self.metrics.add(&metrics::CALLS, &[result], 1);
        self.metrics.add_seconds(&metrics::CALL_SECONDS, &[], began.elapsed());
    }

    fn now(&self) -> Ticks {
        Ticks::of(self.fleet.born.elapsed())
    }
}

/// Until the next look at so many limits in use, on average: gateways are not to ask in step, or one of
/// them would have all that comes.
fn look_pause(limits: usize) -> Duration {
    LOOK + LOOK_AT_ONE * u32::try_from(limits).unwrap_or(u32::MAX)
}

/// How long to wait after so many failures: 0.1 s, 0.2 s, 0.4 s …, less up to a half by chance.
fn pause(failed: u32) -> Duration {
    let longest = FIRST_PAUSE * 2_u32.saturating_pow(failed.saturating_sub(1).min(10));
    longest.min(LONGEST_PAUSE).mul_f64(1.0 - fastrand::f64() / 2.0)
}

const OK: &str = "ok";
const GRANTED: &str = "granted";
const COUNTED: &str = "counted";
const GIVEN_BACK: &str = "given_back";

/// 256 limits in one go: some 50 KB, and a fraction of a millisecond of the store's time.
const AT_ONCE: usize = 256;
/// 500 ns for each: a hundred thousand of them are looked at twenty times a second, a tenth of a core.
const LOOK_AT_ONE: Duration = Duration::from_nanos(500);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// 5 s: a store that is back is shared again soon, and a thousand gateways do no harm to it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
