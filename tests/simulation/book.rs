//! What is written down of a run: counts by tenths of a second, and a sum over all that happened and when, by which two runs are
//! told apart.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::Instant;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A user wants something.
    Comes,
    /// A user that came at that moment has it.
    Served(Instant),
    /// A user has given up for good.
    Fails,
    /// A request came to the gateway: the first of a user, or another one.
    Asks,
    /// The gateway has sent it to the endpoint with this number.
    Sends(u64),
    /// What it has sent has failed there.
    FailsAt(u64),
    /// The gateway has refused one that came at that moment: the pool was full, the breaker open, or there was no endpoint.
    Refuses(Instant),
    /// An endpoint was ejected.
    Ejects(u64),
    /// The pool is bounded, as it is overrun.
    Binds,
}

/// A tenth of a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Users that came.
    pub(crate) came: u32,
    /// Those of them that were served, whenever.
    pub(crate) content: u32,
    /// Users that were served meanwhile.
    pub(crate) served: u32,
    /// Users that have given up meanwhile.
    pub(crate) failed: u32,
    /// Requests that came to the gateway.
    pub(crate) asked: u32,
    /// Requests that it has sent to endpoints.
    pub(crate) sent: u32,
    /// Requests that it has refused by itself.
    pub(crate) refused: u32,
    /// Endpoints that were ejected.
    pub(crate) ejected: u32,
    /// Times that the pool was bounded.
    pub(crate) bounds: u32,
    /// How long those waited that were served meanwhile, in µs.
    pub(crate) waits: Vec<u32>,
    /// How long requests waited that were refused meanwhile, in µs.
    pub(crate) refusals: Vec<u32>,
}

/// All that was written down.
pub(crate) struct Book {
    began: Instant,
    windows: RefCell<Vec<Window>>,
    trace: Cell<u64>,
}

impl Book {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), windows: RefCell::default(), trace: Cell::new(BASIS) }
    }

    /// Writes down what happens now.
    pub(crate) fn note(&self, event: Event) {
        let passed = Instant::now().saturating_duration_since(self.began);
        let (kind, what) = match event {
            Event::Comes => (1, 0),
            Event::Served(since) => (2, micros(since.saturating_duration_since(self.began))),
            Event::Fails => (3, 0),
            Event::Asks => (4, 0),
            Event::Sends(endpoint) => (5, endpoint),
            Event::FailsAt(endpoint) => (6, endpoint),
            Event::Refuses(since) => (7, micros(since.saturating_duration_since(self.began))),
            Event::Ejects(endpoint) => (8, endpoint),
            Event::Binds => (9, 0),
        };
        [micros(passed), kind, what].into_iter().for_each(|word| self.add(word));
        if let Event::Served(since) = event {
            let came = since.saturating_duration_since(self.began);
            self.at(came, |window| window.content += 1);
        }
        self.at(passed, |window| match event {
            Event::Comes => window.came += 1,
            Event::Served(since) => {
                window.served += 1;
                window.waits.push(waited(since));
            }
            Event::Fails => window.failed += 1,
            Event::Asks => window.asked += 1,
            Event::Sends(_) => window.sent += 1,
            Event::FailsAt(_) => {}
            Event::Refuses(since) => {
                window.refused += 1;
                window.refusals.push(waited(since));
            }
            Event::Ejects(_) => window.ejected += 1,
            Event::Binds => window.bounds += 1,
        });
    }

    /// The windows, and the sum over all events.
    pub(crate) fn close(&self) -> (Vec<Window>, u64) {
        (self.windows.take(), self.trace.get())
    }

    fn at(&self, passed: Duration, change: impl FnOnce(&mut Window)) {
        let place = usize::try_from(passed.as_millis() / WINDOW.as_millis()).unwrap_or(usize::MAX);
        let mut windows = self.windows.borrow_mut();
        if windows.len() <= place {
            windows.resize_with(place + 1, Window::default);
        }
        change(&mut windows[place]);
    }

    /// FNV-1a, by words.
    fn add(&self, word: u64) {
        self.trace.set((self.trace.get() ^ word).wrapping_mul(PRIME));
    }
}

/// In µs, until now.
fn waited(since: Instant) -> u32 {
    u32::try_from(micros(since.elapsed())).unwrap_or(u32::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// 100 ms.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;
