//! Certificates and keys that files name and that are a part of what these mean: when they have
//! changed, and whether a change may be half of one.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::base::watch::FileEvents;
use crate::config::pem;

use super::bell::Bell;
use super::generation::Fault;
use super::load::in_background;

/// Files that are read because others name them.
#[derive(Debug)]
pub(super) struct References {
    bell: Bell,
    /// What they said when they were last read.
    read: pem::References,
    /// The faults that may be half of a renewal, and since when each is there.
    unsettled: Vec<(Fault, Instant)>,
}

impl References {
    /// None yet.
    pub(super) fn new(events: FileEvents) -> Self {
        Self { bell: Bell::new(events), read: pem::References::new(), unsettled: Vec::new() }
    }

    /// Follows those that were just read, in place of others.
    pub(super) async fn follow(&mut self, read: pem::References) {
        let is_same = read.keys().eq(self.read.keys());
        self.read = read;
        if !is_same {
            self.bell.watch(self.read.keys()).await;
            // One may have changed after it was read and before it was watched.
            self.bell.ring();
        }
    }

    /// Resolves when they are to be read: one has changed, or the time is over in which others may
    /// have followed. May be dropped at any time.
    pub(super) async fn wait(&mut self) {
        let settled = self.unsettled.iter().map(|(_, since)| *since + SETTLING).min();
        tokio::select! {
            () = self.bell.rang() => {}
            () = at(settled) => {}
        }
    }

    /// What they say now; `None` where it is what was read, and nothing is unsettled.
    pub(super) async fn news(&self) -> Option<pem::References> {
        let now = self.now().await;
        (now != self.read || !self.unsettled.is_empty()).then_some(now)
    }

    /// What they say now, once two readings agree: a program that writes in place empties the file
    /// first, and a part of a chain is as valid as the whole.
    pub(super) async fn now(&self) -> pem::References {
        let mut last = self.read_again().await;
        for _ in 0..READINGS {
            sleep(BETWEEN_READINGS).await;
            let next = self.read_again().await;
            if next == last {
                break;
            }
            last = next;
        }
        last
    }

    /// What to tell of the faults that are there now, after those that are told already: any may be
    /// half of a renewal for a while after it is found, and what was told of its place stands until
    /// then.
    pub(super) fn settled(&mut self, found: &[Fault], told: &[Fault]) -> Vec<Fault> {
        let now = Instant::now();
        let before = std::mem::take(&mut self.unsettled);
        let mut settled = Vec::new();
        for fault in found {
            let was = before.iter().find(|(before, _)| is_of_one_place(before, fault));
            let since = was.map_or(now, |(_, since)| *since);
            if told.contains(fault) || since + SETTLING <= now {
                settled.push(fault.clone());
                continue;
            }
            settled.extend(told.iter().find(|told| is_of_one_place(told, fault)).cloned());
            self.unsettled.push((fault.clone(), since));
        }
        settled
    }

    /// They are found good, or have had their time.
    pub(super) fn settle(&mut self) {
        self.unsettled.clear();
    }

    async fn read_again(&self) -> pem::References {
        let paths: Vec<PathBuf> = self.read.keys().cloned().collect();
        let first = paths.first().cloned().unwrap_or_default();
        let read = in_background("reading a file", &first, move || Ok(pem::digests(&paths)));
        read.await.unwrap_or_default()
    }
}

/// Whether both are of one certificate: what is wrong with it may change from look to look.
fn is_of_one_place(one: &Fault, other: &Fault) -> bool {
    (&one.file, one.line, one.column, &one.key)
        == (&other.file, other.line, other.column, &other.key)
}

/// Waits until a time, for ever where there is none.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// 2 s: longer than a script takes between a certificate and its key. Nobody waits for it: until then
/// the pair that is in use serves.
pub(super) const SETTLING: Duration = Duration::from_secs(2);

/// 10 ms: longer than a program takes from emptying a small file to writing it.
pub(super) const BETWEEN_READINGS: Duration = Duration::from_millis(10);

/// 5: files that change without a pause are read as they are.
pub(super) const READINGS: u32 = 5;
