//! What has been written of what tenants have used, and what is next.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use crate::control::state::{self, StateError};
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
    /// Whether it was taken over what the process before has left.
    begun: bool,
    /// Files of earlier hours of the day in which it began, which are to be told as used in this day.
    day: Vec<Name>,
    /// What may have been saved and is not finished. All that it has is in memory, too.
    open: Option<Name>,
    /// How many requests it has.
    open_requests: u64,
    /// The hour and the change that were saved last.
    saved: Option<(Hour, u64)>,
    /// Has what was renamed reach the disk. Another one in tests.
    pub(super) sync: fn(&Path) -> Result<(), StateError>,
    /// Whether something was renamed since that was done.
    renamed: bool,
}

impl Books {
    pub(super) fn new(folder: Folder, keep_hours: usize) -> Self {
        Self {
            folder,
            keep_hours,
            lock: None,
            begun: false,
            day: Vec::new(),
            open: None,
            open_requests: 0,
            saved: None,
            sync: state::sync,
            renamed: false,
        }
    }

    /// Writes all that has not been written yet. What fails is tried again the next time: it is
    /// still there. The clock is read where no worker's counts can come in between: an hour that was
    /// read before would turn the time back.
    pub(super) fn keep(
        &mut self,
        metrics: &Metrics,
        clock: impl Fn() -> Hour,
    ) -> Result<(), UsageError> {
        metrics.usage(|usage| usage.turn(clock()));
        self.hold(metrics)?;
        loop {
            self.settle()?;
            match metrics.usage(|usage| usage.next(self.saved)) {
                Next::Closed(closed) => {
                    if let Err(error) = self.finish(&closed) {
                        metrics.usage(|usage| usage.give_back(closed));
                        return Err(error);
                    }
                }
                Next::Open(hour, rows, change) => {
                    self.save(hour, &rows.sorted())?;
                    self.saved = Some((hour, change));
                    return Ok(());
                }
                Next::Nothing => return Ok(()),
            }
        }
    }

    /// Counts in one more of the earlier hours of this day, which nothing but the admin API tells of.
    /// Whether there may be more.
    pub(super) fn recall(&mut self, metrics: &Metrics) -> bool {
        let Some(name) = self.day.pop() else { return false };
        match self.folder.read_finished(name) {
            Ok(lines) => metrics.usage(|usage| usage.restore_day(name.hour, &lines)),
            Err(error) => tracing::warn!(%error, "the day's use is told without this hour"),
        }
        !self.day.is_empty()
    }

    /// In how many hours there are requests that stand in no file, and how many they are.
    pub(super) fn unwritten(&self, metrics: &Metrics) -> (usize, u64) {
        let (hours, requests) = metrics.usage(|usage| usage.unwritten(self.saved));
        let written = if hours > 0 { self.open_requests } else { 0 };
        (hours, requests.saturating_sub(written))
    }

    /// Sees to it that nobody else writes here: the folder may have been removed, and made again.
    fn hold(&mut self, metrics: &Metrics) -> Result<(), UsageError> {
        if self.lock.as_ref().is_some_and(|lock| self.folder.is_held_by(lock)) {
            return Ok(());
        }
        self.lock = None;
        let lock = self.folder.lock()?;
        if self.begun {
            // What was saved may be gone with the folder.
            (self.saved, self.open_requests) = (None, 0);
        } else {
            self.begin(metrics)?;
            self.begun = true;
        }
        self.lock = Some(lock);
        Ok(())
    }

    /// Takes over what the process before has left. Where it fails, nothing was counted in: it is
    /// done anew.
    fn begin(&mut self, metrics: &Metrics) -> Result<(), UsageError> {
        loop {
            let hour = metrics.usage(|usage| usage.hour());
            let mut of_now = None;
            for name in self.folder.list()?.partial {
                match name.hour == hour && of_now.is_none() {
                    true => of_now = Some(name),
                    false => self.rename(name)?,
                }
            }
            let mut day = self.folder.list()?.finished;
            day.retain(|name| name.hour.midnight() == hour.midnight());
            let kept = match of_now.map(|name| self.folder.read_partial(name)).transpose() {
                Err(error @ StateError::Damaged { .. }) => {
                    of_now.map_or(Ok(()), |name| self.folder.set_aside(name))?;
                    tracing::error!(
                        %error,
                        "what was used in this hour before the start is not counted"
                    );
                    None
                }
                kept => kept?,
            };
            if let Some(name) = of_now
                && let Some(lines) = kept
            {
                if !metrics.usage(|usage| usage.restore(name.hour, &lines)) {
                    continue; // The hour has ended meanwhile.
                }
                (self.open, self.open_requests) = (Some(name), requests(&lines));
            }
            self.day = day.into_iter().collect();
            return Ok(());
        }
    }

    /// Writes an hour that is over. Once the file has its name it is written, whatever else fails.
    fn finish(&mut self, closed: &Closed) -> Result<(), UsageError> {
        if let Some(open) = self.open
            && open.hour != closed.hour
            && closed.with.contains(&open.hour)
        {
            // What was saved of an hour that is a part of this one: were there two files for a moment,
            // and the process were killed in it, the next one would take both.
            let name = self.part(closed.hour)?;
            self.folder.become_of(open, name)?;
            self.open = Some(name);
        }
        let name = self.save(closed.hour, &closed.rows.sorted())?;
        self.rename(name)?;
        (self.open, self.open_requests) = (None, 0);
        if let Err(error) = self.retire() {
            tracing::warn!(%error, "files of earlier hours cannot be deleted");
        }
        Ok(())
    }

    /// Saves what is known of an hour.
    fn save(&mut self, hour: Hour, lines: &Lines) -> Result<Name, UsageError> {
        let name = self.part(hour)?;
        // Before it is: what fails may have been saved as well.
        self.open = Some(name);
        self.folder.save(name, lines)?;
        self.open_requests = requests(lines);
        Ok(name)
    }

    fn rename(&mut self, name: Name) -> Result<(), UsageError> {
        self.folder.finish(name)?;
        self.renamed = true;
        Ok(())
    }

    /// Has what was renamed reach the disk. Where that fails it is tried again, and nothing is written
    /// meanwhile; what was renamed is written for all that.
    fn settle(&mut self) -> Result<(), UsageError> {
        if self.renamed {
            (self.sync)(&self.folder.path)?;
            self.renamed = false;
        }
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

fn requests(lines: &Lines) -> u64 {
    lines.values().fold(0, |sum, counts| sum.saturating_add(counts.requests()))
}
