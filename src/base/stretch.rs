//! Long work that lets other threads have its core in between.

use std::cell::Cell;
use std::io;
use std::thread::yield_now;
use std::time::Duration;

use tokio::time::Instant;

/// A stretch of work that grows with what is configured, and gives way twice in a millisecond.
///
/// A worker that is woken while such work has its core waits until the system takes the core back,
/// however low the work's priority is: three or four milliseconds on a kernel with ticks of 4 ms,
/// as it lets whoever runs finish its slice. Work that offers its core in between hands it over at
/// once, and hardly loses anything where nobody waits for it.
#[derive(Debug)]
pub struct Stretch {
    since: Cell<Instant>,
    steps: Cell<u32>,
}

impl Stretch {
    /// Begins now.
    pub fn begin() -> Self {
        Self { since: Cell::new(Instant::now()), steps: Cell::new(0) }
    }

    /// One small step of it is done, of some microseconds at the most.
    pub fn step(&self) {
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        if steps.is_multiple_of(BETWEEN_LOOKS) {
            self.pause();
        }
    }

    /// A larger step of it is done.
    pub fn pause(&self) {
        if self.since.get().elapsed() >= LONGEST {
            yield_now();
            self.since.set(Instant::now());
        }
    }
}

/// A long text that is written in one stretch of work, by somebody who writes a few words at a time.
#[derive(Debug)]
pub struct LongText {
    bytes: Vec<u8>,
    stretch: Stretch,
}

impl LongText {
    /// Nothing yet.
    pub fn begin() -> Self {
        Self { bytes: Vec::new(), stretch: Stretch::begin() }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl io::Write for LongText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stretch.step();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// 0.5 ms: as long as a worker may find its core taken. Shorter ones would leave less to such work
/// where workers take all they can get: what it gives away is a whole slice each time.
const LONGEST: Duration = Duration::from_micros(500);
/// 32 small steps between two looks at the clock, which take as long as a step.
const BETWEEN_LOOKS: u32 = 32;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stretch_begins_anew_once_it_has_given_way() {
        let stretch = Stretch::begin();
        let began = stretch.since.get();

        stretch.pause();
        assert_eq!(stretch.since.get(), began, "it has only just begun");

        tokio::time::advance(LONGEST).await;
        for _ in 1..BETWEEN_LOOKS {
            stretch.step();
            assert_eq!(stretch.since.get(), began, "not every small step looks at the clock");
        }
        stretch.step();
        assert_eq!(stretch.since.get(), began + LONGEST);
    }

    #[test]
    fn a_long_text_holds_all_that_was_written() {
        let mut text = LongText::begin();
        for number in 0..1000 {
            write!(text, "{number} ").unwrap();
        }

        let told = String::from_utf8(text.into_bytes()).unwrap();

        assert!(told.split_whitespace().map(str::parse).eq((0..1000).map(Ok)));
    }
}
