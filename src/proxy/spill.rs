//! What of a request's body is kept in a file, behind what is kept in memory. A worker waits for no disk:
//! parts are gathered and written by another thread, one piece at a time, and read back so.
//!
//! A disk that is full, or too slow, costs the request nothing but its retry.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Sleep;

use crate::base::spool::{Share, Spool, SpoolError, Spools};
use crate::base::tasks::Blocking;
use crate::model::ids::Label;
use crate::telemetry::meter::Meter;

use super::part::Part;

/// Where bodies go that are too large for memory.
pub(super) struct Spilling {
    pub(super) spools: Arc<Spools>,
    /// What is kept of one body in memory.
    pub(super) memory: u64,
    pub(super) meter: Rc<Meter>,
    pub(super) pool: Label,
}

/// What is kept of one body in a file. Read from its start by one reader after the other.
pub(super) struct Spill {
    spool: Arc<Spool>,
    /// Bytes in the file.
    written: u64,
    /// Those behind them.
    buffer: Vec<u8>,
    /// What comes last.
    trailers: Option<HeaderMap>,
    /// What the reader of now has had of all bytes, and whether it has had the trailers.
    position: u64,
    has_trailers: bool,
    work: Option<Work>,
    patience: Option<Pin<Box<Sleep>>>,
    /// Counts the file.
    meter: Rc<Meter>,
    pool: Label,
}

/// What another thread is at.
enum Work {
    Write(Blocking<Result<(), SpoolError>>, u64),
    Read(Blocking<Result<Bytes, SpoolError>>, u64),
}

impl Spilling {
    /// Begins to keep a body. Counts where there is no room for another one.
    pub(super) fn begin(&self, share: &Arc<Share>) -> Option<Spill> {
        match self.spools.begin(share) {
            Ok(spool) => {
                self.meter.spilled(&self.pool, "kept");
                self.meter.spill_opened(&self.pool);
                Some(Spill {
                    spool,
                    written: 0,
                    buffer: Vec::new(),
                    trailers: None,
                    position: 0,
                    has_trailers: true,
                    work: None,
                    patience: None,
                    meter: Rc::clone(&self.meter),
                    pool: self.pool.clone(),
                })
            }
            Err(error) => {
                self.meter.spilled(&self.pool, reason(&error));
                None
            }
        }
    }
}

impl Spill {
    /// Bytes that a body may wait with for the disk.
    pub(super) const MEMORY: u64 = 2 * PIECE as u64;

    /// Keeps a part that the reader of now has had. To be asked for room before.
    pub(super) fn push(&mut self, part: &Part) {
        match part {
            Part::Data(data) => self.buffer.extend_from_slice(data),
            Part::Trailers(trailers) => self.trailers = Some(trailers.clone()),
        }
        self.position = self.size();
        self.has_trailers = true;
    }

    /// Bytes that are kept.
    pub(super) fn size(&self) -> u64 {
        self.written + self.in_work() + self.buffer.len() as u64
    }

    /// Bytes that the reader of now has not had.
    pub(super) fn left(&self) -> u64 {
        self.size() - self.position
    }

    /// Whether it has had all.
    pub(super) fn is_read(&self) -> bool {
        self.left() == 0 && (self.has_trailers || self.trailers.is_none())
    }

    /// Another reader begins.
    pub(super) fn rewind(&mut self) {
        self.position = 0;
        self.has_trailers = false;
    }

    /// The next part for the reader of now; `None` where it has had all.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Part, SpoolError>>> {
        while self.left() > 0 {
            if self.position >= self.written && self.in_work() == 0 {
                let from = usize::try_from(self.position - self.written).unwrap_or(usize::MAX);
                let rest = self.buffer.get(from..).unwrap_or_default();
                let rest = Bytes::copy_from_slice(rest);
                self.position = self.size();
                return Poll::Ready(Some(Ok(Part::Data(rest))));
            }
            if self.work.is_none() {
                let (spool, at) = (Arc::clone(&self.spool), self.position);
                let size = (self.written - at).min(PIECE as u64) as usize;
                self.work = Some(Work::Read(Blocking::start(move || spool.read(at, size)), at));
            }
            match ready!(self.poll_work(context)) {
                Ok(Some((at, bytes))) if at == self.position => {
                    self.position += bytes.len() as u64;
                    return Poll::Ready(Some(Ok(Part::Data(bytes))));
                }
                Ok(_) => {} // it was written, or read for another reader
                Err(error) => return Poll::Ready(Some(Err(self.failed(error)))),
            }
        }
        match self.trailers.clone().filter(|_| !self.has_trailers) {
            Some(trailers) => {
                self.has_trailers = true;
                Poll::Ready(Some(Ok(Part::Trailers(trailers))))
            }
            None => Poll::Ready(None),
        }
    }

    /// Ready where another part can be kept.
    ///
    /// # Errors
    /// When what was pushed could not be written.
    pub(super) fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpoolError>> {
        while self.buffer.len() >= PIECE {
            if self.work.is_none() {
                let (spool, bytes) = (Arc::clone(&self.spool), std::mem::take(&mut self.buffer));
                let size = bytes.len() as u64;
                let write = move || spool.append(&bytes);
                self.work = Some(Work::Write(Blocking::start(write), size));
            } else if let Err(error) = ready!(self.poll_work(context)) {
                return Poll::Ready(Err(self.failed(error)));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready where nothing is being written any more.
    ///
    /// # Errors
    /// When what was pushed could not be written.
    pub(super) fn poll_written(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SpoolError>> {
        while self.in_work() > 0 {
            if let Err(error) = ready!(self.poll_work(context)) {
                return Poll::Ready(Err(self.failed(error)));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that are being written.
    fn in_work(&self) -> u64 {
        match self.work {
            Some(Work::Write(_, size)) => size,
            _ => 0,
        }
    }

    /// What the other thread has come to: bytes from a place on, or that it has written.
    fn poll_work(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<(u64, Bytes)>, SpoolError>> {
        let lost = || Err(SpoolError::Io(std::io::Error::other("it was not done")));
        let polled = match &mut self.work {
            None => return Poll::Ready(Ok(None)),
            Some(Work::Write(writing, size)) => {
                let polled = pin!(writing.ended()).poll(context);
                polled.map(|done| done.unwrap_or_else(lost).map(|()| (*size, None)))
            }
            Some(Work::Read(reading, at)) => {
                let (at, polled) = (*at, pin!(reading.ended()).poll(context));
                let lost = || Err(SpoolError::Io(std::io::Error::other("it was not done")));
                polled.map(|done| done.unwrap_or_else(lost).map(|bytes| (0, Some((at, bytes)))))
            }
        };
        let Poll::Ready(done) = polled else {
            let patience =
                self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
            ready!(patience.as_mut().poll(context));
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Poll::Ready(Err(late.into()));
        };
        (self.work, self.patience) = (None, None);
        Poll::Ready(done.map(|(written, read)| {
            self.written += written;
            read
        }))
    }

    fn failed(&self, error: SpoolError) -> SpoolError {
        self.meter.spilled(&self.pool, reason(&error));
        if let SpoolError::Io(error) = &error
            && self.spool.may_tell()
        {
            let pool = &self.pool.name;
            tracing::warn!(%pool, %error, "a body could not be kept in a file, or read from it, for a retry");
        }
        error
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.meter.spill_closed(&self.pool);
    }
}

impl fmt::Debug for Spilling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spilling").field("memory", &self.memory).finish_non_exhaustive()
    }
}

/// Stable words for the metric. Never rename one.
fn reason(error: &SpoolError) -> &'static str {
    match error {
        SpoolError::Files(_) => "files",
        SpoolError::Space(_) => "space",
        SpoolError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => "slow",
        _ => "failed",
    }
}

/// 128 KiB: as much as a thread's way there and back is worth.
const PIECE: usize = 128 << 10;
/// 1 s: an upload that waits longer for a disk fares better without its copy.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use tokio::sync::mpsc;

    use super::*;

    fn spilling(folder: &std::path::Path, files: usize, space: u64) -> Spilling {
        let (deltas, _) = mpsc::channel(1);
        let meter = Rc::new(Meter::new(0, deltas));
        let pool = Label { name: "app".into(), slot: 0 };
        Spilling {
            spools: Spools::new(folder.to_owned(), files, 4 * space),
            memory: 0,
            meter,
            pool,
        }
    }

    /// All that a reader gets.
    async fn read(spill: &mut Spill) -> (Vec<u8>, bool) {
        let (mut bytes, mut trailers) = (Vec::new(), false);
        while let Some(part) = poll_fn(|context| spill.poll_next(context)).await {
            match part.unwrap() {
                Part::Data(data) => bytes.extend_from_slice(&data),
                Part::Trailers(_) => trailers = true,
            }
        }
        assert!(spill.is_read() && spill.left() == 0);
        (bytes, trailers)
    }

    // No time passes while the disk is written to and read from.
    #[tokio::test(start_paused = true)]
    async fn every_reader_gets_all_of_it_in_parts_of_any_size() {
        let folder = tempfile::tempdir().unwrap();
        for size in [1_000, PIECE - 1, PIECE, 3 * PIECE + 17] {
            let spilling = spilling(folder.path(), 1, 10 << 20);
            let mut spill = spilling.begin(&Arc::default()).unwrap();
            let body: Vec<u8> = (0..5 * PIECE + 99).map(|at| (at % 251) as u8).collect();
            for part in body.chunks(size) {
                poll_fn(|context| spill.poll_room(context)).await.unwrap();
                spill.push(&Part::Data(Bytes::copy_from_slice(part)));
                assert!(spill.is_read(), "who brings it has had it");
                assert!(spill.buffer.len() < PIECE + size);
            }
            spill.push(&Part::Trailers(HeaderMap::new()));
            assert_eq!(spill.size(), body.len() as u64);

            for _ in 0..2 {
                spill.rewind();
                assert_eq!(spill.left(), body.len() as u64);
                assert!(read(&mut spill).await == (body.clone(), true), "{size}");
            }
            // One that goes after a part of it.
            spill.rewind();
            drop(poll_fn(|context| spill.poll_next(context)).await);
            spill.rewind();
            assert!(read(&mut spill).await == (body, true), "{size}");
            drop(spill);
            assert_eq!(spilling.spools.in_use(), (0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_disk_that_does_not_answer_goes_on_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = spilling(folder.path(), 1, 10 << 20).begin(&Arc::default()).unwrap();
        spill.push(&Part::Data(vec![0; 2 * PIECE].into()));
        let (end, hangs) = std::sync::mpsc::channel::<()>();
        let write = move || {
            assert!(hangs.recv().is_err(), "it hangs until its test is over");
            Ok(())
        };
        spill.work = Some(Work::Write(Blocking::start(write), PIECE as u64));

        let began = tokio::time::Instant::now();
        assert!(spill.poll_room(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::time::advance(PATIENCE).await;
        let error = poll_fn(|context| spill.poll_room(context)).await.unwrap_err();

        assert_eq!((reason(&error), began.elapsed()), ("slow", PATIENCE));
        drop(end);
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_room_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let spilling = spilling(folder.path(), 1, PIECE as u64);
        let mut spill = spilling.begin(&Arc::default()).unwrap();
        assert!(spilling.begin(&Arc::default()).is_none());

        let part = Part::Data(vec![0; PIECE].into());
        let mut kept = 0;
        let error = loop {
            match poll_fn(|context| spill.poll_room(context)).await {
                Ok(()) => spill.push(&part),
                Err(error) => break error,
            }
            kept += 1;
        };
        assert!(matches!(error, SpoolError::Space(_)) && kept <= 3, "{error} after {kept}");
    }
}
