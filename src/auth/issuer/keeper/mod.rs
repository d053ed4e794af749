//! Keeps the keys of an issuer as it has them: fetches them again and again, tries on where that fails, and
//! lets the last ones go when they have been there for too long.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::base::snapshot::Snapshot;
use crate::base::tasks::Stop;
use crate::config::spec::FetchSpec;
use crate::model::jwk::KeySet;
use crate::telemetry::registry::Metrics;

use super::fetch::{FetchFault, Fetched};
use super::keyring::{Keyring, KeysStatus};
use super::lifetime;

/// Keeps the keys of one issuer.
#[derive(Debug)]
pub struct Keeper<K> {
    name: Arc<str>,
    spec: Arc<FetchSpec>,
    ring: Arc<Keyring>,
    status: Snapshot<KeysStatus>,
    metrics: Arc<Metrics>,
    /// Hears that keys have come.
    keep: K,
    /// Whether it has been tried once.
    tried: watch::Sender<bool>,
    /// The places of those that cannot be used, which is told.
    unusable: Vec<usize>,
    /// Tries in a row that brought none.
    failures: u32,
    /// When the keys of now are not used any more.
    end: Option<Instant>,
    /// When keys were last fetched since somebody wished for them.
    wished_at: Option<Instant>,
}

/// What a keeper begins with.
#[derive(Debug)]
pub struct Beginning {
    /// What the issuer is called in the files.
    pub name: Arc<str>,
    /// How its keys are fetched.
    pub spec: Arc<FetchSpec>,
    /// Where they are put; there may be some already.
    pub ring: Arc<Keyring>,
    /// What is told of them; it says when those came that are there already.
    pub status: Snapshot<KeysStatus>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Told once it has been tried.
    pub tried: watch::Sender<bool>,
}

/// What has come about.
enum Turn {
    Stop,
    Due,
    Wished,
    Over,
}

impl<K: Fn(&KeySet, SystemTime)> Keeper<K> {
    /// One that tells `keep` of keys that have come.
    pub fn new(beginning: Beginning, keep: K) -> Self {
        let Beginning { name, spec, ring, status, metrics, tried } = beginning;
        let age = |at: SystemTime| SystemTime::now().duration_since(at).unwrap_or_default();
        let held = status.load().at.filter(|_| !ring.with(KeySet::is_empty));
        let end = held.map(|at| Instant::now() + spec.stale.saturating_sub(age(at)));
        let (unusable, failures, wished_at) = (Vec::new(), 0, None);
        Self { name, spec, ring, status, metrics, keep, tried, unusable, failures, end, wished_at }
    }

    /// Keeps them until `stop`; `fetch` asks the issuer once.
    pub async fn run<F>(mut self, fetch: impl Fn() -> F, mut stop: Stop)
    where
        F: Future<Output = Result<Fetched, FetchFault>>,
    {
        let mut due = Instant::now();
        loop {
            let turn = tokio::select! {
                () = stop.requested() => Turn::Stop,
                () = sleep_until(due) => Turn::Due,
                () = self.is_to_hurry() => Turn::Wished,
                () = at(self.end) => Turn::Over,
            };
            match turn {
                Turn::Stop => return,
                Turn::Due => {}
                Turn::Wished => self.wished_at = Some(Instant::now()),
                Turn::Over => {
                    self.let_go();
                    continue;
                }
            }
            self.ring.look();
            let result = tokio::select! {
                () = stop.requested() => return,
                result = fetch() => result,
            };
            due = Instant::now() + self.take(result);
            self.tried.send_replace(true);
        }
    }

    /// Resolves when somebody has wished for newer keys and they may be fetched for that. Where it fails
    /// it is tried within a minute anyhow.
    async fn is_to_hurry(&self) {
        if self.failures > 0 {
            return pending().await;
        }
        self.ring.wished().await;
        if let Some(last) = self.wished_at {
            sleep_until(last + BETWEEN_WISHES).await;
        }
    }

    /// Takes in what a try has brought; gives the time until the next one.
    fn take(&mut self, result: Result<Fetched, FetchFault>) -> Duration {
        match result {
            Ok(fetched) => self.succeed(fetched),
            Err(fault) => self.fail(&fault),
        }
    }

    fn succeed(&mut self, Fetched { set, unusable, fresh }: Fetched) -> Duration {
        let (now, keys) = (SystemTime::now(), set.keys().len());
        if self.ring.with(|held| *held != set) {
            tracing::info!(issuer = &*self.name, keys, "the issuer's keys have come");
        } else if self.failures > 0 {
            tracing::info!(issuer = &*self.name, keys, "the issuer's keys come again");
        }
        if unusable != self.unusable && !unusable.is_empty() {
            tracing::warn!(issuer = &*self.name, places = ?unusable, keys,
                "the issuer publishes keys that are broken, too short or of a name that another has: \
                 they are left out, the others are used");
        }
        self.unusable = unusable;
        self.failures = 0;
        self.end = Some(Instant::now() + self.spec.stale);
        (self.keep)(&set, now);
        self.ring.publish(set);
        let (failed_since, error) = (None, None);
        self.status.publish(Arc::new(KeysStatus { keys, at: Some(now), failed_since, error }));
        self.metrics.issuer_keys(&self.name, keys, Some(now));
        self.metrics.issuer_fetched(&self.name, "ok"); // last: whoever has seen it sees the rest
        lifetime::until_next(&self.spec, fresh, fastrand::f64())
    }

    fn fail(&mut self, fault: &FetchFault) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let before = self.status.load();
        if self.failures == 1 {
            let (issuer, keys, hint) = (&*self.name, before.keys, fault.hint());
            match keys {
                0 => tracing::warn!(issuer, %fault, hint,
                    "the issuer's keys cannot be fetched: its tokens are answered 503 until they come"),
                _ => tracing::warn!(issuer, %fault, hint, keys,
                    "the issuer's keys cannot be fetched: those that are there are used on for a while"),
            }
        }
        self.status.publish(Arc::new(KeysStatus {
            failed_since: before.failed_since.or_else(|| Some(SystemTime::now())),
            error: Some(format!("{fault} ({})", fault.hint())),
            ..KeysStatus::clone(&before)
        }));
        self.metrics.issuer_fetched(&self.name, fault.reason()); // as above
        lifetime::until_retry(self.failures, fastrand::f64())
    }

    /// Nobody has confirmed them for too long.
    fn let_go(&mut self) {
        self.end = None;
        self.ring.publish(KeySet::default());
        let before = self.status.load();
        self.metrics.issuer_keys(&self.name, 0, before.at);
        self.status.publish(Arc::new(KeysStatus { keys: 0, ..KeysStatus::clone(&before) }));
        tracing::error!(issuer = &*self.name, stale = ?self.spec.stale,
            "the issuer's keys could not be fetched for too long: its tokens are answered 503 until they come");
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// 1 minute: whoever makes up names of keys has the issuer asked that often.
const BETWEEN_WISHES: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
