//! How long the gateway and the suite wait for the processor, and whether the gateway is the reason: what it causes
//! itself is no excuse for it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Looks all the time, until it is dropped.
pub(crate) struct Lag {
    worst: Arc<Mutex<Late>>,
    _stop: Sender<()>,
}

/// The longest that a thread of the gateway or of the suite has waited within a look of 250 ms, or was late after it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Late {
    /// While others had the machine.
    pub(crate) by_others: Duration,
    /// While the gateway was busy for half of the time or more.
    pub(crate) by_gateway: Duration,
}

impl Lag {
    /// The process of the gateway is `gateway`; another one may take its place.
    pub(crate) fn start(gateway: Arc<AtomicU32>) -> Self {
        let worst = Arc::new(Mutex::new(Late::default()));
        let noted = Arc::clone(&worst);
        let (stop, stopped) = channel::<()>();
        thread::spawn(move || {
            let look = || {
                let mut all = threads(gateway.load(Ordering::Relaxed));
                // Users and endpoints; what they run is no work of the gateway.
                let own = threads(std::process::id()).into_iter();
                all.extend(own.map(|(thread, [_, waited])| (thread, [Duration::ZERO, waited])));
                all
            };
            let (mut began, mut before) = (Instant::now(), look());
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let (took, now) = (began.elapsed(), look());
                began = Instant::now();
                let since = now.iter().map(|(thread, now)| {
                    let before = before.get(thread).copied().unwrap_or_default();
                    [now[0].saturating_sub(before[0]), now[1].saturating_sub(before[1])]
                });
                let since: Vec<[Duration; 2]> = since.collect();
                let ran = since.iter().map(|[ran, _]| *ran).sum::<Duration>();
                let waited = since.iter().map(|[_, waited]| *waited).max().unwrap_or_default();
                let mut worst = noted.lock().unwrap_or_else(PoisonError::into_inner);
                let is_gateway = ran * 2 >= took;
                let late = if is_gateway { &mut worst.by_gateway } else { &mut worst.by_others };
                *late = took.saturating_sub(LOOK).max(waited).max(*late);
                before = now;
            }
        });
        Self { worst, _stop: stop }
    }

    pub(crate) fn worst(&self) -> Late {
        *self.worst.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long each thread of a process has run, and has waited to run.
fn threads(process: u32) -> HashMap<OsString, [Duration; 2]> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let times = threads.map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let mut times = text.split(' ').map(|word| word.parse().map(Duration::from_nanos));
        let mut next = || times.next().and_then(Result::ok).unwrap_or_default();
        (thread.file_name(), [next(), next()])
    });
    times.collect()
}

const LOOK: Duration = Duration::from_millis(250);
