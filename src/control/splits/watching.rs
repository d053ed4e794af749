//! Looks at all splits with a canary once a second, and keeps what is rolled back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

use crate::base::tasks::Stop;
use crate::base::ticks::Turns;
use crate::control::state;
use crate::telemetry::registry::Metrics;

use super::Splits;
use super::kept;

/// Judges all canaries until `stop`, and keeps what is rolled back in the folder.
pub(in crate::control) async fn watch(
    splits: Splits,
    metrics: Arc<Metrics>,
    folder: Option<PathBuf>,
    stop: Stop,
) {
    let mut turns = Turns::each(INTERVAL, stop);
    let mut told = false;
    while turns.next().await {
        let (now, mut last) = (Instant::now(), None);
        loop {
            last = splits.look(last, now, &metrics);
            if last.is_none() {
                break;
            }
            yield_now().await;
        }
        if let Some(folder) = &folder
            && let Some(all) = splits.to_keep()
        {
            match kept::save(folder, all).await {
                Ok(()) => told = false,
                Err(error) => {
                    splits.not_kept();
                    if !told {
                        let hint = state::HINT;
                        tracing::error!(
                            "which canaries are rolled back cannot be kept: {error}; {hint}"
                        );
                        told = true;
                    }
                }
            }
        }
    }
}

/// 1 s: a canary that fails everything has failed for so long; less would judge few requests more often.
const INTERVAL: Duration = Duration::from_secs(1);
