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

use super::load::in_background;
use books::Books;
use folder::{Folder, UsageError};

pub use line::Amounts;

/// Writes what tenants use, until it is ended.
#[derive(Debug)]
pub struct Export(Tasks);

/// What writes, and what is written.
#[derive(Clone)]
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
        let failed = writer.write(false).await;
        let mut tasks = Tasks::new("usage");
        // What workers have not told of yet is lost as well.
        let every = spec.flush_interval.saturating_sub(FLUSH_INTERVAL).max(SHORTEST);
        tasks.spawn(|stop| writer.run(every, failed, stop));
        Self(tasks)
    }

    /// Writes the last of it: whatever counts has to have ended.
    pub async fn end(self, limit: Duration) {
        if self.0.stop(limit).await != Stopped::Cleanly {
            tracing::error!("what tenants have used could not be written to its end");
        }
    }
}

impl Writer {
    async fn run(self, every: Duration, mut failed: bool, mut stop: Stop) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            let ends = tokio::select! {
                () = stop.requested() => true,
                _ = ticks.tick() => false,
            };
            failed = self.write(failed).await;
            if ends {
                return;
            }
        }
    }

    /// Writes what is new; whether that has failed, as it had `before`.
    async fn write(&self, before: bool) -> bool {
        let (books, metrics) = (Arc::clone(&self.books), Arc::clone(&self.metrics));
        let keep = move || {
            let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(books.keep(&metrics, Hour::now()))
        };
        let written = in_background("writing what tenants have used", &self.folder, keep).await;
        let failed = match written {
            Ok(Ok(())) => false,
            Ok(Err(error)) => {
                if !before {
                    tell(&error);
                }
                true
            }
            Err(faults) => {
                faults.iter().for_each(|fault| tracing::error!("{fault}"));
                true
            }
        };
        if before && !failed {
            tracing::info!("what tenants use is written again, and nothing was lost");
        }
        self.metrics.add(&metrics::USAGE_SAVES, &[if failed { "failed" } else { "ok" }], 1);
        let waiting = self.metrics.usage(|usage| usage.waiting());
        self.metrics.set(&metrics::USAGE_WAITING, &[], waiting as f64);
        failed
    }
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
