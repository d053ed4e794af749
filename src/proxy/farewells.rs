//! Connections that were waited for in vain end one after the other. Thousands that have begun together
//! run out of patience together, and whose clients come back at once: each costs as much as several
//! requests, and those of others would wait behind all of them. Nobody waits for such an end, so that it may
//! come seconds late; one that has something to say meanwhile is served. Clients take their turns:
//! whoever has thousands of such connections waits for itself.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::base::network::owner;

use super::by_client::ByClient;
use super::worker::Worker;

/// The connections of a worker that are to end.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    waiting: RefCell<ByClient<Waiting>>,
    /// So many more may end before the next tick.
    left: Cell<usize>,
    /// The first one came.
    begun: Notify,
}

/// The place of one that waits for its end; given up by dropping it.
#[derive(Debug)]
pub(super) struct Place(Rc<Cell<bool>>);

#[derive(Debug)]
struct Waiting {
    called: Rc<Cell<bool>>,
    task: Waker,
}

impl Farewells {
    /// Ready when the connection may end. It keeps its `place` until then.
    pub(super) fn poll(
        &self,
        place: &mut Option<Place>,
        client: impl FnOnce() -> Option<IpAddr>,
        context: &Context<'_>,
    ) -> Poll<()> {
        if let Some(Place(called)) = place {
            if !called.get() {
                return Poll::Pending;
            }
            *place = None;
            return Poll::Ready(());
        }
        self.begun.notify_one();
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            return Poll::Ready(());
        }
        let called = Rc::new(Cell::new(false));
        *place = Some(Place(Rc::clone(&called)));
        let waiting = Waiting { called, task: context.waker().clone() };
        self.waiting.borrow_mut().push(client().map_or(0, owner), waiting);
        Poll::Pending
    }

    /// Has the next ones end. Tells whether any have waited.
    fn tick(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let mut left = (waiting.len() / TICKS).clamp(FEW, MANY);
        let mut any = false;
        while left > 0
            && let Some(next) = waiting.pop()
        {
            any = true;
            // Nobody else has it where its connection has ended, or goes on.
            if Rc::strong_count(&next.called) > 1 {
                next.called.set(true);
                next.task.wake();
                left -= 1;
            }
        }
        self.left.set(left);
        any
    }
}

/// Lets a worker's connections end, for as long as it runs.
pub(super) async fn usher(worker: Rc<Worker>) {
    loop {
        worker.farewells.begun.notified().await;
        loop {
            sleep(TICK).await;
            if !worker.farewells.tick() {
                break;
            }
        }
    }
}

const TICK: Duration = Duration::from_millis(1);
/// 2 each millisecond, with whose coming back that is about an eighth of a core.
const FEW: usize = 2;
/// 64: so many are ended in the time of a few slow requests.
const MANY: usize = 64;
/// 2,500: where many wait it takes some seconds, however many they are.
const TICKS: usize = 2_500;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    type Places = Vec<Option<Place>>;

    fn ends(farewells: &Farewells, place: &mut Option<Place>, client: u8) -> bool {
        let client = || Some(Ipv4Addr::new(192, 0, 2, client).into());
        farewells.poll(place, client, &Context::from_waker(Waker::noop())).is_ready()
    }

    /// So many that wait, after those that have ended at once.
    fn crowd(farewells: &Farewells, client: u8, size: usize) -> Places {
        let mut places: Places = (0..size).map(|_| None).collect();
        places.retain_mut(|place| !ends(farewells, place, client));
        places
    }

    #[test]
    fn one_that_comes_alone_ends_with_the_next_tick_at_the_latest() {
        let (farewells, mut place) = (Farewells::default(), None);
        assert!(!ends(&farewells, &mut place, 1));
        assert!(farewells.tick());
        assert!(ends(&farewells, &mut place, 1));
        assert!(place.is_none() && ends(&farewells, &mut place, 1), "one more is left of the tick");
        assert!(!ends(&farewells, &mut place, 1));
        assert!(farewells.tick());
        assert!(!farewells.tick(), "nobody waits");
    }

    #[test]
    fn a_crowd_ends_a_few_at_a_time_and_the_more_at_once_the_more_they_are() {
        let farewells = Farewells::default();
        let mut places = crowd(&farewells, 1, 10_000);
        let mut ended = Vec::new();
        while farewells.tick() {
            let before = places.len();
            places.retain_mut(|place| !ends(&farewells, place, 1));
            ended.push(before - places.len());
        }

        assert_eq!((ended[0], ended.iter().sum::<usize>()), (4, 10_000));
        assert_eq!(ended[ended.len() - 10], FEW);
        assert!((3_000..5_000).contains(&ended.len()), "{} ticks", ended.len());
    }

    #[test]
    fn a_client_with_one_waits_for_one_of_each_other_client() {
        let farewells = Farewells::default();
        let _crowd = crowd(&farewells, 1, 1_000);
        farewells.tick();
        let mut calm = None;
        assert!(!ends(&farewells, &mut calm, 2));

        farewells.tick();

        assert!(ends(&farewells, &mut calm, 2));
    }

    #[test]
    fn those_who_left_cost_the_others_no_tick() {
        let farewells = Farewells::default();
        let mut places = crowd(&farewells, 1, 100);
        places.truncate(10);
        let last = places.split_off(8);
        drop(places);
        let mut last = last;

        farewells.tick();

        assert!(last.iter_mut().all(|place| ends(&farewells, place, 1)));
    }
}
