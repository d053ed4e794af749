//! The threads that serve connections: one runtime and one set of sockets each, nothing shared.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::base::tasks::run_here;

/// What a worker does until it has drained. Made on the worker's own thread, so that nothing in it has
/// to be `Send`. Its value is the number of connections that it cut off.
pub type Body = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = usize>>> + Send>;

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    running: usize,
    cut_off: usize,
    endings: mpsc::UnboundedReceiver<Ending>,
}

/// A worker ended although nobody asked it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "worker {number} ended by itself; this is a bug, please report it with the log lines above"
)]
pub struct WorkerLost {
    /// Its number, from 0.
    pub number: usize,
}

/// How one worker ended. `cut_off` is `None` where it panicked.
#[derive(Debug)]
struct Ending {
    number: usize,
    cut_off: Option<usize>,
}

impl Workers {
    /// Starts one thread per body.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(bodies: Vec<Body>) -> io::Result<Self> {
        let (report, endings) = mpsc::unbounded_channel();
        let mut running = 0;
        for (number, body) in bodies.into_iter().enumerate() {
            let last_word = LastWord { number, cut_off: None, report: report.clone() };
            let (made, is_made) = std::sync::mpsc::channel();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || run(body, last_word, &made))?;
            is_made.recv().map_err(io::Error::other)??;
            running += 1;
        }
        Ok(Self { running, cut_off: 0, endings })
    }

    /// Waits until a worker ends; before a drain that is a fault, and a process that serves with
    /// some of its workers only would refuse its share of the connections.
    pub async fn lost(&mut self) -> WorkerLost {
        loop {
            if let Some(ending) = self.endings.recv().await {
                self.count(&ending);
                return WorkerLost { number: ending.number };
            }
            // All have been counted before: nothing is left that could end.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for all workers, which have been asked to drain, at most `limit`. Returns how many
    /// connections were cut off, or the number of workers that did not end.
    ///
    /// # Errors
    /// When a worker panicked or has not ended in time.
    pub async fn join(mut self, limit: Duration) -> Result<usize, WorkersLeft> {
        let all = async {
            let mut panicked = 0;
            while self.running > 0
                && let Some(ending) = self.endings.recv().await
            {
                panicked += usize::from(ending.cut_off.is_none());
                self.count(&ending);
            }
            panicked
        };
        match timeout(limit, all).await {
            Ok(0) => Ok(self.cut_off),
            Ok(panicked) => Err(WorkersLeft { panicked, running: 0 }),
            Err(_) => Err(WorkersLeft { panicked: 0, running: self.running }),
        }
    }

    fn count(&mut self, ending: &Ending) {
        self.running = self.running.saturating_sub(1);
        self.cut_off += ending.cut_off.unwrap_or(0);
    }
}

/// A worker's thread: makes the runtime, which stays on it, tells whether it could, and works.
fn run(body: Body, last_word: LastWord, made: &Sender<io::Result<()>>) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().event_interval(LOOK_INTERVAL);
    let runtime: LocalRuntime = match runtime.build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            drop(made.send(Err(error)));
            return;
        }
    };
    // Who started it waits for this word.
    drop(made.send(Ok(())));
    last_word.after(|| run_here(&runtime, body));
}

/// Looks at the sockets after so many tasks, also where more of them are ready: in a crowd of new
/// connections the requests of the others would else wait for all.
const LOOK_INTERVAL: u32 = 61;

/// Workers that did not drain as they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{panicked} workers panicked and {running} did not end in time")]
pub struct WorkersLeft {
    /// How many panicked.
    pub panicked: usize,
    /// How many still run.
    pub running: usize,
}

/// Reports a worker's end, also when its thread unwinds.
struct LastWord {
    number: usize,
    cut_off: Option<usize>,
    report: mpsc::UnboundedSender<Ending>,
}

impl LastWord {
    fn after(mut self, work: impl FnOnce() -> usize) {
        self.cut_off = Some(work());
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        let ending = Ending { number: self.number, cut_off: self.cut_off };
        // Nobody listens where the process is ending anyway.
        drop(self.report.send(ending));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::watch;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn until_asked(asked: &watch::Sender<bool>, cut_off: usize) -> Body {
        let mut asked = asked.subscribe();
        Box::new(move || {
            Box::pin(async move {
                drop(asked.wait_for(|asked| *asked).await);
                cut_off
            })
        })
    }

    #[tokio::test]
    async fn workers_run_until_asked_and_tell_what_they_cut_off() {
        let asked = watch::Sender::new(false);
        let workers = Workers::start(vec![until_asked(&asked, 1), until_asked(&asked, 2)]).unwrap();

        asked.send_replace(true);

        assert_eq!(workers.join(LIMIT).await, Ok(3));
    }

    #[tokio::test]
    async fn a_worker_that_panics_is_noticed() {
        let asked = watch::Sender::new(false);
        let panics: Body = Box::new(|| Box::pin(async { panic!("on purpose") }));
        let mut workers = Workers::start(vec![until_asked(&asked, 0), panics]).unwrap();

        assert_eq!(workers.lost().await, WorkerLost { number: 1 });
        asked.send_replace(true);
    }

    #[tokio::test]
    async fn a_worker_that_does_not_end_is_left_at_the_deadline() {
        let asked = watch::Sender::new(false);
        let workers = Workers::start(vec![until_asked(&asked, 0)]).unwrap();

        let left = workers.join(Duration::from_millis(20)).await;

        assert_eq!(left, Err(WorkersLeft { panicked: 0, running: 1 }));
        asked.send_replace(true);
    }
}
