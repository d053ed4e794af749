//! How a connection hears that the process or its listener is about to end, or that it has served its
//! time.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::activity::Activity;
use super::connection::{Protocol, worn};
use super::worker::{Phase, Worker};

/// Waits for the first word of a client, at most until a moment after the listeners have closed: a
/// connection that stays silent has nothing under way that a drain would have to wait for.
pub(super) async fn until_draining<F: Future>(
    worker: &Rc<Worker>,
    listener: usize,
    first: F,
) -> Option<F::Output> {
    let leaving = async {
        let mut ear = Ear::new(worker, listener);
        std::future::poll_fn(|context| {
            ear.listen(context);
            if worker.phase_at(listener) >= Phase::Draining {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        tokio::time::sleep(FIRST_WORD).await;
    };
    tokio::select! {
        biased;
        first = first => Some(first),
        () = leaving => None,
    }
}

/// Hears of the process's phase: the connection's task is woken when it changes.
pub(super) struct Ear<'w> {
    worker: &'w Worker,
    listener: usize,
    number: Option<u64>,
}

impl<'w> Ear<'w> {
    /// Of a connection that came to this listener.
    pub(super) fn new(worker: &'w Worker, listener: usize) -> Self {
        Self { worker, listener, number: None }
    }

    /// Has the connection's task woken when the phase changes, from the first call on.
    fn listen(&mut self, context: &Context<'_>) {
        if self.number.is_none() {
            self.number = Some(self.worker.remember(context.waker()));
        }
    }

    /// Whether the connection shall end once nothing is under way. An HTTP/2 client is told early,
    /// since it can be told without losing a request (`GOAWAY`); an idle HTTP/1 connection stays
    /// open until the listeners close, since a request may be on its way.
    pub(super) fn hears(
        &mut self,
        protocol: Protocol,
        activity: &Activity,
        context: &mut Context<'_>,
    ) -> bool {
        self.listen(context);
        let phase = self.worker.phase_at(self.listener);
        match protocol {
            Protocol::Http1 => phase >= Phase::Draining,
            Protocol::Http2 => phase >= Phase::Closing || worn(self.worker, activity).is_some(),
        }
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.worker.forget(number);
        }
    }
}

/// 500 ms: the request of a connection that was accepted last may still be on its way.
pub(super) const FIRST_WORD: Duration = Duration::from_millis(500);
