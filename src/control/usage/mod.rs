//! What tenants have used, in files to bill by: a line for each tenant in a file for each hour. The
//! hour of now is saved every few seconds, and once more when all requests have ended.
//!
//! **Invariant:** no request that was counted stands in two files or in none, whatever is reloaded
//! or restarted; only a process that is killed loses what it had not saved.

mod books;
mod folder;
mod line;
#[cfg(test)]
mod tests;

use std::future::ready;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::base::tasks::{Stop, Stopped, Tasks};
use crate::config::spec::UsageSpec;
use crate::telemetry::meter::FLUSH_INTERVAL;
use crate::telemetry::metrics;
use crate::telemetry::registry::Metrics;
use crate::telemetry::usage::Hour;

use super::generation::Fault;
use super::load::in_background;
use books::Books;
use folder::{Folder, UsageError};

pub use line::Amounts;

/// Writes what tenants use, until it is ended.
#[derive(Debug)]
pub struct Export {
    tasks: Tasks,
    metrics: Arc<Metrics>,
}

/// What writes, and what is written.
struct Writer {
    folder: PathBuf,
    books: Arc<Mutex<Books>>,
    metrics: Arc<Metrics>,
}

impl Export {
    /// Counts in what the process before has left of this hour, and writes from now on.
    pub async fn start(spec: &UsageSpec, metrics: &Arc<Metrics>) -> Self {
        let gateway = spec.gateway.clone().unwrap_or_else(machine);
        let folder = Folder { path: spec.folder.path.clone(), gateway };
        metrics.usage(|usage| usage.keep_hours());
        for result in ["ok", "failed"] {
            metrics.add(&metrics::USAGE_SAVES, &[result], 0);
        }
        let writer = Writer {
            folder: folder.path.clone(),
            books: Arc::new(Mutex::new(Books::new(folder, spec.keep_hours))),
            metrics: Arc::clone(metrics),
        };
        let failed = writer.write(None).await;
        let mut tasks = Tasks::new("usage");
        // What workers have not told of yet is lost as well.
        let every = spec.flush_interval.saturating_sub(FLUSH_INTERVAL).max(SHORTEST);
        tasks.spawn_vital(|stop| writer.run(every, failed, stop));
        Self { tasks, metrics: Arc::clone(metrics) }
    }

    /// Writes the last of it: whatever counts has to have ended.
    pub async fn end(self, limit: Duration) {
        if self.tasks.stop(limit).await != Stopped::Cleanly {
            // Which of it was saved before only the writer knows, which hangs.
            let (hours, requests) = self.metrics.usage(|usage| usage.unwritten(None));
            tell_lost("the disk does not answer", hours, requests);
        }
    }
}

impl Writer {
    /// Writes each time that it is due, and in between tells of the day so far.
    async fn run(self, every: Duration, mut failed: Option<String>, mut stop: Stop) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut is_more = true;
        loop {
            let ends = tokio::select! {
                biased;
                () = stop.requested() => true,
                _ = ticks.tick() => false,
                () = ready(()), if is_more => {
                    is_more = self.recall().await;
                    continue;
                }
            };
            failed = self.write(failed).await;
            if ends {
                return self.tell_lost(failed).await;
            }
            is_more = true; // where it could not begin before
        }
    }

    /// Writes what is new. Why that has failed, as it had for the reason `before`.
    async fn write(&self, before: Option<String>) -> Option<String> {
        let keep = |books: &mut Books, metrics: &Metrics| books.keep(metrics, Hour::now);
        let failed = match self.with_books("writing what tenants have used", keep).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                let text = error.to_string();
                if before.as_ref() != Some(&text) {
                    tell(&error);
                }
                Some(text)
            }
            Err(faults) => {
                faults.iter().for_each(|fault| tracing::error!("{fault}"));
                Some(String::new())
            }
        };
        if before.is_some() && failed.is_none() {
            tracing::info!("what tenants use is written again, and nothing was lost");
        }
        let result = if failed.is_some() { "failed" } else { "ok" };
        self.metrics.add(&metrics::USAGE_SAVES, &[result], 1);
        let waiting = self.metrics.usage(|usage| usage.waiting());
        self.metrics.set(&metrics::USAGE_WAITING, &[], waiting as f64);
        failed
    }

    /// Reads one file of the day so far, which may be large. Whether there may be more.
    async fn recall(&self) -> bool {
        let recall = |books: &mut Books, metrics: &Metrics| books.recall(metrics);
        self.with_books("reading what tenants have used", recall).await.unwrap_or(false)
    }

    /// Tells what is lost where the last of it could not be written.
    async fn tell_lost(&self, failed: Option<String>) {
        let Some(why) = failed else { return };
        let unwritten = |books: &mut Books, metrics: &Metrics| books.unwritten(metrics);
        let unwritten = self.with_books("counting what is lost", unwritten).await;
        let (hours, requests) = unwritten.unwrap_or_default();
        if requests > 0 {
            tell_lost(&why, hours, requests);
        }
    }

    async fn with_books<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Books, &Metrics) -> T + Send + 'static,
    ) -> Result<T, Vec<Fault>> {
        let (books, metrics) = (Arc::clone(&self.books), Arc::clone(&self.metrics));
        let work =
            move || Ok(work(&mut books.lock().unwrap_or_else(PoisonError::into_inner), &metrics));
        in_background(doing, &self.folder, work).await
    }
}

fn tell_lost(why: &str, hours: usize, requests: u64) {
    tracing::error!(
        why,
        hours,
        requests,
        "what tenants have used could not be written to its end: this much of it at most is lost"
    );
}

fn tell(error: &UsageError) {
    tracing::error!(
        %error,
        "what tenants use cannot be written: it is kept in memory until it can; look at the folder \
         of [usage], its owner and the room on its disk"
    );
}

/// The name of the machine, as far as it fits the names of files.
fn machine() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fits = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(fits).take(64).collect();
    if name.is_empty() { "gateway".to_owned() } else { name }
}

/// 500 ms: for tests; what may be written is a second and more.
const SHORTEST: Duration = Duration::from_millis(500);
