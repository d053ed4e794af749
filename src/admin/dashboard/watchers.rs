//! Who follows the events: each gets a picture at once and then every second, from one loop that
//! does nothing while nobody watches. A reader that does not keep up is dropped.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame};
use hyper::body::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::admin::State;
use crate::base::tasks::{Stop, in_background};
use crate::telemetry::metrics::{ADMIN_WATCHERS, ADMIN_WATCHERS_REFUSED};

use super::picture::{Ask, Painter};

/// Where watchers come in. Clones are the same place.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Watchers {
    arrivals: mpsc::Sender<Watcher>,
    room: Arc<Semaphore>,
}

/// What those who came in wait for.
#[derive(Debug)]
pub(in crate::admin) struct Arrivals(mpsc::Receiver<Watcher>);

/// Why one cannot watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Refused {
    /// As many watch as may.
    Full,
    /// The gateway is ending.
    Ending,
}

/// What a watcher reads: one event a frame, until the sender is gone. Its place is free as soon as it
/// reads no more, however long the next picture is off.
#[derive(Debug)]
pub(in crate::admin) struct Stream {
    events: mpsc::Receiver<Bytes>,
    _room: OwnedSemaphorePermit,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[derive(Debug)]
struct Watcher {
    ask: Ask,
    every: Duration,
    /// When the next picture is due.
    due: Instant,
    /// When the stream ends, so that its connection need not be cut: the reader opens another.
    until: Instant,
    /// How many points the charts had that were sent last.
    points: Option<u64>,
    stream: mpsc::Sender<Bytes>,
}

impl Watchers {
    /// Room for [`WATCHERS`].
    pub(in crate::admin) fn new() -> (Self, Arrivals) {
        let (arrivals, arrived) = mpsc::channel(WATCHERS);
        (Self { arrivals, room: Arc::new(Semaphore::new(WATCHERS)) }, Arrivals(arrived))
    }

    /// Lets one watch: a picture at once, then one each `every`.
    pub(in crate::admin) fn watch(&self, ask: Ask, every: Duration) -> Result<Stream, Refused> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Refused::Full)?;
        let (stream, events) = mpsc::channel(UNREAD);
        let due = Instant::now();
        let until = due + LONGEST;
        let watcher = Watcher { ask, every, due, until, points: None, stream };
        self.arrivals.try_send(watcher).map_err(|error| match error {
            // While a picture is made, many may have come and gone.
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Closed(_) => Refused::Ending,
        })?;
        Ok(Stream { events, _room: room })
    }
}

/// Serves those who watch until `stop`, which ends their streams.
pub(in crate::admin) async fn run(state: State, arrivals: Arrivals, mut stop: Stop) {
    let Arrivals(mut arrivals) = arrivals;
    let mut watching: Vec<Watcher> = Vec::new();
    let mut rested = Instant::now();
    loop {
        let next = watching.iter().map(|watcher| watcher.due).min();
        tokio::select! {
            () = stop.requested() => return,
            arrived = arrivals.recv() => match arrived {
                Some(watcher) => watching.push(watcher),
                None => return,
            },
            () = sleep_until(next.unwrap_or(rested).max(rested)), if next.is_some() => {}
        }
        let now = Instant::now();
        if now < rested {
            continue;
        }
        watching.retain(|watcher| !watcher.stream.is_closed() && now < watcher.until);
        watching = paint(&state, watching, now).await;
        state.metrics.set(&ADMIN_WATCHERS, &[], watching.len() as f64);
        // Pictures of very many pools take long: of one thread's time they get a fifth.
        rested = Instant::now() + now.elapsed() * 4;
    }
}

/// Sends pictures to those that are due. Those who stay come back.
async fn paint(state: &State, mut watching: Vec<Watcher>, now: Instant) -> Vec<Watcher> {
    let points = state.metrics.recent(|recent| recent.points());
    let mut asks: HashMap<Ask, Bytes> = HashMap::new();
    for watcher in watching.iter_mut().filter(|watcher| watcher.due <= now) {
        watcher.ask.tenants.charts = watcher.points != Some(points);
        asks.insert(watcher.ask.clone(), Bytes::new());
    }
    if asks.is_empty() {
        return watching;
    }
    let of = state.clone();
    // It reads all tenants and pools: on a thread that may be busy for a while.
    let painted = in_background(move || {
        let painter = Painter::new(&of);
        for (ask, event) in &mut asks {
            *event = event_of(&painter, ask);
        }
        asks
    });
    let Ok(events) = painted.await else {
        tracing::error!("the dashboard's picture failed; this is a bug, please report it");
        return Vec::new();
    };
    watching.retain_mut(|watcher| match events.get(&watcher.ask) {
        Some(event) if watcher.due <= now => {
            watcher.points = Some(points);
            watcher.due = now + watcher.every;
            let sent = watcher.stream.try_send(event.clone());
            if matches!(sent, Err(TrySendError::Full(_))) {
                state.metrics.add(&ADMIN_WATCHERS_REFUSED, &["slow"], 1);
            }
            sent.is_ok()
        }
        _ => true,
    });
    watching
}

/// One event of the stream (text/event-stream). JSON has no line breaks of its own.
fn event_of(painter: &Painter<'_>, ask: &Ask) -> Bytes {
    let mut event = b"retry: 2000\nevent: picture\ndata: ".to_vec();
    if let Err(error) = serde_json::to_writer(&mut event, &painter.picture(ask)) {
        tracing::error!(%error, "the dashboard's picture cannot be written; this is a bug");
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// 32: an operations team with its screens, a quarter of the connections.
pub(in crate::admin) const WATCHERS: usize = 32;

/// 9 minutes: below the age that connections may have.
const LONGEST: Duration = Duration::from_secs(540);

/// Pictures that may wait for a reader, beside what the sockets hold: some seconds.
const UNREAD: usize = 8;
