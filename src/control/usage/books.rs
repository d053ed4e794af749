//! What has been written of what tenants have used, and what is next.

use std::collections::BTreeSet;
use std::fs::File;

use crate::control::state::StateError;
use crate::telemetry::registry::Metrics;
use crate::telemetry::usage::{Closed, Hour, Lines, Next};

use super::folder::{Folder, Listing, Name, UsageError};

/// Writes what tenants have used. All of it may wait for the disk.
#[derive(Debug)]
pub(super) struct Books {
    folder: Folder,
    /// How many hours are kept; 0 = all.
    keep_hours: usize,
    /// Held as long as this process writes.
    lock: Option<File>,
    /// What has been saved and is not finished.
    open: Option<Name>,
    /// The hour and the change that were saved last.
    saved: Option<(Hour, u64)>,
}

impl Books {
    pub(super) fn new(folder: Folder, keep_hours: usize) -> Self {
        Self { folder, keep_hours, lock: None, open: None, saved: None }
    }

    /// Writes all that has not been written yet. What fails is tried again the next time: it is
    /// still there.
    pub(super) fn keep(&mut self, metrics: &Metrics, now: Hour) -> Result<(), UsageError> {
        metrics.usage(|usage| usage.turn(now));
        if self.lock.is_none() {
            self.lock = Some(self.begin(metrics)?);
        }
        loop {
            match metrics.usage(|usage| usage.next(self.saved)) {
                Next::Closed(closed) => {
                    if let Err(error) = self.finish(&closed) {
                        metrics.usage(|usage| usage.give_back(closed));
                        return Err(error);
                    }
                }
                Next::Open(hour, lines, change) => {
                    self.save(hour, &lines)?;
                    self.saved = Some((hour, change));
                    return Ok(());
                }
                Next::Nothing => return Ok(()),
            }
        }
    }

    /// Takes over what the process before has left.
    fn begin(&mut self, metrics: &Metrics) -> Result<File, UsageError> {
        let lock = self.folder.lock()?;
        let listing = self.folder.list()?;
        let hour = metrics.usage(|usage| usage.hour());
        let mut of_now = None;
        for name in &listing.partial {
            match name.hour == hour && of_now.is_none() {
                true => of_now = Some(*name),
                false => self.folder.finish(*name)?,
            }
        }
        let finished = self.folder.list()?.finished;
        let kept = of_now.map(|name| (name, self.folder.read_partial(name)));
        // From here on nothing fails: what is counted in would be counted in again.
        if let Some((name, kept)) = kept {
            self.open = self.take_over(name, kept, metrics);
        }
        self.restore_day(hour, &finished, metrics);
        Ok(lock)
    }

    fn take_over(
        &self,
        name: Name,
        kept: Result<Lines, StateError>,
        metrics: &Metrics,
    ) -> Option<Name> {
        let left = match kept {
            Ok(lines) if metrics.usage(|usage| usage.restore(name.hour, &lines)) => {
                return Some(name);
            }
            // The hour has ended meanwhile.
            Ok(_) => self.folder.finish(name),
            Err(error) => {
                tracing::error!(%error, "what was used in this hour before the start is not counted");
                self.folder.set_aside(name)
            }
        };
        if let Err(error) = left {
            tracing::error!(%error, "a file of what was used is left as it is");
        }
        None
    }

    /// Counts in what was used in earlier hours of this day: nothing but the admin API tells of it.
    fn restore_day(&self, hour: Hour, finished: &BTreeSet<Name>, metrics: &Metrics) {
        let is_of_day = |name: &&Name| name.hour.midnight() == hour.midnight();
        for name in finished.iter().filter(is_of_day) {
            match self.folder.read_finished(*name) {
                Ok(lines) => metrics.usage(|usage| usage.restore_day(name.hour, &lines)),
                Err(error) => tracing::warn!(%error, "the day's use is told without this hour"),
            }
        }
    }

    /// Writes an hour that is over.
    fn finish(&mut self, closed: &Closed) -> Result<(), UsageError> {
        let left = self.open.filter(|open| closed.with.contains(&open.hour));
        let name = self.part(closed.hour)?;
        self.folder.save(name, &closed.lines)?;
        if let Some(left) = left {
            self.folder.forget(left)?;
        }
        self.open = Some(name);
        self.folder.finish(name)?;
        self.open = None;
        if let Err(error) = self.retire() {
            tracing::warn!(%error, "files of earlier hours cannot be deleted");
        }
        Ok(())
    }

    /// Saves the hour of now.
    fn save(&mut self, hour: Hour, lines: &Lines) -> Result<(), UsageError> {
        let name = self.part(hour)?;
        self.folder.save(name, lines)?;
        self.open = Some(name);
        Ok(())
    }

    /// The file of this hour: the one that is open, or a new one.
    fn part(&self, hour: Hour) -> Result<Name, UsageError> {
        match self.open.filter(|open| open.hour == hour) {
            Some(open) => Ok(open),
            None => Ok(self.folder.list()?.free(hour)),
        }
    }

    /// Deletes all hours but the last ones. They are not told by the clock: one that was set wrong
    /// would have all of them deleted.
    fn retire(&self) -> Result<(), UsageError> {
        if self.keep_hours == 0 {
            return Ok(());
        }
        let Listing { finished, .. } = self.folder.list()?;
        let hours: BTreeSet<Hour> = finished.iter().map(|name| name.hour).collect();
        if let Some(first) = hours.iter().rev().nth(self.keep_hours - 1) {
            for name in finished.iter().filter(|name| name.hour < *first) {
                self.folder.delete(*name)?;
            }
        }
        Ok(())
    }
}
