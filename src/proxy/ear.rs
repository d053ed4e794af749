//! How a connection hears that the process or its listener is about to end, or that it has served its
//! time.

use std::task::Poll;
use std::time::Duration;

use super::activity::Activity;
use super::connection::worn;
use super::driven::Protocol;
use super::seats::Seat;
use super::worker::{Phase, Worker};

/// Waits for the first word of a client, at most until a moment after the listeners have closed: a
/// connection that stays silent has nothing under way that a drain would have to wait for.
pub(super) async fn until_draining<F: Future>(
    worker: &Worker,
    seat: &Seat,
    first: F,
) -> Option<F::Output> {
    let leaving = async {
        std::future::poll_fn(|context| {
            // Its task hears of a new phase by its seat.
            seat.listen(context);
            if worker.phase_at(seat.listener()) >= Phase::Draining {
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

/// Whether the connection shall end once nothing is under way. An HTTP/2 client is told early, since
/// it can be told without losing a request (`GOAWAY`); an idle HTTP/1 connection stays open until the
/// listeners close, since a request may be on its way. Its task is woken at a new phase where it listens
/// by its seat.
pub(super) fn hears(worker: &Worker, seat: &Seat, protocol: Protocol, activity: &Activity) -> bool {
    let phase = worker.phase_at(seat.listener());
    match protocol {
        Protocol::Http1 => phase >= Phase::Draining,
        Protocol::Http2 => phase >= Phase::Closing || worn(worker, activity).is_some(),
    }
}

/// 500 ms: the request of a connection that was accepted last may still be on its way.
pub(super) const FIRST_WORD: Duration = Duration::from_millis(500);
